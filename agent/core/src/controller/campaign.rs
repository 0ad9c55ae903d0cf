//! A follower whose promise to a silent leader has ended campaigns at once, when it is its turn.
//!
//! ```text
//!   last Lease heard        promise over
//!         |---- promise ----|-- turn of the 1st --|-- turn of the 2nd --|-- 1st again ...
//! ```
//!
//! The consensus library would wait for its election timeout after that, drawn at random so that
//! followers do not campaign together; turns do the same without the wait. It only asks the library
//! to begin with a pre-vote, which that refuses while it hears its leader itself; who may vote and
//! who may hold is decided elsewhere and does not rest on this.

use super::{ControllerSettings, RaftNews, RaftRole};
use crate::id::NodeId;
use crate::model::Failback;
use crate::state::Facts;
use crate::time::Instant;
use std::collections::BTreeSet;
use std::time::Duration;

/// Turns in the length of a promise: each is long enough for a pre-vote, a vote and their flushes.
const TURNS_PER_PROMISE: u32 = 6;
/// Tries in one turn: at the first, a voter may have heard the leader a moment later than this node.
const TRIES_PER_TURN: u32 = 2;
/// Promises after which the library's own timers are left alone: whoever could win has won by then.
const GIVE_UP_AFTER: u32 = 3;

/// The leader that this node promised itself to last, and when.
type Heard = Option<(NodeId, Instant)>;

/// Decides when a follower campaigns.
#[derive(Debug, Default)]
pub struct Campaign {
    /// The end of the promise, and which try after it was the last.
    tried: Option<(Instant, u128)>,
}

impl Campaign {
    /// Whether to campaign now.
    pub fn is_due(
        &mut self,
        now: Instant,
        heard: Heard,
        settings: &ControllerSettings,
        raft: &RaftNews,
        facts: &Facts,
    ) -> bool {
        let Some((leader, over)) = watched(now, heard, settings, raft) else {
            return false;
        };
        if now < over {
            return false;
        }
        let turns = turns(facts, raft, leader);
        let Some(mine) = turns.iter().position(|n| *n == settings.me) else {
            return false;
        };
        // By its number and not by the time since the last: a timer that was late must not cost the next try.
        let this = try_number(now, over, settings);
        let turn = this / u128::from(TRIES_PER_TURN);
        if turn % turns.len() as u128 != mine as u128 || self.tried == Some((over, this)) {
            return false;
        }
        self.tried = Some((over, this));
        true
    }
}

/// When to look again; `None` while there is nothing to wait for.
pub fn next_deadline(
    now: Instant,
    heard: Heard,
    settings: &ControllerSettings,
    raft: &RaftNews,
) -> Option<Instant> {
    let (_, over) = watched(now, heard, settings, raft)?;
    if now < over {
        return Some(over);
    }
    let next = (try_number(now, over, settings) + 1) * between_tries(settings);
    Some(over + Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX)))
}

/// The leader that may have fallen silent and the end of the promise to it; `None` when this node has
/// none, has voted since, or has tried for long enough.
fn watched(
    now: Instant,
    heard: Heard,
    settings: &ControllerSettings,
    raft: &RaftNews,
) -> Option<(NodeId, Instant)> {
    let (leader, at) = heard?;
    let follows = raft.role == RaftRole::Follower && raft.leader == Some(leader);
    let tired = now.saturating_since(at) > settings.promise * GIVE_UP_AFTER;
    (follows && !tired).then(|| (leader, at + settings.promise))
}

/// Tries are counted from the end of the promise.
fn try_number(now: Instant, over: Instant, settings: &ControllerSettings) -> u128 {
    now.saturating_since(over).as_nanos() / between_tries(settings)
}

/// In nanoseconds, at least one.
fn between_tries(settings: &ControllerSettings) -> u128 {
    (settings.promise / (TURNS_PER_PROMISE * TRIES_PER_TURN))
        .as_nanos()
        .max(1)
}

/// Who campaigns after `leader`, in turn: voters that may hold and that no operator wants out, the preferred one first.
/// When operators want all of them out, those that are drained; when all are in maintenance, all of them.
fn turns(facts: &Facts, raft: &RaftNews, leader: NodeId) -> Vec<NodeId> {
    let preferred = match &facts.config.failback {
        Failback::Auto { prefer, .. } => facts.member_named(prefer).map(|m| m.id),
        Failback::Never | Failback::Manual => None,
    };
    // Who is about to leave the membership is not to lead it.
    let voters: BTreeSet<NodeId> = raft
        .voters
        .iter()
        .flatten()
        .copied()
        .filter(|n| *n != leader && raft.votes_throughout(*n))
        .collect();
    let mut turns: Vec<NodeId> = voters.into_iter().filter(|n| facts.is_server(*n)).collect();
    let best = turns.iter().map(|n| facts.admin_of(*n)).min();
    turns.retain(|n| Some(facts.admin_of(*n)) == best);
    turns.sort_by_key(|n| Some(*n) != preferred);
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{AdminOrder, AdminTarget, Command, Stamped};
    use crate::model::{AdminState, Role};
    use crate::state::ClusterState;
    use crate::testing::member;
    use crate::time::Timestamp;

    fn n(i: u8) -> NodeId {
        NodeId::from_random(u128::from(i))
    }
    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }
    /// Three voters and a witness; `n(1)` leads.
    fn facts() -> ClusterState {
        let mut state = ClusterState::default();
        for i in 1..=4 {
            let mut member = member(i);
            if i == 4 {
                member.role = Role::Witness;
            }
            state
                .apply(&Stamped {
                    at: Timestamp(1),
                    by: String::new(),
                    command: Command::AddMember(member),
                    request: None,
                })
                .unwrap();
        }
        state
    }
    fn follows(leader: Option<u8>) -> RaftNews {
        RaftNews {
            role: RaftRole::Follower,
            term: 3,
            leader: leader.map(n),
            voters: vec![(1..=4).map(n).collect()],
            ..RaftNews::default()
        }
    }
    /// Every 5 ms for `ms`: when node `me`, which promised itself at 0, campaigns.
    fn campaigns(me: u8, role: Role, leader: Option<u8>, facts: &Facts, ms: u64) -> Vec<u64> {
        let settings = ControllerSettings::of(n(me), role, Duration::from_millis(300));
        let mut c = Campaign::default();
        (0..ms)
            .step_by(5)
            .filter(|t| {
                c.is_due(
                    at(*t),
                    Some((n(1), at(0))),
                    &settings,
                    &follows(leader),
                    facts,
                )
            })
            .collect()
    }

    #[test]
    fn followers_campaign_in_turn_once_their_promise_is_over() {
        let state = facts();
        assert_eq!(
            campaigns(2, Role::Server, Some(1), &state.facts, 500),
            [300, 325, 400, 425]
        );
        assert_eq!(
            campaigns(3, Role::Server, Some(1), &state.facts, 500),
            [350, 375, 450, 475]
        );
    }

    #[test]
    fn who_has_voted_for_another_since_leaves_it_to_that_one() {
        assert_eq!(campaigns(2, Role::Server, None, &facts().facts, 2000), []);
        assert_eq!(
            campaigns(2, Role::Server, Some(3), &facts().facts, 2000),
            []
        );
    }

    #[test]
    fn a_witness_and_a_node_that_an_operator_wants_out_take_no_turn() {
        assert_eq!(
            campaigns(4, Role::Witness, Some(1), &facts().facts, 2000),
            []
        );
        let mut state = facts();
        let mut set = |node: u8, admin| {
            let order = AdminOrder {
                state: admin,
                ..AdminOrder::default()
            };
            let command = Command::SetAdmin {
                target: AdminTarget::Node(n(node)),
                order,
                force: true,
                expect: None,
            };
            state
                .apply(&Stamped {
                    at: Timestamp(2),
                    by: String::new(),
                    command,
                    request: None,
                })
                .unwrap();
            state.clone()
        };
        let state = set(2, AdminState::Maintenance);
        let one_drained = set(3, AdminState::Drain);
        assert_eq!(
            campaigns(2, Role::Server, Some(1), &one_drained.facts, 2000),
            [],
            "a drained one can still forward"
        );
        assert_ne!(
            campaigns(3, Role::Server, Some(1), &one_drained.facts, 2000),
            []
        );
        assert_eq!(campaigns(2, Role::Server, Some(1), &state.facts, 2000), []);
        assert_eq!(
            campaigns(3, Role::Server, Some(1), &state.facts, 400),
            [300, 325, 350, 375],
            "it is alone now"
        );
    }

    #[test]
    fn the_tries_end_when_nobody_can_win() {
        assert!(
            campaigns(2, Role::Server, Some(1), &facts().facts, 5000)
                .last()
                .is_some_and(|t| *t <= 900)
        );
    }

    #[test]
    fn it_is_woken_for_each_try() {
        let settings = ControllerSettings::of(n(2), Role::Server, Duration::from_millis(300));
        assert_eq!(
            next_deadline(at(0), None, &settings, &follows(Some(1))),
            None
        );
        let next = |ms| next_deadline(at(ms), Some((n(1), at(10))), &settings, &follows(Some(1)));
        assert_eq!(
            [next(10), next(310), next(334), next(336)],
            [Some(at(310)), Some(at(335)), Some(at(335)), Some(at(360))]
        );
        assert_eq!(next(2000), None, "it has tried for long enough");
    }
}
