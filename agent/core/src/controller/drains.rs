//! Drains that end: empty, or their deadline passed. Only the holder, which has the sessions, looks.

use super::Action;
use crate::command::{AdminTarget, Command, DrainEnd};
use crate::id::ServerId;
use crate::model::AdminState;
use crate::placement;
use crate::state::{AdminRecord, Facts};
use crate::time::{Instant, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two proposals for the same drain, while the first is under way.
const AGAIN: Duration = Duration::from_secs(2);
/// A drain ends no sooner after it began: sessions that were being opened must show.
const SETTLE: Duration = Duration::from_secs(1);

/// What is known of sessions, and what was proposed already.
#[derive(Debug, Default)]
pub struct Drains {
    sessions: Option<BTreeMap<ServerId, u32>>,
    proposed: BTreeMap<String, Instant>,
}

impl Drains {
    /// Counts of another holder's time do not count.
    pub fn reset(&mut self) {
        *self = Drains::default();
    }

    /// Sessions per server, from the proxy of this node.
    pub fn on_sessions(&mut self, counts: BTreeMap<ServerId, u32>) {
        self.sessions = Some(counts);
    }

    /// Proposes the end of each drain that has ended.
    pub fn regulate(
        &mut self,
        now: Instant,
        wall: Timestamp,
        facts: &Facts,
        actions: &mut Vec<Action>,
    ) {
        let Some(sessions) = &self.sessions else {
            return;
        };
        let of_servers = facts
            .server_admin
            .iter()
            .map(|(id, r)| (AdminTarget::Servers(vec![*id]), r, vec![*id]));
        let of_nodes = facts.node_admin.iter().map(|(n, r)| {
            let ids = placement::on_node(facts, *n).map(|p| p.id).collect();
            (AdminTarget::Node(*n), r, ids)
        });
        for (target, record, servers) in of_servers.chain(of_nodes) {
            let left: u32 = servers
                .iter()
                .filter_map(|id: &ServerId| sessions.get(id))
                .sum();
            let Some(end) = ended(record, left, wall) else {
                continue;
            };
            let key = format!("{target:?} since {}", record.since.0);
            if self
                .proposed
                .get(&key)
                .is_none_or(|at| now.saturating_since(*at) > AGAIN)
            {
                self.proposed.insert(key, now);
                actions.push(Action::Propose(Command::DrainEnded {
                    target,
                    began: record.since,
                    end,
                }));
            }
        }
    }
}

/// Whether and how a drain with `left` sessions has ended. One that nothing follows and that has no deadline goes on
/// until an operator ends it: bound clients may come and go, as in HAProxy.
fn ended(record: &AdminRecord, left: u32, wall: Timestamp) -> Option<DrainEnd> {
    if record.state != AdminState::Drain
        || record.ended.is_some()
        || wall.saturating_since(record.since) < SETTLE
    {
        return None;
    }
    if left == 0 && (record.then.is_some() || record.deadline.is_some()) {
        return Some(DrainEnd::Empty);
    }
    record
        .deadline
        .filter(|d| wall >= *d)
        .map(|_| DrainEnd::Deadline)
}
