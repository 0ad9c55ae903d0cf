//! Recoveries, nodes that come back under another id, nodes that move.

use crate::command::{AdminOrder, AdminTarget, Answer, Command, Rejection, Stamped};
use crate::events::What;
use crate::id::Epoch;
use crate::model::{AdminState, Member, Role, Timing};
use crate::state::ClusterState;
use crate::stick::{StickEntry, StickKey};
use crate::testing::{self, backend, member, node, server};
use crate::time::Timestamp;
use crate::trust::{Digest, Ticket, TrustOrder};
use crate::version::CURRENT;
use std::net::IpAddr;
use std::time::Duration;

fn apply(state: &mut ClusterState, command: Command) -> Answer {
    let stamped = Stamped {
        at: Timestamp(1_000_000),
        by: "alice".into(),
        request: None,
        command,
    };
    state.apply(&stamped)
}

fn drain(state: &mut ClusterState, i: u8) {
    let order = AdminOrder {
        state: AdminState::Drain,
        reason: "its disk".into(),
        ..AdminOrder::default()
    };
    let target = AdminTarget::Node(node(i));
    let force = true;
    apply(
        state,
        Command::SetAdmin {
            target,
            order,
            force,
            expect: None,
        },
    )
    .unwrap();
}

fn token(state: &mut ClusterState, id: &str) {
    let order = TrustOrder::MakeToken {
        id: id.into(),
        secret: Digest([7; 32]),
        role: Role::Server,
        expires: Timestamp(9_000_000),
    };
    apply(state, Command::Trust(order)).unwrap();
}

fn admit(member: Member, token: &str, replaces: Option<u8>) -> Command {
    let key = Digest([member.name.len() as u8; 32]);
    Command::Admit {
        member,
        ticket: Ticket {
            token: token.into(),
            secret: Digest([7; 32]),
            key,
        },
        replaces: replaces.map(node),
    }
}

/// Three members; node-1 and node-2 are drained, and node-1 holds.
fn three() -> ClusterState {
    let mut state = ClusterState::default();
    let found = Command::Found {
        cluster_id: node(99),
        timing: Timing::Lan,
        version: CURRENT.max,
    };
    apply(&mut state, found).unwrap();
    for i in 1..=3 {
        apply(&mut state, Command::AddMember(member(i))).unwrap();
    }
    let config = testing::config(vec![backend("b", vec![server(1), server(2)])]);
    let (text, expect) = (String::new(), None);
    apply(
        &mut state,
        Command::Configure {
            config,
            text,
            expect,
        },
    )
    .unwrap();
    for i in [1, 2] {
        drain(&mut state, i);
    }
    token(&mut state, "t");
    let holder = Command::Holder {
        node: node(1),
        epoch: Epoch(4),
        reason: String::new(),
    };
    apply(&mut state, holder).unwrap();
    state
}

/// What node-`i` knew, taken over by it: its id was `was` and is `new`.
fn recovered(before: &ClusterState, i: u8, was: u8, new: u8) -> ClusterState {
    let mut state = ClusterState::default();
    let member = Member {
        id: node(new),
        ..member(i)
    };
    let facts = Box::new((*before.facts).clone());
    let was = node(was);
    apply(&mut state, Command::Recover { facts, was, member }).unwrap();
    state
}

#[test]
fn one_goes_on_with_all_that_was_agreed_and_no_other_is_heard() {
    let before = three();
    assert_eq!(before.facts.generation(), 1);
    let after = recovered(&before, 1, 1, 11).facts;
    assert_eq!(after.generation(), 2);
    assert_eq!(
        (
            after.cluster_id,
            &after.config,
            &after.server_ids,
            &after.trust.tokens,
            &after.history
        ),
        (
            node(99),
            &before.facts.config,
            &before.facts.server_ids,
            &before.facts.trust.tokens,
            &before.facts.history
        )
    );
    assert_eq!(after.members.keys().collect::<Vec<_>>(), [&node(11)]);
    assert_eq!(after.member_named("node-1").map(|m| m.id), Some(node(11)));
    assert!(
        (1..=3).all(|i| after.trust.removed.contains_key(&node(i))),
        "its own id of before neither"
    );
    assert_eq!(
        after.holder, None,
        "it is looked whether somebody else answers for the addresses"
    );
    assert_eq!(
        after.admin_of(node(11)),
        AdminState::Drain,
        "what was wanted of it is still"
    );
    let recovery = after.recovery.as_ref().unwrap();
    let former: Vec<_> = recovery
        .former
        .values()
        .map(|f| (f.name.as_str(), f.admin.is_some()))
        .collect();
    assert_eq!(former, [("node-2", true), ("node-3", false)]);
    let last = after.events.kept().last().map(|e| e.what.clone());
    let node = "node-1".to_owned();
    assert_eq!(
        last,
        Some(What::Recovered {
            generation: 2,
            node
        })
    );
}

#[test]
fn who_comes_back_under_its_name_is_wanted_as_before_and_the_next_recovery_counts_on() {
    let mut state = recovered(&three(), 1, 1, 11);
    let back = |i: u8, id: u8| Member {
        id: node(id),
        ..member(i)
    };
    apply(&mut state, admit(back(2, 12), "t", None)).unwrap();
    assert_eq!(state.facts.admin_of(node(12)), AdminState::Drain);
    let former = |state: &ClusterState| {
        let recovery = state.facts.recovery.as_ref().unwrap();
        let names = recovery.former.values().map(|f| f.name.clone());
        names.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(former(&state), "node-3");
    let again = recovered(&state, 2, 12, 22);
    assert_eq!(again.facts.generation(), 3);
    assert_eq!(former(&again), "node-3 node-1");
}

#[test]
fn only_an_empty_log_begins_with_a_recovery_and_under_a_new_id_only() {
    let before = three();
    let facts = || Box::new((*before.facts).clone());
    let under = |id: u8| Command::Recover {
        facts: facts(),
        was: node(1),
        member: Member {
            id: node(id),
            ..member(1)
        },
    };
    let mut young = ClusterState::default();
    assert_eq!(
        apply(&mut young, under(1)),
        Err(Rejection::NodeRemoved(node(1)))
    );
    assert_eq!(young.facts.members.len(), 0);
    apply(&mut young, under(11)).unwrap();
    assert_eq!(apply(&mut young, under(12)), Err(Rejection::AlreadyFounded));
}

#[test]
fn who_has_lost_its_data_takes_the_place_of_what_it_was() {
    let mut state = three();
    let again = Member {
        id: node(12),
        ..member(2)
    };
    assert_eq!(
        apply(&mut state, admit(again.clone(), "t", None)),
        Err(Rejection::NameTaken("node-2".into()))
    );
    let other = Member {
        id: node(13),
        ..member(3)
    };
    assert_eq!(
        apply(&mut state, admit(other, "t", Some(2))),
        Err(Rejection::NameTaken("node-3".into())),
        "it replaces its own name only"
    );
    assert!(
        state.facts.members.contains_key(&node(2)),
        "a refusal changes nothing"
    );
    apply(&mut state, admit(again, "t", Some(2))).unwrap();
    let facts = &state.facts;
    assert!(facts.trust.removed.contains_key(&node(2)) && !facts.members.contains_key(&node(2)));
    assert_eq!(facts.admin_of(node(12)), AdminState::Drain);
    assert_eq!(facts.members.len(), 3);
}

#[test]
fn a_node_that_moves_takes_its_clients_along() {
    let mut state = three();
    let mut config = (*state.facts.config).clone();
    config.backends[0].servers[1].node = Some("node-2".into());
    let (text, expect) = (String::new(), None);
    apply(
        &mut state,
        Command::Configure {
            config,
            text,
            expect,
        },
    )
    .unwrap();
    let key = |i: u8| StickKey {
        group: "g".into(),
        client: IpAddr::from([10, 1, 0, i]),
    };
    let bound = |server: &str, host: u8| StickEntry {
        server: state.facts.server_id("b", server).unwrap(),
        host: IpAddr::from([10, 0, 0, host]),
        bound_at: Timestamp(1_000_000),
        used_at: Timestamp(1_000_000),
        expire: Duration::from_secs(600),
    };
    let bindings = vec![(key(1), bound("s1", 1)), (key(2), bound("s2", 2))];
    apply(&mut state, Command::Bind(bindings)).unwrap();
    let there = IpAddr::from([10, 9, 0, 2]);
    let listen = (there, 7400).into();
    let to = |node, listen| Command::Relocate {
        node,
        listen,
        address: there,
    };
    assert!(matches!(
        apply(&mut state, to(node(2), member(1).listen)),
        Err(Rejection::AddressTaken(..))
    ));
    apply(&mut state, to(node(2), listen)).unwrap();
    let moved = &state.facts.members[&node(2)];
    assert_eq!((moved.listen, moved.address), (listen, there));
    let host = |i| {
        state
            .stick
            .table()
            .get(&key(i), Timestamp(1_000_000))
            .map(|e| e.host)
    };
    assert_eq!(
        (host(1), host(2)),
        (Some(IpAddr::from([10, 0, 0, 1])), Some(there))
    );
    let events = state.facts.events.last_seq();
    apply(&mut state, to(node(2), listen)).unwrap();
    assert_eq!(
        state.facts.events.last_seq(),
        events,
        "again is nothing new"
    );
}
