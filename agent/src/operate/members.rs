//! Joining, leaving, promoting. One membership change at a time; a second is refused by name.

use super::{Operations, RequestError, propose_error, role};
use ha_core::check::{CheckResult, Probe};
use ha_core::command::Command;
use ha_core::controller::{Behind, Event, HandoverReason};
use ha_core::id::NodeId;
use ha_core::model::Member;
use ha_core::own_address;
use ha_core::version::{RecordVersion, Speaks};
use ha_proto::control as pb;
use ha_trust::identity::Subject;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Letters of a version.
const VERSION_MAX: usize = 64;
/// Kinds of check that one agent may know.
const CHECKS_MAX: usize = 64;

/// How long a handover may take before a removal gives up.
const HANDOVER_WITHIN: Duration = Duration::from_secs(5);

/// How long a machine that wants to join may take to accept a connection.
const REACHED_WITHIN: Duration = Duration::from_secs(1);

/// How long a new leader may take to hear of every voter that answers: several heartbeats.
const FOUND_OUT_WITHIN: Duration = Duration::from_secs(1);

/// Who is changing the membership, and what.
#[derive(Clone, Default)]
pub struct MembershipLock(Arc<Mutex<Option<String>>>);

/// Held while a change is under way.
pub struct Change(MembershipLock);

impl MembershipLock {
    fn take(&self, what: String) -> Result<Change, RequestError> {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = &*now {
            return Err(RequestError::failed_precondition(format!(
                "one membership change at a time: {other} is under way; try again when it is done"
            )));
        }
        *now = Some(what);
        Ok(Change(self.clone()))
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Whether this node can keep the address when no other should have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// It leaves the cluster.
    Yes,
    No,
}

/// What came of a removal.
pub enum Removal {
    Done(pb::MemberReply),
    /// This node was to go; it has handed leadership over.
    HandedOver,
}

impl Operations {
    /// Whether this node reaches its caller at `listen`. No other address is tried: nobody scans a network from here.
    pub(crate) async fn reach(
        &self,
        caller: Option<IpAddr>,
        listen: &str,
    ) -> Result<pb::ReachReply, RequestError> {
        let mut not_tried = false;
        let why_not = match listen.parse::<SocketAddr>() {
            _ if listen.is_empty() => String::new(),
            Err(_) => {
                return Err(RequestError::invalid_argument(format!(
                    "listen: {listen:?} is no address with a port"
                )));
            }
            Ok(at) if caller.is_none_or(|c| c.to_canonical() != at.ip().to_canonical()) => {
                not_tried = true;
                format!(
                    "the question comes from {}, and only that address is tried",
                    caller.map_or_else(
                        || "an unknown address".to_owned(),
                        |c| c.to_canonical().to_string()
                    )
                )
            }
            Ok(at) => match self
                .outside
                .prober
                .probe(Probe::connect(at, REACHED_WITHIN))
                .await
            {
                CheckResult::Passed => String::new(),
                other => format!("connecting there: {}", other.word()),
            },
        };
        Ok(pb::ReachReply {
            why_not,
            not_tried,
            wall_ms: self.outside.clock.wall().0,
            version: self.member.version.clone(),
        })
    }

    pub(crate) async fn join(&self, r: pb::JoinRequest) -> Result<pb::JoinReply, RequestError> {
        let bad = |what: &str, e: String| RequestError::invalid_argument(format!("{what}: {e}"));
        let member = Member {
            id: r
                .id
                .parse::<NodeId>()
                .map_err(|e| bad("the node id is no UUID", e.to_string()))?,
            name: r.name,
            listen: r
                .listen
                .parse()
                .map_err(|_| bad("listen", r.listen.clone()))?,
            address: r
                .address
                .parse()
                .map_err(|_| bad("address", r.address.clone()))?,
            role: role(&r.role)?,
            version: r.version,
            speaks: Speaks {
                min: RecordVersion(r.speaks_min),
                max: RecordVersion(r.speaks_max),
            },
            checks: r.checks.into_iter().collect(),
        };
        if !crate::config::agent_file::is_name(&member.name) {
            return Err(bad(
                "name",
                format!("{:?}: use letters, digits, `-`, `_` and `.`", member.name),
            ));
        }
        if member.version.len() > VERSION_MAX {
            return Err(bad("version", format!("more than {VERSION_MAX} letters")));
        }
        if member.checks.len() > CHECKS_MAX || member.checks.iter().any(|c| c.len() > VERSION_MAX) {
            return Err(bad(
                "checks",
                format!("more than {CHECKS_MAX} kinds, or {VERSION_MAX} letters in one"),
            ));
        }
        let virtual_ips = &self.consensus.read().facts.config.virtual_ips;
        if let Some(own) = own_address::among(virtual_ips, own_address::of(&member)).first() {
            return Err(RequestError::failed_precondition(format!(
                "{own}, and virtual_ip {} has it: set another `listen` or `address` in agent.toml of {}, or {}",
                own.virtual_ip,
                member.name,
                own_address::REMEDY
            )));
        }
        let ticket = self.ticket(&member, &r.token, &r.request)?;
        let _change = self
            .membership
            .take(format!("the joining of {}", member.name))?;
        self.settled()?;
        // Nothing is promised before it is sure that the promise can be kept.
        let certificate = self.sign(&r.request, &Subject::Node(member.id))?;
        let replaces = match r.rejoin {
            true => self.make_place(&member).await?,
            false => None,
        };
        self.propose(
            "",
            Command::Admit {
                member: member.clone(),
                ticket,
                replaces,
            },
        )
        .await?;
        self.consensus
            .add_learner(member.id, member.listen.to_string())
            .await
            .map_err(|e| propose_error(&e))?;
        let facts = self.consensus.read().facts;
        let members = facts
            .members
            .values()
            .filter(|m| m.id != member.id)
            .map(|m| m.listen.to_string())
            .collect();
        Ok(pb::JoinReply {
            cluster: facts.config.name.clone(),
            cluster_id: facts.cluster_id.to_string(),
            timing: facts.timing.word().to_owned(),
            promise_ms: u64::try_from(self.consensus.promise_length().as_millis())
                .unwrap_or(u64::MAX),
            members,
            certificate,
            authorities: facts.trust.certificates(),
            generation: facts.trust.generation,
            seal: self.trust.live().keyring.seal.0.to_vec(),
            cluster_generation: self.known().generation,
        })
    }

    pub(crate) async fn remove_member(
        &self,
        r: pb::RemoveMemberRequest,
    ) -> Result<Removal, RequestError> {
        let member = self.node_called(&r.node)?;
        let facts = self.consensus.read().facts;
        if facts.members.len() == 1 {
            return Err(RequestError::failed_precondition(format!(
                "{} is the only node: stop its agent instead",
                member.name
            )));
        }
        if member.id == self.member.id {
            self.hand_over(&r.by, Leaving::Yes).await?;
            return Ok(Removal::HandedOver);
        }
        let _change = self
            .membership
            .take(format!("the removal of {}", member.name))?;
        self.settled()?;
        let behind = if r.force {
            Behind::IsForgiven
        } else {
            Behind::IsMissing
        };
        self.wait_for_majority_without(member.id, behind).await?;
        self.consensus
            .remove(member.id)
            .await
            .map_err(|e| propose_error(&e))?;
        self.propose(&r.by, Command::RemoveMember(member.id))
            .await?;
        Ok(Removal::Done(pb::MemberReply {
            message: format!(
                "{} has left the cluster; stop its agent. `ha-agent rejoin` there would bring it back under its name",
                member.name
            ),
        }))
    }

    pub(crate) async fn promote_member(
        &self,
        r: pb::PromoteMemberRequest,
    ) -> Result<pb::MemberReply, RequestError> {
        let member = self.node_called(&r.node)?;
        let _change = self
            .membership
            .take(format!("the promotion of {}", member.name))?;
        self.settled()?;
        let news = self.consensus.news();
        if news.votes(member.id) {
            return Ok(pb::MemberReply {
                message: format!("{} is a voter already", member.name),
            });
        }
        if !news.learners.contains(&member.id) {
            // A removal was begun by a leader that did not live to end it.
            return Err(RequestError::failed_precondition(format!(
                "{0} is half removed: it is a member by name and gets no log. `ha-cli member remove {0}` ends the removal; `ha-agent rejoin` there brings it back",
                member.name
            )));
        }
        let mut voters: BTreeSet<NodeId> = news.voters.iter().flatten().copied().collect();
        voters.insert(member.id);
        self.may_change_to(voters, Behind::IsMissing).await?;
        self.consensus
            .promote(member.id)
            .await
            .map_err(|e| propose_error(&e))?;
        Ok(pb::MemberReply {
            message: format!("{} is a voter now", member.name),
        })
    }

    /// While the membership is joint another change is under way, perhaps of a leader that is gone.
    fn settled(&self) -> Result<(), RequestError> {
        if self.consensus.news().voters.len() > 1 {
            return Err(RequestError::failed_precondition(
                "one membership change at a time: one is still being completed; try again",
            ));
        }
        Ok(())
    }

    /// A removal must leave a majority that answers, else nothing could be decided any more; and without a majority of
    /// those that vote now it is never decided itself. A leader that has just been elected does not know yet who answers
    /// and how far they are: that is found out first.
    pub(super) async fn wait_for_majority_without(
        &self,
        gone: NodeId,
        behind: Behind,
    ) -> Result<(), RequestError> {
        let news = self.consensus.news();
        let Some(voters) = news.voters.first().filter(|v| v.contains(&gone)) else {
            return Ok(());
        };
        let rest: BTreeSet<NodeId> = voters.iter().copied().filter(|v| *v != gone).collect();
        let deadline = self.outside.clock.now() + FOUND_OUT_WITHIN;
        loop {
            match self.may_change_to(rest.clone(), behind).await {
                Err(_) if self.outside.clock.now() < deadline => {
                    self.outside.clock.sleep(Duration::from_millis(10)).await
                }
                known => return known,
            }
        }
    }

    /// Whether the change would be decided: see [`Controller::may_change_to`](ha_core::controller::Controller).
    async fn may_change_to(
        &self,
        voters: BTreeSet<NodeId>,
        behind: Behind,
    ) -> Result<(), RequestError> {
        let now = self.outside.clock.now();
        let asked = self
            .driver
            .ask(move |c| c.may_change_to(now, &voters, behind))
            .await;
        asked
            .ok_or_else(|| RequestError::unavailable("this agent is stopping"))?
            .map_err(|why| {
                RequestError::failed_precondition(format!("the change could not be decided: {why}"))
            })
    }

    pub(crate) async fn hand_over(
        &self,
        by: &str,
        leaving: Leaving,
    ) -> Result<NodeId, RequestError> {
        let by = if by.is_empty() {
            "an operator".to_owned()
        } else {
            by.to_owned()
        };
        let target = self
            .driver
            .ask(move |c| {
                c.last_successor()
                    .filter(|n| leaving == Leaving::Yes || c.may_take_over(*n).is_ok())
            })
            .await
            .flatten();
        let to = target.ok_or_else(|| RequestError::failed_precondition("no other node can take over: it must answer, be a voter, be ready, and its proxy must work (`ha-cli status`)"))?;
        self.move_to(to, by).await
    }

    /// Starts a handover and waits until another node leads.
    pub(crate) async fn move_to(&self, to: NodeId, by: String) -> Result<NodeId, RequestError> {
        let order = Event::MoveLeader {
            to: Some(to),
            reason: HandoverReason::Operator(by),
        };
        if !self.driver.order(order).await {
            return Err(RequestError::unavailable("this agent is stopping"));
        }
        let deadline = self.outside.clock.now() + HANDOVER_WITHIN;
        while self.outside.clock.now() < deadline {
            self.outside.clock.sleep(Duration::from_millis(5)).await;
            if let Some(leader) = self
                .consensus
                .news()
                .leader
                .filter(|l| *l != self.member.id)
            {
                return Ok(leader);
            }
        }
        Err(RequestError::deadline_exceeded(format!(
            "no other node has taken over within {HANDOVER_WITHIN:?}"
        )))
    }
}
