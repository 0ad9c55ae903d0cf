//! What is asked for twice, and what comes late.
use super::*;
use crate::command::DrainEnd;
use crate::request::{Request, RequestId};
use crate::trust::TrustOrder;

impl Log {
    /// An attempt at request `id`, the first of which was made at `asked`.
    fn attempt(&mut self, id: u8, asked: u64, command: Command) -> Answer {
        self.at += 1000;
        let request = Some(Request {
            id: RequestId([id; 16]),
            asked: Timestamp(asked),
        });
        self.state.apply(&Stamped {
            at: Timestamp(self.at),
            by: "me".into(),
            command,
            request,
        })
    }
}

fn order(state: AdminState, then: Option<AdminState>, expect: Option<u64>) -> Command {
    Command::SetAdmin {
        target: AdminTarget::Node(node(2)),
        order: AdminOrder {
            state,
            then,
            ..AdminOrder::default()
        },
        force: false,
        expect,
    }
}

#[test]
fn a_rollback_that_is_asked_for_twice_goes_back_once() {
    let mut log = Log::new();
    log.ok(configure(config(2)));
    let back = Command::Rollback {
        version: None,
        expect: None,
    };
    let first = log.attempt(1, 0, back.clone());
    assert_eq!(first, Ok(Outcome::Configured(3)));
    assert_eq!(log.attempt(1, 0, back.clone()), first);
    assert_eq!(log.state.facts.config_version, 3);
    assert_eq!(log.attempt(2, 0, back), Ok(Outcome::Configured(4)));
}

#[test]
fn a_drain_that_became_maintenance_stays_closed_when_it_is_asked_for_again() {
    let mut log = Log::new();
    let drain = order(AdminState::Drain, Some(AdminState::Maintenance), Some(0));
    let first = log.attempt(1, 0, drain.clone());
    let began = Timestamp(log.at);
    assert!(first.is_ok());
    log.ok(Command::DrainEnded {
        target: AdminTarget::Node(node(2)),
        began,
        end: DrainEnd::Empty,
    });
    assert_eq!(log.attempt(1, 0, drain), first);
    let now = &log.state.facts.node_admin[&node(2)];
    assert_eq!(
        (now.state, now.ended),
        (AdminState::Maintenance, Some(DrainEnd::Empty))
    );
}

#[test]
fn a_late_first_drain_does_not_undo_a_ready_that_was_acknowledged() {
    let mut log = Log::new();
    log.attempt(1, 0, order(AdminState::Ready, None, Some(0)))
        .unwrap();
    let late = log.attempt(2, 0, order(AdminState::Drain, None, Some(0)));
    let moved = Err(Rejection::OrderMoved {
        now: 1,
        expected: 0,
    });
    assert_eq!(late, moved);
    assert!(log.state.facts.node_admin.is_empty());
    // Neither does another attempt at it, once somebody was told that it is refused.
    assert_eq!(
        log.attempt(2, 0, order(AdminState::Drain, None, Some(1))),
        moved
    );
    assert!(log.state.facts.node_admin.is_empty());
}

#[test]
fn orders_of_servers_are_numbered_and_go_with_them() {
    let mut log = Log::new();
    let (one, two) = (log.server("s1"), log.server("s2"));
    let of = |log: &Log, ids: &[ServerId]| {
        log.state
            .facts
            .order_of(&AdminTarget::Servers(ids.to_vec()))
    };
    log.set(AdminTarget::Servers(vec![two]), AdminState::Drain, false)
        .unwrap();
    assert_eq!((of(&log, &[one]), of(&log, &[one, two])), (0, 1));
    log.ok(configure(config(1)));
    assert_eq!(log.state.facts.orders.servers.len(), 0);
    log.set(AdminTarget::Node(node(3)), AdminState::Ready, false)
        .unwrap();
    assert_eq!(log.state.facts.order_of(&AdminTarget::Node(node(3))), 2);
    log.ok(Command::RemoveMember(node(3)));
    assert!(log.state.facts.orders.nodes.is_empty());
}

#[test]
fn a_rollback_or_a_file_made_from_another_version_is_refused() {
    let mut log = Log::new();
    log.ok(configure(config(2)));
    let moved = Err(Rejection::ConfigMoved {
        now: 2,
        expected: 1,
    });
    let back = Command::Rollback {
        version: None,
        expect: Some(1),
    };
    assert_eq!(log.apply(back), moved);
    let file = Command::Configure {
        config: config(1),
        text: String::new(),
        expect: Some(1),
    };
    assert_eq!(log.attempt(1, 0, file), moved);
}

#[test]
fn a_token_is_made_once() {
    let mut log = Log::new();
    let make = Command::Trust(TrustOrder::MakeToken {
        id: "0a1b".into(),
        secret: crate::trust::Digest::default(),
        role: Role::Server,
        expires: Timestamp(1 << 40),
    });
    log.attempt(1, 0, make.clone()).unwrap();
    let made = log.state.facts.trust.tokens.clone();
    log.attempt(1, 0, make).unwrap();
    assert_eq!(log.state.facts.trust.tokens, made);
}
