//! Nodes are taken out one after the other.
use super::*;

fn drain(i: u8, owner: &str, force: bool) -> Command {
    let order = AdminOrder {
        state: AdminState::Drain,
        lock: owner.into(),
        ..AdminOrder::default()
    };
    Command::SetAdmin {
        target: AdminTarget::Node(node(i)),
        order,
        force,
        expect: None,
    }
}
fn ready(i: u8) -> Command {
    Command::SetAdmin {
        target: AdminTarget::Node(node(i)),
        order: AdminOrder::default(),
        force: false,
        expect: None,
    }
}
fn lock(owner: &str, until: u64) -> Command {
    Command::Lock {
        owner: owner.into(),
        purpose: "rolling restart".into(),
        expires: Timestamp(until),
    }
}

#[test]
fn a_second_node_is_not_taken_out_and_it_is_said_who_took_out_the_first() {
    let mut log = Log::new();
    log.ok(drain(1, "", false));
    log.ok(drain(1, "", false));
    assert!(
        matches!(log.apply(drain(2, "", false)), Err(Rejection::OtherNodeOut { node, .. }) if node == "node-1")
    );
    assert!(matches!(
        log.apply(lock("alice", 1_000_000)),
        Err(Rejection::OtherNodeOut { .. })
    ));
    log.ok(drain(2, "", true));
    log.ok(ready(1));
    log.ok(ready(2));
    log.ok(drain(2, "", false));
}

#[test]
fn who_holds_the_lock_takes_nodes_out_and_nobody_else_until_it_ends() {
    let mut log = Log::new();
    log.ok(lock("alice", 1_000_000));
    log.ok(lock("alice", 2_000_000));
    assert!(matches!(
        log.apply(lock("bob", 1_000_000)),
        Err(Rejection::Locked { .. })
    ));
    assert!(matches!(
        log.apply(drain(1, "", false)),
        Err(Rejection::Locked { .. })
    ));
    let one = AdminTarget::Servers(vec![log.server("s1")]);
    assert!(
        matches!(
            log.set(one, AdminState::Maintenance, false),
            Err(Rejection::Locked { .. })
        ),
        "nor a single server"
    );
    log.ok(drain(1, "alice", false));
    assert!(matches!(
        log.apply(drain(2, "alice", false)),
        Err(Rejection::OtherNodeOut { .. })
    ));
    log.ok(ready(1));
    log.ok(Command::Unlock {
        owner: "bob".into(),
    });
    assert!(
        matches!(
            log.apply(drain(1, "", false)),
            Err(Rejection::Locked { .. })
        ),
        "it is not bob's to give back"
    );
    log.ok(drain(1, "", true));
    log.ok(ready(1));
    log.ok(Command::Unlock {
        owner: "alice".into(),
    });
    log.ok(drain(1, "", false));
    log.ok(ready(1));
    log.ok(lock("carol", 5));
    log.at = 1_000_000;
    log.ok(drain(1, "", false));
    assert!(
        log.state
            .facts
            .maintenance
            .as_ref()
            .is_some_and(|l| l.owner == "carol"),
        "it has ended by itself"
    );
}
