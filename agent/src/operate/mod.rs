//! What an operator can do, whatever carries the request: each request and reply is a control message, each refusal
//! a [`RequestError`]. Works on the node that leads; who carries the request passes it on there.

mod again;
mod authorities;
pub(crate) mod claims;
mod configure;
mod current;
mod endurance;
mod explain;
mod majority;
mod meet;
mod members;
mod orders;
mod reading;
mod rejoin;
mod status;
mod tokens;
mod traffic;
mod trust;
mod upgrade;
mod warnings;

pub use meet::Told;
pub use members::Removal;
pub use traffic::events;

use crate::config::Problem;
use crate::entrance::limiter::Limiter;
use crate::error::{RequestError, Why};
use crate::outside::Consensus;
use crate::permissions::GuardContext;
use ha_core::command::{Command, Outcome, Rejection, Stamped};
use ha_core::id::NodeId;
use ha_core::model::{Member, Role};
use ha_core::request::Request;
use ha_core::time::Timestamp;
use ha_node::consensus::ProposeError;
use ha_node::consensus::machine::AppliedState;
use ha_node::driver::DriverHandle;
use ha_node::outside::Outside;
use ha_proto::control as pb;
use ha_proxy::Proxy;
use ha_trust::store::{Live, TrustStore};
use members::MembershipLock;
use reading::Reading;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a change may take to be committed before the operator hears that it was not.
const COMMIT_WITHIN: Duration = Duration::from_secs(10);
/// Letters of who asks, as the log keeps it.
const BY_MAX: usize = 512;

/// Everything that answers need.
pub struct Operations {
    pub member: Member,
    pub consensus: Consensus,
    pub driver: DriverHandle,
    pub proxy: Arc<Proxy>,
    /// Clock, tasks, probes and addresses.
    pub outside: Outside,
    /// Whom this node believes.
    pub trust: Arc<TrustStore>,
    /// One membership change at a time.
    pub membership: MembershipLock,
    /// Tokens that were none, by who showed them.
    wrong_tokens: Mutex<Limiter>,
    /// Configurations that are read, one at a time.
    reading: Reading,
    /// Of the cluster when this node came to it.
    generation: u64,
    /// That this node must take no part any more.
    pub told: Told,
}

impl Operations {
    /// A new membership lock is held by nobody.
    pub fn new(
        member: Member,
        consensus: Consensus,
        driver: DriverHandle,
        proxy: Arc<Proxy>,
        outside: Outside,
        trust: Arc<TrustStore>,
        generation: u64,
    ) -> Arc<Self> {
        let wrong_tokens = Mutex::new(Limiter::new(
            trust::WRONG_TOKENS_MAX,
            trust::WRONG_TOKENS_WINDOW,
        ));
        Arc::new(Operations {
            member,
            consensus,
            driver,
            proxy,
            outside,
            trust,
            membership: MembershipLock::default(),
            wrong_tokens,
            reading: Reading::default(),
            generation,
            told: Told::default(),
        })
    }

    /// Proposes and waits, as an operator's request.
    async fn propose(&self, by: &str, command: Command) -> Result<Outcome, RequestError> {
        self.propose_asked(by, None, command).await
    }

    /// The same, as an attempt at a request.
    async fn propose_asked(
        &self,
        by: &str,
        asked: Option<&pb::Asked>,
        command: Command,
    ) -> Result<Outcome, RequestError> {
        let at = self.outside.clock.wall();
        let request = Operations::attempt(at, asked)?;
        self.propose_at(at, by, request, command).await
    }

    /// The same, with the stamp of the command.
    async fn propose_at(
        &self,
        at: Timestamp,
        by: &str,
        request: Option<Request>,
        command: Command,
    ) -> Result<Outcome, RequestError> {
        if by.len() > BY_MAX {
            return Err(RequestError::invalid_argument(format!(
                "by: found {} letters; use at most {BY_MAX}",
                by.len()
            )));
        }
        // What nobody can commit is not put into the log, from where it might be committed much later.
        if let Some(cut_off) = self.cut_off().await {
            return Err(cut_off.into());
        }
        let stamped = Stamped {
            at,
            by: by.to_owned(),
            command,
            request,
        };
        match tokio::time::timeout(COMMIT_WITHIN, self.consensus.propose(stamped)).await {
            Err(_) => Err(RequestError::deadline_exceeded(format!(
                "no majority has written it to disk within {COMMIT_WITHIN:?}; it may still be committed: look with `ha-cli events`"
            ))),
            Ok(Err(ProposeError::NotLeader(_))) => Err(self.no_leader().await),
            Ok(Err(e)) => Err(propose_error(&e)),
            Ok(Ok(answer)) => answer.map_err(|r| rejection_error(&r)),
        }
    }
}

impl GuardContext for Operations {
    fn applied(&self) -> AppliedState {
        self.consensus.read()
    }
    fn live(&self) -> Arc<Live> {
        self.trust.live()
    }
    fn wall(&self) -> Timestamp {
        self.outside.clock.wall()
    }
}

fn propose_error(e: &ProposeError) -> RequestError {
    match e {
        ProposeError::NotLeader(_) => RequestError::unavailable("leadership is moving: try again"),
        ProposeError::NoMajority(_) => RequestError::deadline_exceeded(format!(
            "{e}; it may still be committed: look with `ha-cli events`"
        )),
        ProposeError::Ended(_) => RequestError::internal(e.to_string()),
        ProposeError::TooLarge(_) => RequestError::invalid_argument(e.to_string()),
        ProposeError::NotYet(_) => RequestError::failed_precondition(e.to_string()),
    }
}

fn role(word: &str) -> Result<Role, RequestError> {
    Role::from_word(word).ok_or_else(|| {
        RequestError::invalid_argument(format!("role: found {word:?}; use server or witness"))
    })
}

fn rejection_error(r: &Rejection) -> RequestError {
    match r {
        Rejection::NodeUnknown(_)
        | Rejection::ServerUnknown(_)
        | Rejection::VersionUnknown(_)
        | Rejection::UserUnknown(_)
        | Rejection::AuthorityUnknown(_)
        | Rejection::TokenUnknown(_) => RequestError::not_found(r.to_string()),
        Rejection::TokenUsed(..)
        | Rejection::TokenRevoked(_)
        | Rejection::TokenExpired(..)
        | Rejection::TokenRole(..)
        | Rejection::NodeRemoved(_) => RequestError::permission_denied(r.to_string()),
        Rejection::IdTaken(..)
        | Rejection::NameTaken(_)
        | Rejection::AddressTaken(..)
        | Rejection::AddressOfVirtualIp(..) => RequestError::already_exists(r.to_string()),
        Rejection::TextRefused { .. } => RequestError::invalid_argument(r.to_string()),
        _ => RequestError::failed_precondition(r.to_string()),
    }
}

fn wire_problem(p: Problem) -> pb::ConfigProblem {
    pb::ConfigProblem {
        file: p.file,
        line: p.line,
        key: p.key,
        found: p.found,
        remedy: p.remedy,
    }
}

impl Operations {
    /// A node by name or id.
    fn node_called(&self, name: &str) -> Result<Member, RequestError> {
        let facts = self.consensus.read().facts;
        let by_id = name
            .parse::<NodeId>()
            .ok()
            .and_then(|id| facts.members.get(&id).cloned());
        by_id
            .or_else(|| facts.member_named(name).cloned())
            .ok_or_else(|| {
                let known: Vec<&str> = facts.members.values().map(|m| m.name.as_str()).collect();
                RequestError::not_found(format!(
                    "there is no node {name}; the nodes are {}",
                    known.join(", ")
                ))
            })
    }
}
