//! What all nodes agree on, and the one road by which it changes: [`ClusterState::apply`].
//!
//! ```text
//!   Stamped command --apply--> Answer        a refused command changes nothing but the clock and what was answered
//!        |                        |
//!        v                        v
//!   facts (Arc: members, config, admin, health, holder, events)     stick (bindings)
//! ```
//!
//! No clock and no randomness: two nodes that applied the same log have the same state, byte for byte.

mod admin;
mod configure;
mod members;
mod orders;
mod questions;
mod records;
mod recovery;
mod trust;
mod versions;

pub use admin::Shortage;
pub use orders::OrderNumbers;
pub use records::{AdminRecord, ConfigVersion, HealthRecord, HolderRecord, MaintenanceLock};
pub use recovery::{Former, Recovery};

use crate::command::{Answer, Command, HealthChange, Outcome, Rejection, Stamped};
use crate::events::{EventLog, What};
use crate::id::{Epoch, NodeId, ServerId};
use crate::model::{ClusterConfig, Member, Timing};
use crate::request::Answers;
use crate::stick::{StickEntry, StickIndex, StickKey};
use crate::text::printable;
use crate::time::Timestamp;
use crate::trust::Trust;
use crate::version::RecordVersion;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Earlier configurations that are kept for rollback, the current one included.
pub const HISTORY_MAX: usize = 11;
/// Bindings that one command looks at to find expired ones.
const PURGE_BUDGET: usize = 256;

/// The state that all members agree on: facts and bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// The stamp of the last command. Not the newest of all: a clock that was fast for a moment would hold back every
    /// deadline, and end every binding at once, until the others have caught up with it.
    pub clock: Timestamp,
    /// Everything but the bindings; shared with readers, copied when it changes.
    pub facts: Arc<Facts>,
    /// Which client belongs to which server.
    pub stick: StickIndex,
}

/// Everything but the bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Tells this cluster from every other; nil until it is founded.
    pub cluster_id: NodeId,
    /// Timers, the same on all nodes for ever.
    pub timing: Timing,
    /// What everything is written at; every member speaks it. 0 until the cluster is founded, never lowered.
    pub active_version: RecordVersion,
    /// The nodes that are known, learners included.
    pub members: Arc<BTreeMap<NodeId, Member>>,
    /// What the operator described.
    pub config: Arc<ClusterConfig>,
    /// Grows by one with each configuration.
    pub config_version: u64,
    /// The newest versions, the current one last.
    pub history: Arc<VecDeque<ConfigVersion>>,
    /// The number of each server, by backend and name; kept while it is configured.
    pub server_ids: Arc<BTreeMap<(String, String), ServerId>>,
    /// The next number to give.
    pub next_server_id: u32,
    /// What is wanted of servers; absent: ready.
    pub server_admin: BTreeMap<ServerId, AdminRecord>,
    /// What is wanted of nodes; absent: ready.
    pub node_admin: BTreeMap<NodeId, AdminRecord>,
    /// The numbers of the last orders.
    pub orders: Arc<OrderNumbers>,
    /// What was answered to operators lately.
    pub answers: Arc<Answers>,
    /// What the checks say; absent: up.
    pub health: Arc<BTreeMap<ServerId, HealthRecord>>,
    /// Who holds the addresses, as far as the log knows.
    pub holder: Option<HolderRecord>,
    /// Who takes nodes out at the moment, one after the other.
    pub maintenance: Option<MaintenanceLock>,
    pub trust: Arc<Trust>,
    pub events: Arc<EventLog>,
    /// Which node went on alone last, if one ever did.
    pub recovery: Option<Recovery>,
    /// Of the next version, for tests of upgrades: what was rehearsed last.
    #[cfg(feature = "next")]
    pub rehearsal: String,
}

impl ClusterState {
    /// The same state for who writes it down, at the cost of pointers. It is good for nothing else: it has lost the
    /// order in which bindings were used.
    #[must_use]
    pub fn to_write(&self) -> ClusterState {
        ClusterState {
            clock: self.clock,
            facts: self.facts.clone(),
            stick: self.stick.to_write(),
        }
    }

    /// The one road in: applies a command, or says why it changes nothing. What was answered to an earlier attempt at
    /// the same request is answered again, and nothing is done.
    pub fn apply(&mut self, stamped: &Stamped) -> Answer {
        self.clock = stamped.at;
        let Some(request) = stamped.request else {
            return self.carry_out(stamped);
        };
        if let Some(answer) = self.facts.answers.to(request, stamped.at) {
            return answer;
        }
        let answer = self.carry_out(stamped);
        let facts = Arc::make_mut(&mut self.facts);
        Arc::make_mut(&mut facts.answers).remember(request.id, stamped.at, answer.clone());
        answer
    }

    fn carry_out(&mut self, stamped: &Stamped) -> Answer {
        let by = stamped.by.as_str();
        let answer = match &stamped.command {
            Command::Bind(bindings) => Ok(self.bind(bindings)),
            other => stamped
                .check_texts()
                .and_then(|()| self.change_facts(other, by)),
        };
        debug_assert!(self.holder_is_known(), "the holder is a member");
        answer
    }

    /// Changes a copy of the facts and keeps it only if the command was accepted.
    fn change_facts(&mut self, command: &Command, by: &str) -> Answer {
        let mut next = Facts::clone(&self.facts);
        let at = self.clock;
        let outcome = match command {
            Command::Found {
                cluster_id,
                timing,
                version,
            } => next.found(*cluster_id, *timing, *version),
            Command::Restore(facts) => next.restore(facts, at, by),
            Command::Recover { facts, was, member } => next.recover(facts, *was, member, at, by),
            Command::Configure {
                config,
                text,
                expect,
            } => next.configure(config, text, *expect, at, by),
            Command::Rollback { version, expect } => next.rollback(*version, *expect, at, by),
            Command::SetAdmin {
                target,
                order,
                force,
                expect,
            } => next.order(target, order, *force, *expect, at, by),
            Command::Lock {
                owner,
                purpose,
                expires,
            } => next.lock(owner, purpose, *expires, at, by),
            Command::Unlock { owner } => Ok(next.unlock(owner, at, by)),
            Command::DrainEnded { target, began, end } => {
                next.drain_ended(target, *began, *end, at)
            }
            Command::Health(changes) => Ok(next.note_health(changes, at)),
            Command::Bind(_) => Ok(Outcome::Done),
            Command::AddMember(member) => next.add_member(member, at, by),
            Command::Admit {
                member,
                ticket,
                replaces,
            } => next.admit(member, ticket, *replaces, at),
            Command::Relocate {
                node,
                listen,
                address,
            } => next.relocate(*node, *listen, *address, at),
            Command::Trust(order) => next.change_trust(order, at, by),
            Command::RemoveMember(node) => next.remove_member(*node, at, by),
            Command::Describe {
                node,
                agent_version,
                speaks,
                checks,
            } => next.describe_member(*node, agent_version, *speaks, checks, at),
            Command::Activate(version) => next.activate(*version, at, by),
            Command::Holder {
                node,
                epoch,
                reason,
            } => next.note_holder(*node, *epoch, reason, at),
            Command::Note { kind, text } => {
                let (kind, text) = (plain(kind), plain(text));
                next.event(at, What::Note { kind, text }, by);
                Ok(Outcome::Done)
            }
            #[cfg(feature = "next")]
            Command::Rehearse { text } => Ok(next.rehearse(text, at, by)),
        }?;
        let servers_changed = !Arc::ptr_eq(&next.server_ids, &self.facts.server_ids);
        self.facts = Arc::new(next);
        if let Command::Relocate { node, address, .. } = command {
            let moved = self.facts.servers_on(*node);
            self.stick
                .move_hosts(|server| moved.contains(&server), *address);
        }
        if servers_changed {
            let known: BTreeSet<ServerId> = self.facts.server_ids.values().copied().collect();
            self.stick.remove_where(|_, e| !known.contains(&e.server));
        }
        Ok(outcome)
    }

    fn bind(&mut self, bindings: &[(StickKey, StickEntry)]) -> Outcome {
        let max = self.facts.config.bindings_max;
        for (key, entry) in bindings {
            self.stick.put(key.clone(), *entry, max);
        }
        self.stick.purge_expired(self.clock, PURGE_BUDGET);
        Outcome::Done
    }

    fn holder_is_known(&self) -> bool {
        self.facts
            .holder
            .as_ref()
            .is_none_or(|h| self.facts.members.contains_key(&h.node))
    }
}

impl Facts {
    fn found(&mut self, cluster_id: NodeId, timing: Timing, version: RecordVersion) -> Answer {
        if self.cluster_id != NodeId::default() {
            return Err(Rejection::AlreadyFounded);
        }
        (self.cluster_id, self.timing, self.active_version) = (cluster_id, timing, version);
        Ok(Outcome::Done)
    }

    /// Identity, configuration, what is wanted of servers, authorities and operators stay. Nodes do not: they join
    /// anew, and those of before are not heard.
    fn restore(&mut self, facts: &Facts, at: Timestamp, by: &str) -> Answer {
        if self.cluster_id != NodeId::default() {
            return Err(Rejection::AlreadyFounded);
        }
        *self = facts.clone();
        for node in facts.members.keys() {
            self.shut_out(*node, at);
        }
        (self.members, self.health) = (Arc::default(), Arc::default());
        (self.node_admin, self.holder, self.maintenance) = (BTreeMap::new(), None, None);
        self.answers = Arc::default();
        self.forget_orders();
        Arc::make_mut(&mut self.trust).tokens.clear();
        self.event(at, What::Restored, by);
        Ok(Outcome::Done)
    }

    fn note_health(&mut self, changes: &[HealthChange], at: Timestamp) -> Outcome {
        let mut health = BTreeMap::clone(&self.health);
        for change in changes {
            let Some((backend, server)) = self.server_name(change.server) else {
                continue;
            };
            let server = format!("{backend}/{server}");
            let was_up = health.get(&change.server).is_none_or(|h| h.up);
            if was_up != change.up || !health.contains_key(&change.server) {
                health.insert(
                    change.server,
                    HealthRecord {
                        up: change.up,
                        since: at,
                        why: plain(&change.why),
                    },
                );
            }
            if was_up != change.up {
                let why = plain(&change.why);
                let what = if change.up {
                    What::ServerWentUp { server, why }
                } else {
                    What::ServerWentDown { server, why }
                };
                self.event(at, what, "");
            }
        }
        self.health = Arc::new(health);
        Outcome::Done
    }

    fn note_holder(&mut self, node: NodeId, epoch: Epoch, reason: &str, at: Timestamp) -> Answer {
        if let Some(now) = &self.holder
            && now.epoch > epoch
        {
            return Err(Rejection::EpochOver(epoch, now.epoch));
        }
        if !self.members.contains_key(&node) {
            return Err(Rejection::NodeUnknown(node.to_string()));
        }
        let reason = plain(reason);
        let what = What::HolderChanged {
            node: self.node_name(node),
            epoch,
            reason: reason.clone(),
        };
        self.event(at, what, "");
        self.holder = Some(HolderRecord {
            node,
            epoch,
            since: at,
            reason,
        });
        Ok(Outcome::Done)
    }

    fn event(&mut self, at: Timestamp, what: What, by: &str) {
        Arc::make_mut(&mut self.events).add(at, what, by);
    }
}

/// As it is kept and shown.
fn plain(text: &str) -> String {
    printable(text).into_owned()
}

#[cfg(test)]
mod tests;
