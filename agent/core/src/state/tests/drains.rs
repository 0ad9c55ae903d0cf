//! Servers and nodes that are wanted out, and the ends of drains.
use super::*;
use crate::command::DrainEnd;
use crate::view::{Newcomer, Overlay, Routes};

#[test]
fn the_last_usable_server_is_not_drained_without_force() {
    let mut log = Log::new();
    for (name, want) in [("s1", true), ("s2", true), ("s3", false)] {
        let target = AdminTarget::Servers(vec![log.server(name)]);
        assert_eq!(
            log.set(target, AdminState::Drain, false).is_ok(),
            want,
            "{name}"
        );
    }
    let last = AdminTarget::Servers(vec![log.server("s3")]);
    assert_eq!(
        log.set(last.clone(), AdminState::Maintenance, false),
        Err(Rejection::LastServer {
            backend: "b".into()
        })
    );
    assert!(log.set(last, AdminState::Drain, true).is_ok());
}

#[test]
fn a_server_that_is_down_does_not_count_as_usable() {
    let mut log = Log::new();
    let down: Vec<HealthChange> = ["s1", "s2"]
        .map(|s| HealthChange {
            server: log.server(s),
            up: false,
            why: "L4CON".into(),
        })
        .to_vec();
    log.ok(Command::Health(down));
    assert!(
        log.set(AdminTarget::Node(node(3)), AdminState::Drain, false)
            .is_err()
    );
}

#[test]
fn a_node_in_maintenance_takes_its_servers_with_it_and_gives_them_back() {
    let mut log = Log::new();
    let target = AdminTarget::Node(node(2));
    assert_eq!(log.state.facts.servers_of(&target).unwrap(), ["b/s2"]);
    let answer = log.set(target, AdminState::Maintenance, false);
    let since = Timestamp(log.at);
    assert_eq!(answer, Ok(Outcome::Ordered { since, number: 1 }));
    let admin = |log: &Log| {
        Routes::from_facts(&log.state.facts, &Overlay::default()).backends[0]
            .servers
            .iter()
            .map(|s| s.admin)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        admin(&log),
        [
            AdminState::Ready,
            AdminState::Maintenance,
            AdminState::Ready
        ]
    );
    log.set(AdminTarget::Node(node(2)), AdminState::Ready, false)
        .unwrap();
    assert_eq!(admin(&log), [AdminState::Ready; 3]);
}

#[test]
fn a_drain_that_ends_does_what_was_said() {
    let mut log = Log::new();
    let target = AdminTarget::Servers(vec![log.server("s1")]);
    let order = AdminOrder {
        state: AdminState::Drain,
        then: Some(AdminState::Maintenance),
        ..AdminOrder::default()
    };
    log.ok(Command::SetAdmin {
        target: target.clone(),
        order,
        force: false,
        expect: None,
    });
    let began = log.state.facts.server_admin[&log.server("s1")].since;
    log.ok(Command::DrainEnded {
        target: target.clone(),
        began,
        end: DrainEnd::Empty,
    });
    assert_eq!(
        log.state.facts.server_admin[&log.server("s1")].state,
        AdminState::Maintenance
    );
    log.set(target.clone(), AdminState::Ready, false).unwrap();
    log.ok(Command::DrainEnded {
        target,
        began,
        end: DrainEnd::Deadline,
    });
    assert!(
        log.state.facts.server_admin.is_empty(),
        "a drain that was taken back does not end"
    );
}

#[test]
fn a_drain_that_is_over_takes_nobody_any_more_and_another_one_is_another() {
    let mut log = Log::new();
    let target = AdminTarget::Servers(vec![log.server("s1")]);
    let order = AdminOrder {
        state: AdminState::Drain,
        deadline: Some(Timestamp(1 << 50)),
        ..AdminOrder::default()
    };
    let drain = |log: &mut Log| {
        log.ok(Command::SetAdmin {
            target: target.clone(),
            order: order.clone(),
            force: false,
            expect: None,
        });
        log.state.facts.server_admin[&log.server("s1")].since
    };
    let (first, second) = (drain(&mut log), drain(&mut log));
    let bound = |log: &Log| {
        Routes::from_facts(&log.state.facts, &Overlay::default()).backends[0].servers[0]
            .accepts(Newcomer::Bound)
    };
    log.ok(Command::DrainEnded {
        target: target.clone(),
        began: first,
        end: DrainEnd::Deadline,
    });
    assert!(
        bound(&log),
        "the end of the first drain is none of the second"
    );
    log.ok(Command::DrainEnded {
        target,
        began: second,
        end: DrainEnd::Empty,
    });
    assert!(
        !bound(&log),
        "an operator was told that it is empty: so it stays"
    );
}

/// One node at a time is the rule; single servers of other nodes are its side door.
#[test]
fn who_takes_out_a_second_host_of_a_backend_is_told_which_are_out() {
    let mut log = Log::new();
    let servers = |log: &Log, name| AdminTarget::Servers(vec![log.server(name)]);
    let short = |log: &Log, target: &AdminTarget| {
        let order = AdminOrder {
            state: AdminState::Drain,
            ..AdminOrder::default()
        };
        log.state.facts.shortages(target, &order, Timestamp(50))
    };
    let second = |log: &Log| {
        let short = short(log, &servers(log, "s2"));
        short.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(second(&log), [""; 0]);
    log.set(servers(&log, "s1"), AdminState::Drain, false)
        .unwrap();
    assert_eq!(
        second(&log),
        ["2 of 3 servers of backend b would be out: out already is s1 (drain by me)"]
    );
    assert_eq!(
        short(&log, &AdminTarget::Node(node(2)))[0].would_be,
        2,
        "a node takes its servers with it"
    );
    assert_eq!(short(&log, &servers(&log, "s1")), [], "the same one again");
    log.ok(Command::Health(vec![HealthChange {
        server: log.server("s3"),
        up: false,
        why: "L4CON".into(),
    }]));
    assert_eq!(second(&log), [""; 0], "nobody would be left: refused");
    log.set(servers(&log, "s1"), AdminState::Ready, false)
        .unwrap();
    assert_eq!(
        second(&log),
        ["2 of 3 servers of backend b would be out: out already is s3 (down)"]
    );
    log.set(AdminTarget::Node(node(1)), AdminState::Drain, false)
        .unwrap();
    assert_eq!(
        short(&log, &AdminTarget::Node(node(2))),
        [],
        "two nodes at once: refused"
    );
}
