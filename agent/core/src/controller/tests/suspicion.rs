//! What a silent node means for the servers on it.

use super::*;
use crate::check::{CheckClose, CheckResult, Kind};
use crate::command::HealthChange;
use crate::id::ServerId;
use crate::model::{Backend, Check};
use crate::testing::{backend, check, config, server};

const SERVER: ServerId = ServerId(3);

/// The README's: every 5 s, three failures until it is down.
fn readme_check() -> Check {
    check(Kind::Tcp {
        port: Some(5022),
        close: CheckClose::Rst,
    })
}

/// Holds, with a server on each node, and has heard node 3 until now.
fn holding(check: Option<Check>) -> Node {
    let mut node = Node::holding();
    let servers = (1..=3).map(server).collect();
    let of = |servers| Backend {
        check,
        ..backend("b", servers)
    };
    let mut state = ClusterState {
        facts: node.c.facts().clone(),
        ..ClusterState::default()
    };
    let mut config = config(vec![of(servers)]);
    config.backends[0].servers[2].port = Some(9100);
    let command = Command::Configure {
        config,
        text: String::new(),
        expect: None,
    };
    let by = String::new();
    let at = Timestamp(2);
    state
        .apply(&Stamped {
            at,
            by,
            command,
            request: None,
        })
        .unwrap();
    node.tell(Event::Applied(state.facts));
    node
}

/// Time passes for `ms`; nodes 1 and 2 answer, and every look at a server on node 3 comes to that after 150 ms, or
/// earlier if it passed. What was decided of its health, and when.
fn silent(node: &mut Node, ms: u64, result: CheckResult) -> Vec<(u64, HealthChange)> {
    let (until, began) = (node.now + ms, node.now);
    let mut looks: Vec<u64> = Vec::new();
    let mut decided = Vec::new();
    while node.now < until {
        let mut actions = node.wait(10);
        if let Some(lease) = sent(&actions) {
            node.answer(1, lease);
            actions.extend(node.answer(2, lease));
        }
        let due = looks.iter().filter(|at| **at <= node.now).count();
        looks.retain(|at| *at > node.now);
        for _ in 0..due {
            actions.extend(node.tell(Event::Checked {
                server: SERVER,
                purpose: Purpose::Suspicion,
                result,
            }));
        }
        for action in actions {
            match action {
                Action::Probe {
                    server: SERVER,
                    purpose: Purpose::Suspicion,
                    probe,
                } => looks.push(node.now + probe.within.as_millis() as u64),
                Action::Propose(Command::Health(changes)) => {
                    decided.extend(changes.into_iter().map(|c| (node.now - began, c)));
                }
                _ => {}
            }
        }
    }
    decided
}

#[test]
fn a_server_whose_node_died_is_down_within_a_second_whatever_its_checks_interval() {
    let mut node = holding(Some(readme_check()));
    let decided = silent(&mut node, 3000, CheckResult::TimedOut);
    let [(after, change)] = decided.as_slice() else {
        panic!("{decided:?}")
    };
    assert_eq!((change.server, change.up), (SERVER, false));
    assert!(*after <= 1000, "{after} ms");
    assert!(!node.c.overlay().health[&SERVER]);
}

#[test]
fn a_server_that_answers_beside_a_stopped_agent_stays_up_and_is_cleared() {
    let mut node = holding(Some(readme_check()));
    assert_eq!(silent(&mut node, 3000, CheckResult::Passed), []);
    assert!(node.c.overlay().suspects.is_empty());
    assert!(node.c.overlay().health[&SERVER]);
}

#[test]
fn without_a_check_a_silent_nodes_server_is_looked_at_all_the_same() {
    let mut answers = holding(None);
    silent(&mut answers, 1000, CheckResult::Passed);
    assert!(
        answers.c.overlay().suspects.is_empty(),
        "it is above suspicion"
    );
    let mut dead = holding(None);
    let decided = silent(&mut dead, 1000, CheckResult::TimedOut);
    assert_eq!(decided, [], "nothing says when it is down");
    assert_eq!(dead.c.overlay().suspects, [SERVER].into());
}

#[test]
fn a_failed_look_at_a_server_whose_node_is_heard_is_no_failed_check() {
    let mut node = holding(Some(readme_check()));
    for _ in 0..9 {
        let lease = sent(&node.wait(EVERY)).unwrap();
        for from in 1..=3 {
            node.answer(from, lease);
        }
        let late = node.tell(Event::Checked {
            server: SERVER,
            purpose: Purpose::Suspicion,
            result: CheckResult::TimedOut,
        });
        assert!(!late.iter().any(|a| matches!(a, Action::Propose(_))));
    }
}

#[test]
fn who_is_heard_again_has_its_servers_checked_at_once() {
    let mut node = holding(Some(readme_check()));
    silent(&mut node, 3000, CheckResult::TimedOut);
    node.tell(Event::Checked {
        server: SERVER,
        purpose: Purpose::Scheduled,
        result: CheckResult::TimedOut,
    });
    let lease = sent(&node.wait(EVERY)).unwrap();
    node.answer(1, lease);
    node.answer(2, lease);
    let mut actions = node.answer(3, lease);
    actions.extend(node.wait(10));
    let checked = |a: &Action| {
        matches!(
            a,
            Action::Probe {
                server: SERVER,
                purpose: Purpose::Scheduled,
                ..
            }
        )
    };
    assert!(actions.iter().any(checked), "not after 5 s: {actions:?}");
}
