//! What operators ask: the `Control` service. Any node can be asked; a follower passes the question on.
//!
//! ```text
//!   request --> here, if this node leads --> Node (consensus, driver, proxy) --> reply
//!          \--> leader's Control, once (header `ha-forwarded`) --> its reply
//! ```

mod configure;
mod members;
mod orders;
mod status;
mod traffic;
mod trust;

use crate::config::Problem;
use crate::consensus::machine::Snap;
use crate::consensus::{Consensus, ProposeError};
use crate::driver::DriverHandle;
use crate::guard::{Asker, Caller, FORWARDED, Guard, Knows, NAMED, ON_BEHALF, asker};
use crate::proxy::Proxy;
use crate::world::World;
use crate::world::limiter::Limiter;
use crate::world::wire::{belief, channel};
use ha_core::command::{Command, Outcome, Rejection, Stamped};
use ha_core::id::NodeId;
use ha_core::model::{Member, Role};
use ha_core::time::Timestamp;
use ha_proto::control as pb;
use ha_proto::control::control_client::ControlClient;
use ha_proto::control::control_server::{Control, ControlServer};
use ha_trust::store::{Live, TrustStore};
use members::MembershipLock;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// How long a change may take to be committed before the operator hears that it was not.
const COMMIT_WITHIN: Duration = Duration::from_secs(10);
/// Largest request, in bytes: a configuration file.
const REQUEST_MAX: usize = 4 << 20;
/// Letters of who asks, as the log keeps it.
const BY_MAX: usize = 512;

/// Everything that answers need.
pub struct Node<W: World> {
    /// This node.
    pub member: Member,
    /// The agreement.
    pub consensus: Consensus<W>,
    /// The controller's ear.
    pub driver: DriverHandle,
    /// Sessions and counters.
    pub proxy: Arc<Proxy>,
    /// Clock and addresses.
    pub world: Arc<W>,
    /// Whom this node believes.
    pub trust: Arc<TrustStore>,
    /// One membership change at a time.
    pub membership: MembershipLock,
    /// Tokens that were none, by who showed them.
    wrong_tokens: Mutex<Limiter>,
}

impl<W: World> Node<W> {
    /// A new membership lock is held by nobody.
    pub fn new(
        member: Member,
        consensus: Consensus<W>,
        driver: DriverHandle,
        proxy: Arc<Proxy>,
        world: Arc<W>,
        trust: Arc<TrustStore>,
    ) -> Arc<Self> {
        let wrong_tokens = Mutex::new(Limiter::new(
            trust::WRONG_TOKENS_MAX,
            trust::WRONG_TOKENS_WINDOW,
        ));
        Arc::new(Node {
            member,
            consensus,
            driver,
            proxy,
            world,
            trust,
            membership: MembershipLock::default(),
            wrong_tokens,
        })
    }

    /// What stands before every service of this node.
    pub fn guard(self: &Arc<Self>) -> Guard {
        Guard(self.clone())
    }

    /// Proposes and waits, as an operator's request.
    async fn propose(&self, by: &str, command: Command) -> Result<Outcome, Status> {
        if by.len() > BY_MAX {
            return Err(Status::invalid_argument(format!(
                "by: found {} letters; use at most {BY_MAX}",
                by.len()
            )));
        }
        let stamped = Stamped {
            at: self.world.wall(),
            by: by.to_owned(),
            command,
        };
        match tokio::time::timeout(COMMIT_WITHIN, self.consensus.propose(stamped)).await {
            Err(_) => Err(Status::deadline_exceeded(format!(
                "no majority has written it to disk within {COMMIT_WITHIN:?}; it may still be committed: look with `ha-cli events`"
            ))),
            Ok(Err(e)) => Err(propose_status(&e)),
            Ok(Ok(answer)) => answer.map_err(|r| rejection_status(&r)),
        }
    }
}

impl<W: World> Knows for Node<W> {
    fn snap(&self) -> Snap {
        self.consensus.read()
    }
    fn live(&self) -> Arc<Live> {
        self.trust.live()
    }
    fn wall(&self) -> Timestamp {
        self.world.wall()
    }
}

fn propose_status(e: &ProposeError) -> Status {
    match e {
        ProposeError::NotLeader(_) => Status::unavailable("leadership is moving: try again"),
        ProposeError::NoMajority(_) => Status::unavailable(e.to_string()),
        ProposeError::Ended(_) => Status::internal(e.to_string()),
        ProposeError::TooLarge(_) => Status::invalid_argument(e.to_string()),
    }
}

fn role(word: &str) -> Result<Role, Status> {
    Role::from_word(word).ok_or_else(|| {
        Status::invalid_argument(format!("role: found {word:?}; use server or witness"))
    })
}

fn rejection_status(r: &Rejection) -> Status {
    match r {
        Rejection::NodeUnknown(_)
        | Rejection::ServerUnknown(_)
        | Rejection::VersionUnknown(_)
        | Rejection::UserUnknown(_)
        | Rejection::AuthorityUnknown(_)
        | Rejection::TokenUnknown(_) => Status::not_found(r.to_string()),
        Rejection::TokenUsed(..)
        | Rejection::TokenRevoked(_)
        | Rejection::TokenExpired(..)
        | Rejection::TokenRole(..)
        | Rejection::NodeRemoved(_) => Status::permission_denied(r.to_string()),
        Rejection::IdTaken(..) | Rejection::NameTaken(_) | Rejection::AddressTaken(..) => {
            Status::already_exists(r.to_string())
        }
        _ => Status::failed_precondition(r.to_string()),
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

/// See the module.
pub struct Api<W: World> {
    node: Arc<Node<W>>,
}

impl<W: World> Api<W> {
    /// The service, ready to be added to a server.
    pub fn server(node: Arc<Node<W>>) -> ControlServer<Self> {
        ControlServer::new(Api { node }).max_decoding_message_size(REQUEST_MAX)
    }

    /// The leader's service, when it is another node. `None`: answer here.
    async fn leader<T>(
        &self,
        request: &Request<T>,
    ) -> Result<Option<ControlClient<Channel>>, Status> {
        let news = self.node.consensus.news();
        if news.leader == Some(self.node.member.id) {
            return Ok(None);
        }
        let Some(leader) = news.leader else {
            let voters: usize = news
                .voters
                .first()
                .map_or(0, std::collections::BTreeSet::len);
            return Err(Status::unavailable(format!(
                "there is no leader at the moment: a majority of the {voters} voters must be running and reach each other; try again"
            )));
        };
        if request.metadata().contains_key(FORWARDED) {
            return Err(Status::unavailable("leadership is moving: try again"));
        }
        let address = news.addresses.get(&leader).ok_or_else(|| {
            Status::unavailable("the leader's address is not known yet: try again")
        })?;
        let channel = channel(address, Some(leader), belief(&self.node.trust))
            .map_err(|e| Status::internal(e.to_string()))?;
        Ok(Some(
            ControlClient::new(channel).max_decoding_message_size(64 << 20),
        ))
    }
}

/// What is passed on, with the access of who asks.
fn forwarded<T>(asker: &Asker, request: T) -> Request<T> {
    let mut next = Request::new(request);
    let headers = next.metadata_mut();
    headers.insert(FORWARDED, MetadataValue::from_static("1"));
    if let Some(access) = asker.caller.access() {
        headers.insert(ON_BEHALF, MetadataValue::from_static(access.word()));
    }
    // Names and digits in hexadecimal: both can stand in a header.
    if let Some(named) = asker
        .named
        .as_ref()
        .and_then(|(name, key)| format!("{name} {key}").parse().ok())
    {
        headers.insert(NAMED, named);
    }
    next.set_timeout(Duration::from_secs(60));
    next
}

/// A request that says who asks for it; the guard knows better.
trait SaysWho {
    fn by(&mut self) -> &mut String;
}

macro_rules! says_who {
    ($($request:ident),*) => { $(impl SaysWho for pb::$request {
        fn by(&mut self) -> &mut String {
            &mut self.by
        }
    })* };
}
says_who!(
    SetStateRequest,
    ApplyRequest,
    RollbackRequest,
    RemoveMemberRequest,
    PromoteMemberRequest,
    MoveLeaderRequest,
    CreateTokenRequest,
    RevokeTokenRequest,
    AddUserRequest,
    RemoveUserRequest,
    RotateAuthorityRequest,
    RetireAuthorityRequest,
    LockRequest,
    BackupRequest
);

/// Passes on to the leader, or answers here.
macro_rules! on_leader {
    ($self:ident, $request:ident, $method:ident) => {{
        let who = asker(&$request)?;
        match $self.leader(&$request).await? {
            Some(mut leader) => leader.$method(forwarded(&who, $request.into_inner())).await,
            None => $self
                .node
                .$method($request.into_inner())
                .await
                .map(Response::new),
        }
    }};
}

/// The same for a change, which is done by somebody.
macro_rules! change_on_leader {
    ($self:ident, $request:ident, $method:ident) => {{
        let mut request = $request;
        $self.signed(&mut request)?;
        on_leader!($self, request, $method)
    }};
}

impl<W: World> Api<W> {
    /// Writes into a request who asks for it.
    fn signed<T: SaysWho>(&self, request: &mut Request<T>) -> Result<(), Status> {
        let who = asker(request)?;
        let by = request.get_mut().by();
        *by = who.by(by, &self.node.member.name);
        Ok(())
    }
}

#[tonic::async_trait]
impl<W: World> Control for Api<W> {
    async fn status(
        &self,
        r: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusReply>, Status> {
        let who = asker(&r)?;
        match self.leader(&r).await {
            // Without a leader, or while it does not answer, this node still says what it knows.
            Ok(Some(mut leader)) => match tokio::time::timeout(
                Duration::from_secs(1),
                leader.status(forwarded(&who, r.into_inner())),
            )
            .await
            {
                Ok(Ok(reply)) => Ok(reply),
                // It is out: what it knows is not what is.
                Ok(Err(refused))
                    if matches!(
                        refused.code(),
                        Code::PermissionDenied | Code::Unauthenticated
                    ) =>
                {
                    Err(refused)
                }
                _ => Ok(Response::new(self.node.status(pb::StatusRequest {}).await?)),
            },
            _ => Ok(Response::new(self.node.status(pb::StatusRequest {}).await?)),
        }
    }
    async fn set_state(
        &self,
        r: Request<pb::SetStateRequest>,
    ) -> Result<Response<pb::SetStateReply>, Status> {
        change_on_leader!(self, r, set_state)
    }
    async fn lock(&self, r: Request<pb::LockRequest>) -> Result<Response<pb::TrustReply>, Status> {
        change_on_leader!(self, r, lock)
    }
    async fn apply(
        &self,
        r: Request<pb::ApplyRequest>,
    ) -> Result<Response<pb::ApplyReply>, Status> {
        change_on_leader!(self, r, apply)
    }
    async fn rollback(
        &self,
        r: Request<pb::RollbackRequest>,
    ) -> Result<Response<pb::ApplyReply>, Status> {
        change_on_leader!(self, r, rollback)
    }
    async fn config_history(
        &self,
        r: Request<pb::ConfigHistoryRequest>,
    ) -> Result<Response<pb::ConfigHistoryReply>, Status> {
        on_leader!(self, r, config_history)
    }
    async fn join(&self, r: Request<pb::JoinRequest>) -> Result<Response<pb::JoinReply>, Status> {
        // What a member passes on was counted there.
        let who = asker(&r)?;
        let from = who
            .from
            .filter(|_| !matches!(who.caller, Caller::Member(_)));
        self.node.show_a_token(from)?;
        // A block of its own: whatever ends it, the try is counted or not.
        let answer = async { on_leader!(self, r, join) }.await;
        self.node.shown_a_token(from, &answer);
        answer
    }
    async fn diff(
        &self,
        mut r: Request<pb::ApplyRequest>,
    ) -> Result<Response<pb::ApplyReply>, Status> {
        r.get_mut().dry_run = true;
        let who = asker(&r)?;
        match self.leader(&r).await? {
            Some(mut leader) => leader.diff(forwarded(&who, r.into_inner())).await,
            None => self.node.apply(r.into_inner()).await.map(Response::new),
        }
    }
    async fn renew(
        &self,
        mut r: Request<pb::RenewRequest>,
    ) -> Result<Response<pb::RenewReply>, Status> {
        match asker(&r)?.caller {
            Caller::User(name, _) => r.get_mut().name = name,
            Caller::Behind(..) => {}
            _ => {
                return Err(Status::failed_precondition(
                    "only an operator's own certificate is renewed by this",
                ));
            }
        }
        on_leader!(self, r, renew)
    }
    async fn backup(
        &self,
        r: Request<pb::BackupRequest>,
    ) -> Result<Response<pb::BackupReply>, Status> {
        change_on_leader!(self, r, backup)
    }
    async fn create_token(
        &self,
        r: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenReply>, Status> {
        change_on_leader!(self, r, create_token)
    }
    async fn tokens(
        &self,
        r: Request<pb::TokensRequest>,
    ) -> Result<Response<pb::TokensReply>, Status> {
        on_leader!(self, r, tokens)
    }
    async fn revoke_token(
        &self,
        r: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::TrustReply>, Status> {
        change_on_leader!(self, r, revoke_token)
    }
    async fn add_user(
        &self,
        r: Request<pb::AddUserRequest>,
    ) -> Result<Response<pb::RenewReply>, Status> {
        change_on_leader!(self, r, add_user)
    }
    async fn users(
        &self,
        r: Request<pb::UsersRequest>,
    ) -> Result<Response<pb::UsersReply>, Status> {
        on_leader!(self, r, users)
    }
    async fn remove_user(
        &self,
        r: Request<pb::RemoveUserRequest>,
    ) -> Result<Response<pb::TrustReply>, Status> {
        change_on_leader!(self, r, remove_user)
    }
    async fn authorities(
        &self,
        r: Request<pb::AuthoritiesRequest>,
    ) -> Result<Response<pb::AuthoritiesReply>, Status> {
        on_leader!(self, r, authorities)
    }
    async fn rotate_authority(
        &self,
        r: Request<pb::RotateAuthorityRequest>,
    ) -> Result<Response<pb::TrustReply>, Status> {
        change_on_leader!(self, r, rotate_authority)
    }
    async fn retire_authority(
        &self,
        r: Request<pb::RetireAuthorityRequest>,
    ) -> Result<Response<pb::TrustReply>, Status> {
        change_on_leader!(self, r, retire_authority)
    }
    async fn remove_member(
        &self,
        r: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::MemberReply>, Status> {
        let mut r = r;
        self.signed(&mut r)?;
        let (who, again) = (asker(&r)?, r.get_ref().clone());
        match self.leader(&r).await? {
            Some(mut leader) => leader.remove_member(forwarded(&who, r.into_inner())).await,
            None => match self.node.remove_member(r.into_inner()).await? {
                members::Removal::Done(reply) => Ok(Response::new(reply)),
                // This node leads and is the one to go: it has handed over, and the next leader does it.
                members::Removal::HandedOver => match self.leader(&Request::new(())).await? {
                    Some(mut leader) => leader.remove_member(forwarded(&who, again)).await,
                    None => Err(Status::unavailable(
                        "leadership could not be handed over: try again",
                    )),
                },
            },
        }
    }
    async fn promote_member(
        &self,
        r: Request<pb::PromoteMemberRequest>,
    ) -> Result<Response<pb::MemberReply>, Status> {
        change_on_leader!(self, r, promote_member)
    }
    async fn move_leader(
        &self,
        r: Request<pb::MoveLeaderRequest>,
    ) -> Result<Response<pb::MoveLeaderReply>, Status> {
        change_on_leader!(self, r, move_leader)
    }
    async fn sessions(
        &self,
        r: Request<pb::SessionsRequest>,
    ) -> Result<Response<pb::SessionsReply>, Status> {
        on_leader!(self, r, sessions)
    }
    async fn whereis(
        &self,
        r: Request<pb::WhereisRequest>,
    ) -> Result<Response<pb::WhereisReply>, Status> {
        on_leader!(self, r, whereis)
    }
    async fn explain_vip(
        &self,
        r: Request<pb::ExplainVipRequest>,
    ) -> Result<Response<pb::ExplainVipReply>, Status> {
        on_leader!(self, r, explain_vip)
    }

    /// Answered by the node that is asked, for itself.
    async fn reach(
        &self,
        r: Request<pb::ReachRequest>,
    ) -> Result<Response<pb::ReachReply>, Status> {
        let caller = asker(&r)?.from;
        Ok(Response::new(
            self.node.reach(caller, &r.into_inner().listen).await?,
        ))
    }

    type EventsStream = traffic::EventStream;

    /// Answered by the node that is asked: the event log is everywhere.
    async fn events(
        &self,
        r: Request<pb::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let shows = asker(&r)?.shows;
        Ok(Response::new(traffic::events(
            self.node.clone(),
            shows,
            r.into_inner(),
        )))
    }
}

impl<W: World> Node<W> {
    /// A node by name or id.
    fn node_called(&self, name: &str) -> Result<Member, Status> {
        let facts = self.consensus.read().facts;
        let by_id = name
            .parse::<NodeId>()
            .ok()
            .and_then(|id| facts.members.get(&id).cloned());
        by_id
            .or_else(|| facts.member_named(name).cloned())
            .ok_or_else(|| {
                let known: Vec<&str> = facts.members.values().map(|m| m.name.as_str()).collect();
                Status::not_found(format!(
                    "there is no node {name}; the nodes are {}",
                    known.join(", ")
                ))
            })
    }
}
