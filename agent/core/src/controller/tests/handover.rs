//! In which order leadership is handed over, and to whom.
use super::*;

#[test]
fn a_handover_drops_then_releases_then_transfers() {
    let mut node = Node::holding();
    let actions = node.tell(Event::MoveLeader {
        to: Some(n(2)),
        reason: HandoverReason::Operator("me".into()),
    });
    assert_eq!(
        (dropped(&actions), transferred(&actions)),
        (Some(DropReason::Handover), None)
    );
    let number = drop_number(&actions);
    assert!(
        !actions
            .iter()
            .any(|a| matches!(a, Action::SendRelease { .. })),
        "not before the address is away"
    );
    assert_eq!(sent(&node.wait(60)), None, "no lease any more");
    assert!(
        node.tell(Event::Dropped { number: number - 1 }).is_empty(),
        "of another drop"
    );
    let actions = node.tell(Event::Dropped { number });
    let release = actions
        .iter()
        .find_map(|a| {
            if let Action::SendRelease { release, .. } = a {
                Some(*release)
            } else {
                None
            }
        })
        .expect("released");
    assert_eq!(transferred(&actions), None, "not before the others know");
    assert_eq!(
        transferred(&node.tell(Event::ReleaseAnswered {
            from: n(3),
            release
        })),
        None,
        "the target must know"
    );
    assert_eq!(
        transferred(&node.tell(Event::ReleaseAnswered {
            from: n(2),
            release
        })),
        Some(n(2))
    );
    assert_eq!(transferred(&node.wait(199)), None);
    assert_eq!(
        transferred(&node.wait(1)),
        Some(n(2)),
        "asked again while still leader of the term"
    );
    assert_eq!(node.c.holding(), None);
}

#[test]
fn a_handover_whose_drop_is_never_reported_waits_until_the_promise_is_over() {
    for promise in [PROMISE, Duration::from_secs(10)] {
        let mut node = Node::holding_under(promise);
        let actions = node.tell(Event::MoveLeader {
            to: Some(n(2)),
            reason: HandoverReason::Shutdown,
        });
        assert_eq!(dropped(&actions), Some(DropReason::Handover));
        let released = |actions: &[Action]| {
            actions
                .iter()
                .any(|a| matches!(a, Action::SendRelease { .. }))
        };
        let wait = promise.max(Duration::from_millis(2500)).as_millis() as u64;
        assert!(!released(&node.wait(wait - 1)), "it may still answer");
        assert!(released(&node.wait(1)));
    }
}

#[test]
fn a_handover_does_not_wait_for_the_dead() {
    let mut node = Node::holding();
    let actions = node.tell(Event::MoveLeader {
        to: Some(n(2)),
        reason: HandoverReason::Shutdown,
    });
    node.tell(Event::Dropped {
        number: drop_number(&actions),
    });
    assert_eq!(transferred(&node.wait(49)), None);
    assert_eq!(transferred(&node.wait(1)), Some(n(2)));
}

#[test]
fn a_witness_never_holds_and_hands_over_to_a_server_that_may() {
    let mut node = Node::new(Role::Witness);
    let lease = sent(&node.lead(5)).unwrap();
    node.answer(1, lease);
    let actions = node.answer(2, lease);
    assert_eq!(held(&actions), None);
    assert_eq!(node.c.handing_over_to(), Some(n(2)));
}

#[test]
fn a_witness_hands_over_to_a_drained_server_rather_than_to_nobody() {
    let mut node = Node::new(Role::Witness);
    node.maintain(&[2, 3]);
    let lease = sent(&node.lead(5)).unwrap();
    node.answer(1, lease);
    node.answer(2, lease);
    assert_eq!(
        (node.c.best_successor(), node.c.handing_over_to()),
        (None, Some(n(2)))
    );
}

#[test]
fn a_ready_node_hands_over_to_a_drained_one_only_when_it_is_told_to() {
    let mut node = Node::holding();
    node.maintain(&[2, 3]);
    node.tell(Event::MoveLeader {
        to: None,
        reason: HandoverReason::LogStuck,
    });
    assert_eq!(
        node.c.handing_over_to(),
        None,
        "it would hand it back at once"
    );
    let to = node.c.last_successor();
    assert_eq!(to, Some(n(2)));
    node.tell(Event::MoveLeader {
        to,
        reason: HandoverReason::Shutdown,
    });
    assert_eq!(node.c.handing_over_to(), Some(n(2)));
}

#[test]
fn a_node_that_has_just_started_is_no_successor_until_it_promises_itself() {
    let mut node = Node::holding();
    assert_eq!(node.c.best_successor(), Some(n(2)));
    let lease = sent(&node.wait(EVERY)).unwrap();
    let report = NodeReport {
        eligible: true,
        ..NodeReport::default()
    };
    node.tell(Event::LeaseAnswered {
        from: n(2),
        lease,
        result: Err(Refusal::JustStarted),
        report,
    });
    assert_eq!(node.c.best_successor(), None);
    node.answer(2, lease);
    assert_eq!(node.c.best_successor(), Some(n(2)));
}

#[test]
fn a_node_in_maintenance_hands_over_to_a_ready_one_and_to_no_other_in_maintenance() {
    let mut node = Node::holding();
    node.maintain(&[2, 1]);
    let lease = sent(&node.wait(EVERY)).unwrap();
    node.answer(1, lease);
    node.answer(2, lease);
    assert_eq!(
        node.c.handing_over_to(),
        None,
        "node 2 is in maintenance too"
    );
    node.answer(3, lease);
    assert_eq!(node.c.handing_over_to(), Some(n(3)));
}

/// What is drained can still forward: to move the address would reset every session, those on other servers too.
#[test]
fn a_drain_alone_never_moves_the_address_and_the_maintenance_that_follows_it_does() {
    let mut node = Node::holding();
    node.applied(Command::SetAdmin {
        target: AdminTarget::Node(n(1)),
        order: AdminOrder {
            state: AdminState::Drain,
            then: Some(AdminState::Maintenance),
            ..AdminOrder::default()
        },
        force: false,
        expect: None,
    });
    for _ in 0..100 {
        let lease = sent(&node.wait(EVERY)).expect("it goes on");
        for from in 1..=3 {
            node.answer(from, lease);
        }
        assert_eq!(node.c.handing_over_to(), None);
    }
    assert!(node.c.holding().is_some());
    node.applied(Command::DrainEnded {
        target: AdminTarget::Node(n(1)),
        began: Timestamp(2),
        end: DrainEnd::Empty,
    });
    assert_eq!(node.c.handing_over_to(), Some(n(2)), "now the node goes");
}

#[test]
fn a_drained_node_takes_over_only_when_nobody_else_can_and_before_one_in_maintenance() {
    let mut node = Node::holding();
    let lease = sent(&node.wait(EVERY)).unwrap();
    node.answer(3, lease);
    let successors = |node: &Node| (node.c.best_successor(), node.c.last_successor());
    node.set(2, AdminState::Drain);
    assert_eq!(successors(&node), (Some(n(3)), Some(n(3))));
    node.set(3, AdminState::Maintenance);
    assert_eq!(successors(&node), (None, Some(n(2))));
    node.set(2, AdminState::Maintenance);
    node.set(3, AdminState::Drain);
    assert_eq!(successors(&node), (None, Some(n(3))));
}

#[test]
fn a_node_in_maintenance_hands_over_to_a_drained_one_rather_than_hold() {
    let mut node = Node::holding();
    let lease = sent(&node.wait(EVERY)).unwrap();
    node.answer(3, lease);
    node.set(2, AdminState::Maintenance);
    node.set(3, AdminState::Drain);
    assert_eq!(node.c.handing_over_to(), None);
    node.set(1, AdminState::Maintenance);
    assert_eq!(node.c.handing_over_to(), Some(n(3)));
}

#[test]
fn an_event_says_why_it_is_handed_over_and_who_asked() {
    let noted = |actions: &[Action]| {
        actions.iter().find_map(|a| match a {
            Action::Propose(Command::Note { kind, text }) => Some(format!("{kind}: {text}")),
            _ => None,
        })
    };
    let mut node = Node::holding();
    let actions = node.tell(Event::MoveLeader {
        to: Some(n(2)),
        reason: HandoverReason::Operator("alice@vm".into()),
    });
    assert_eq!(
        noted(&actions).as_deref(),
        Some("holder: node-1 hands over to node-2: alice@vm asked for it")
    );
    let mut node = Node::holding();
    assert_eq!(
        noted(&node.set(1, AdminState::Maintenance)).as_deref(),
        Some("holder: node-1 hands over to node-2: alice set node-1 to maint")
    );
}

#[test]
fn who_is_named_to_take_over_must_be_able_to_keep_it() {
    let mut node = Node::holding();
    assert_eq!(node.c.may_take_over(n(2)), Ok(()));
    assert!(
        node.c
            .may_take_over(n(3))
            .is_err_and(|why| why.contains("does not answer, or has just started"))
    );
    node.set(2, AdminState::Maintenance);
    assert_eq!(
        node.c.may_take_over(n(2)),
        Err(
            "node-2 is in maintenance (by alice): it would hand the address back at once. \
             `ha-cli ready node-2` first"
                .into()
        )
    );
    node.set(2, AdminState::Drain);
    assert!(
        node.c
            .may_take_over(n(2))
            .is_err_and(|why| why.starts_with("node-2 is drained (by alice)"))
    );
    node.set(1, AdminState::Drain);
    assert_eq!(
        node.c.may_take_over(n(2)),
        Ok(()),
        "nobody is ready: one drained node is as good as another"
    );
}

#[test]
fn a_node_whose_data_plane_fails_hands_over_if_somebody_else_can() {
    let mut node = Node::holding();
    for _ in 0..20 {
        let lease = sent(&node.wait(EVERY)).unwrap();
        node.answer(1, lease);
        node.answer(2, lease);
    }
    let actions = node.tell(Event::Own(NodeReport {
        eligible: false,
        why_not: "its proxy does not work".into(),
        ..NodeReport::default()
    }));
    assert_eq!(node.c.handing_over_to(), Some(n(2)));
    assert_eq!(
        dropped(&actions),
        Some(DropReason::Handover),
        "in order: it takes leave of its clients first"
    );
}

#[test]
fn a_leader_that_has_just_been_elected_goes_on_holding_until_it_may_hand_over() {
    let mut node = Node::holding();
    let lease = sent(&node.wait(EVERY)).unwrap();
    node.answer(1, lease);
    node.answer(2, lease);
    let actions = node.tell(Event::Own(NodeReport::default()));
    assert_eq!((dropped(&actions), node.c.handing_over_to()), (None, None));
    assert!(node.c.holding().is_some());
}

#[test]
fn a_handover_whose_target_leaves_is_given_up_before_the_library_is_asked() {
    let mut node = Node::holding();
    let actions = node.tell(Event::MoveLeader {
        to: Some(n(2)),
        reason: HandoverReason::Operator("me".into()),
    });
    let number = drop_number(&actions);
    let without = RaftNews {
        voters: vec![[n(1), n(3)].into()],
        ..Node::news(RaftRole::Leader, 5, 5)
    };
    assert_eq!(node.c.handing_over_to(), Some(n(2)));
    node.tell(Event::Raft(without.clone()));
    assert_eq!(node.c.handing_over_to(), None);
    assert_eq!(transferred(&node.tell(Event::Dropped { number })), None);
    let lease = sent(&node.wait(EVERY)).expect("it asks again");
    node.answer(1, lease);
    assert!(held(&node.answer(3, lease)).is_some(), "and holds again");
    let refused = node.tell(Event::MoveLeader {
        to: Some(n(2)),
        reason: HandoverReason::Operator("me".into()),
    });
    assert_eq!(
        (
            node.c.handing_over_to(),
            refused.contains(&Action::Transfer { to: n(2) })
        ),
        (None, false),
        "who does not vote is no target"
    );
    let leaving = RaftNews {
        voters: vec![[n(1), n(2), n(3)].into(), [n(1), n(3)].into()],
        ..without
    };
    node.tell(Event::Raft(leaving));
    node.tell(Event::MoveLeader {
        to: Some(n(2)),
        reason: HandoverReason::Operator("me".into()),
    });
    assert_eq!(
        node.c.handing_over_to(),
        None,
        "neither is who is about to leave"
    );
}
