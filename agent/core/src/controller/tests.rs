//! When a node holds, when it gives up, and in which order it hands over.
mod handover;
mod suspicion;
mod touch;
mod voters;

use super::*;
use crate::command::{AdminOrder, AdminTarget, Command, DrainEnd, Stamped};
use crate::lease::Lease;
use crate::model::{AdminState, Role, Timing};
use crate::state::ClusterState;
use crate::testing::member;

const LEASE: Duration = Duration::from_millis(240);
const PROMISE: Duration = Duration::from_millis(300);
/// Between two `Lease` messages, in milliseconds.
const EVERY: u64 = 48;

fn n(i: u8) -> NodeId {
    NodeId::from_random(u128::from(i))
}
fn at(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

struct Node {
    c: Controller,
    now: u64,
}

impl Node {
    fn new(role: Role) -> Self {
        Node::promised(role, PROMISE)
    }
    fn promised(role: Role, promise: Duration) -> Self {
        let settings = ControllerSettings::of(n(1), role, promise);
        let mut node = Node {
            c: Controller::new(settings, at(0)),
            now: 0,
        };
        let mut state = ClusterState::default();
        for i in 1..=3 {
            state
                .apply(&Stamped {
                    at: Timestamp(1),
                    by: String::new(),
                    command: Command::AddMember(member(i)),
                    request: None,
                })
                .unwrap();
        }
        node.tell(Event::Applied(state.facts));
        node.tell(Event::Own(NodeReport {
            eligible: true,
            ..NodeReport::default()
        }));
        node
    }
    /// An operator sets these to maintenance.
    fn maintain(&mut self, nodes: &[u8]) {
        for node in nodes {
            self.set(*node, AdminState::Maintenance);
        }
    }
    /// An operator sets that node to that state.
    fn set(&mut self, node: u8, state: AdminState) -> Vec<Action> {
        let order = AdminOrder {
            state,
            ..AdminOrder::default()
        };
        self.applied(Command::SetAdmin {
            target: AdminTarget::Node(n(node)),
            order,
            force: true,
            expect: None,
        })
    }
    /// The log has that command, of somebody called alice.
    fn applied(&mut self, command: Command) -> Vec<Action> {
        let mut state = ClusterState {
            facts: self.c.facts().clone(),
            ..ClusterState::default()
        };
        state
            .apply(&Stamped {
                at: Timestamp(2),
                by: "alice".into(),
                command,
                request: None,
            })
            .unwrap();
        self.tell(Event::Applied(state.facts))
    }
    fn tell(&mut self, event: Event) -> Vec<Action> {
        self.c.step(at(self.now), Timestamp(self.now), event)
    }
    fn wait(&mut self, ms: u64) -> Vec<Action> {
        self.now += ms;
        self.tell(Event::Tick)
    }
    fn news(role: RaftRole, term: u64, applied_term: u64) -> RaftNews {
        RaftNews {
            role,
            term,
            applied_term,
            leader: (role == RaftRole::Leader).then_some(n(1)),
            voters: vec![[n(1), n(2), n(3)].into()],
            ..RaftNews::default()
        }
    }
    fn lead(&mut self, term: u64) -> Vec<Action> {
        self.tell(Event::Raft(Self::news(RaftRole::Leader, term, term)))
    }
    fn answer(&mut self, from: u8, lease: Lease) -> Vec<Action> {
        self.tell(Event::LeaseAnswered {
            from: n(from),
            lease,
            result: Ok(()),
            report: NodeReport {
                eligible: true,
                ..NodeReport::default()
            },
        })
    }
    fn out(&self) -> bool {
        self.c.is_out_of_touch(at(self.now))
    }
    fn holding() -> Self {
        Node::holding_under(PROMISE)
    }
    fn holding_under(promise: Duration) -> Self {
        let mut node = Node::promised(Role::Server, promise);
        let lease = sent(&node.lead(5)).unwrap();
        node.answer(1, lease);
        node.answer(2, lease);
        assert!(node.c.holding().is_some());
        node
    }
}

fn sent(actions: &[Action]) -> Option<Lease> {
    actions.iter().find_map(|a| {
        if let Action::SendLease { lease, .. } = a {
            Some(*lease)
        } else {
            None
        }
    })
}
fn held(actions: &[Action]) -> Option<Instant> {
    actions.iter().find_map(|a| {
        if let Action::Hold { until, .. } = a {
            Some(*until)
        } else {
            None
        }
    })
}
fn dropped(actions: &[Action]) -> Option<DropReason> {
    actions.iter().find_map(|a| {
        if let Action::Drop { why, .. } = a {
            Some(*why)
        } else {
            None
        }
    })
}

fn drop_number(actions: &[Action]) -> u64 {
    actions
        .iter()
        .find_map(|a| {
            if let Action::Drop { number, .. } = a {
                Some(*number)
            } else {
                None
            }
        })
        .expect("dropped")
}
fn transferred(actions: &[Action]) -> Option<NodeId> {
    actions.iter().find_map(|a| {
        if let Action::Transfer { to } = a {
            Some(*to)
        } else {
            None
        }
    })
}

#[test]
fn a_leader_holds_only_after_a_quorum_has_promised_itself() {
    let mut node = Node::new(Role::Server);
    let lease = sent(&node.lead(5)).expect("a new leader asks at once");
    assert_eq!(
        held(&node.answer(1, lease)),
        None,
        "one of three is no quorum"
    );
    node.now = 30;
    assert_eq!(
        held(&node.answer(3, lease)),
        Some(lease.sent + LEASE),
        "counted from when it was sent"
    );
}

#[test]
fn a_leader_that_has_not_applied_its_own_term_does_not_hold() {
    let mut node = Node::new(Role::Server);
    let lease = sent(&node.tell(Event::Raft(Node::news(RaftRole::Leader, 5, 4)))).unwrap();
    node.answer(1, lease);
    assert_eq!(held(&node.answer(2, lease)), None);
    let applied = node.tell(Event::Raft(Node::news(RaftRole::Leader, 5, 5)));
    assert!(held(&applied).is_some());
}

#[test]
fn an_answer_to_a_lease_of_an_older_term_does_not_count() {
    let mut node = Node::holding();
    let old = sent(&node.wait(EVERY)).unwrap();
    let new = sent(&node.lead(7)).unwrap();
    assert_eq!(node.c.holding(), None);
    node.answer(2, old);
    node.answer(3, old);
    assert_eq!(node.c.holding(), None);
    node.answer(1, new);
    assert!(held(&node.answer(3, new)).is_some());
}

#[test]
fn the_address_is_dropped_when_the_lease_runs_out() {
    let mut node = Node::holding();
    assert_eq!(dropped(&node.wait(239)), None);
    assert_eq!(dropped(&node.wait(1)), Some(DropReason::LeaseRanOut));
    assert_eq!(node.c.holding(), None);
}

#[test]
fn the_address_is_dropped_when_another_leads() {
    let mut node = Node::holding();
    assert_eq!(
        dropped(&node.tell(Event::Raft(Node::news(RaftRole::Follower, 6, 5)))),
        Some(DropReason::NotLeader)
    );
}

#[test]
fn a_log_that_stands_still_for_long_costs_the_lead() {
    let mut node = Node::holding();
    let mut news = Node::news(RaftRole::Leader, 5, 5);
    (news.last_log, news.committed) = (10, 9);
    node.tell(Event::Raft(news));
    let mut held_for = 0;
    while node.c.handing_over_to().is_none() {
        let Some(lease) = sent(&node.wait(EVERY)) else {
            break;
        };
        node.answer(1, lease);
        node.answer(2, lease);
        held_for += EVERY;
        assert!(held_for < 60_000, "never gave up");
    }
    assert!(
        held_for >= 29_000,
        "a stall of seconds must not move the address: {held_for} ms"
    );
}

#[test]
fn a_membership_that_an_earlier_leader_left_joint_is_brought_to_its_end() {
    let completed =
        |actions: &[Action]| actions.contains(&Action::SettleMembership { forward: true });
    let mut node = Node::new(Role::Server);
    let joint = RaftNews {
        voters: vec![[n(1), n(2), n(3)].into(), [n(1), n(2)].into()],
        ..Node::news(RaftRole::Leader, 5, 5)
    };
    assert!(!completed(&node.tell(Event::Raft(joint))));
    assert!(
        !completed(&node.wait(1999)),
        "it may be a change that is under way here"
    );
    assert!(completed(&node.wait(1)));
    assert!(
        !completed(&node.wait(1999)) && completed(&node.wait(1)),
        "again while it lasts"
    );
    let without_it = RaftNews {
        voters: vec![[n(1), n(2), n(3)].into(), [n(2), n(3)].into()],
        ..Node::news(RaftRole::Leader, 5, 5)
    };
    node.tell(Event::Raft(without_it));
    assert!(
        node.wait(2000)
            .contains(&Action::SettleMembership { forward: false }),
        "who leads does not take itself out"
    );
    node.lead(5);
    assert!(
        !node
            .wait(5000)
            .iter()
            .any(|a| matches!(a, Action::SettleMembership { .. })),
        "it is done"
    );
}

#[test]
fn the_lease_ends_before_the_promise_with_drift_and_a_stop_to_spare() {
    for timing in [Timing::Lan, Timing::Fast, Timing::Wan] {
        let settings = ControllerSettings::of(n(1), Role::Server, timing.promise());
        let (lease, promise) = (settings.lease.as_secs_f64(), settings.promise.as_secs_f64());
        let (rho, stop) = (0.01, 0.020);
        assert!(
            lease * (1.0 + rho) + stop <= promise * (1.0 - rho),
            "{timing:?}"
        );
        assert!(
            settings.lease_every * 4 < settings.lease,
            "several per lease: {timing:?}"
        );
    }
}

#[test]
fn it_is_not_woken_for_what_it_does_not_do() {
    let mut node = Node::holding();
    assert!(
        node.c.next_deadline(at(node.now)) <= at(node.now + EVERY),
        "the next lease"
    );
    node.tell(Event::MoveLeader {
        to: Some(n(2)),
        reason: HandoverReason::Shutdown,
    });
    node.wait(100);
    assert_eq!(
        node.c.next_deadline(at(node.now)),
        at(node.now + 250),
        "no lease is sent during a handover"
    );
}

#[test]
fn who_holds_proposes_what_a_members_agent_says_of_itself_and_who_only_leads_does_not() {
    let report = |version: &str| NodeReport {
        eligible: true,
        agent_version: version.into(),
        speaks: crate::version::CURRENT,
        checks: crate::check::Kind::known_set(),
        ..NodeReport::default()
    };
    let answers = |node: &mut Node, lease| {
        node.tell(Event::LeaseAnswered {
            from: n(2),
            lease,
            result: Ok(()),
            report: report("2"),
        })
    };
    let described = |actions: &[Action]| {
        actions
            .iter()
            .any(|a| matches!(a, Action::Propose(Command::Describe { node, .. }) if *node == n(2)))
    };
    let mut node = Node::holding();
    let lease = sent(&node.wait(EVERY)).unwrap();
    assert!(described(&answers(&mut node, lease)));
    assert!(!described(&answers(&mut node, lease)), "once");

    let mut leader = Node::new(Role::Witness);
    let lease = sent(&leader.lead(5)).unwrap();
    leader.answer(1, lease);
    assert!(!described(&answers(&mut leader, lease)));
}
