//! Servers on a node that has gone silent: suspect at once, probed quickly, before any check has failed.
//!
//! A follower starts to probe while the leader's silence is still shorter than an election, so that
//! whoever takes over knows already which of the old leader's servers answer. Suspicion sends clients elsewhere and
//! changes nothing for good. On the holder, a probe that fails while the node is silent is a failed check as well: after
//! `fall` of them the server is down and its sessions end, within a second of the death of its node (`lan`).

use super::{Action, ControllerSettings, Purpose};
use crate::check::CheckResult;
use crate::id::{NodeId, ServerId};
use crate::placement;
use crate::state::Facts;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a suspect server has to answer.
const PROBE_WITHIN: Duration = Duration::from_millis(150);
/// Between two probes of a suspect server: three that fail take half a second.
const PROBE_AGAIN: Duration = Duration::from_millis(150);
/// Between two looks whether somebody is silent, when nobody was.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// A server that answered is above suspicion for so long.
const CLEARED_FOR: Duration = Duration::from_secs(2);

/// What is suspected, and what speaks against it.
#[derive(Debug, Default)]
pub struct Suspicion {
    heard_leader: Option<(NodeId, Instant)>,
    probed: BTreeMap<ServerId, Instant>,
    answered: BTreeMap<ServerId, Instant>,
    now: Instant,
}

impl Suspicion {
    /// A `Lease` of this leader came.
    pub fn on_promised(&mut self, now: Instant, leader: NodeId) {
        self.heard_leader = Some((leader, now));
    }

    /// The leader whose `Lease` came last, and when.
    pub const fn heard_leader(&self) -> Option<(NodeId, Instant)> {
        self.heard_leader
    }

    /// A suspect server was probed; says whether that changes anything.
    pub fn on_checked(&mut self, now: Instant, server: ServerId, result: CheckResult) -> bool {
        self.now = now;
        if result == CheckResult::Passed {
            return self
                .answered
                .insert(server, now)
                .is_none_or(|at| now.saturating_since(at) > CLEARED_FOR);
        }
        self.answered.remove(&server).is_some()
    }

    /// Probes the servers of silent nodes.
    pub fn watch(
        &mut self,
        now: Instant,
        settings: &ControllerSettings,
        facts: &Facts,
        leader: Option<NodeId>,
        unreachable: &BTreeSet<NodeId>,
        actions: &mut Vec<Action>,
    ) {
        self.now = now;
        let falls_silent = |(heard, at): &(NodeId, Instant)| {
            leader.is_none_or(|l| l == *heard)
                && now.saturating_since(*at) >= silence(settings.promise)
        };
        let old_leader = self
            .heard_leader
            .filter(falls_silent)
            .map(|(heard, _)| heard);
        if unreachable.is_empty() && old_leader.is_none() {
            self.probed.clear();
            return;
        }
        let silent = unreachable.iter().chain(&old_leader).copied();
        for place in placement::on_nodes(facts, silent) {
            let id = place.id;
            if self
                .probed
                .get(&id)
                .is_some_and(|at| now.saturating_since(*at) < PROBE_AGAIN)
            {
                continue;
            }
            self.probed.insert(id, now);
            if let Some(probe) = place.look(facts, PROBE_WITHIN) {
                actions.push(Action::Probe {
                    server: id,
                    probe,
                    purpose: Purpose::Suspicion,
                });
            }
        }
    }

    /// Servers on unreachable nodes that have not answered a probe lately.
    pub fn suspects(&self, facts: &Facts, unreachable: &BTreeSet<NodeId>) -> BTreeSet<ServerId> {
        if unreachable.is_empty() {
            return BTreeSet::new();
        }
        let cleared = |id: &ServerId| {
            self.answered
                .get(id)
                .is_some_and(|at| self.now.saturating_since(*at) <= CLEARED_FOR)
        };
        placement::on_nodes(facts, unreachable.iter().copied())
            .map(|p| p.id)
            .filter(|id| !cleared(id))
            .collect()
    }

    /// When silence is to be looked at again.
    pub fn next_deadline(&self, now: Instant, promise: Duration) -> Instant {
        match self.heard_leader {
            Some((_, at)) if at + silence(promise) > now => at + silence(promise),
            _ if self.probed.is_empty() => now + LOOK_AGAIN,
            _ => now + PROBE_AGAIN,
        }
    }
}

/// Silence of the leader after which its servers are probed: half of what an election takes.
fn silence(promise: Duration) -> Duration {
    promise / 2
}
