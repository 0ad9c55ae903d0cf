//! Kinds of check that members know, and do not.
use super::*;

fn with_check(kind: Kind) -> ClusterConfig {
    let mut config = config(3);
    config.backends[0].check = Some(check(kind));
    config
}
fn later() -> Kind {
    Kind::from_record("later", "port = 80")
}
fn tcp() -> Kind {
    Kind::Tcp {
        port: Some(5022),
        close: CheckClose::Rst,
    }
}
fn knows_more(i: u8) -> Member {
    let mut member = member(i);
    member.checks.insert("later".into());
    member
}
fn unknown_to(i: u8) -> Answer {
    Err(Rejection::CheckUnknown {
        kind: "later".into(),
        node: format!("node-{i}"),
    })
}

#[test]
fn apply_refuses_a_kind_that_a_member_does_not_know() {
    let mut log = Log::new();
    log.ok(configure(with_check(tcp())));
    let before = log.state.facts.clone();
    assert_eq!(log.apply(configure(with_check(later()))), unknown_to(1));
    assert_eq!(log.state.facts, before);
}

#[test]
fn a_kind_that_every_member_knows_is_taken_by_agents_that_do_not_know_it_themselves() {
    let mut log = Log {
        state: ClusterState::default(),
        at: 0,
    };
    log.ok(Command::AddMember(knows_more(1)));
    log.ok(configure(with_check(later())));
    let kept = log.state.facts.config.backends[0].check.as_ref();
    assert_eq!(kept.map(|c| &c.kind), Some(&later()));
}

#[test]
fn a_member_that_does_not_know_a_kind_in_use_does_not_come_in_and_the_kind_does_not_return() {
    let mut log = Log {
        state: ClusterState::default(),
        at: 0,
    };
    log.ok(Command::AddMember(knows_more(1)));
    log.ok(configure(with_check(later())));
    assert_eq!(log.apply(Command::AddMember(member(2))), unknown_to(2));
    log.ok(configure(with_check(tcp())));
    log.ok(Command::AddMember(member(2)));
    assert_eq!(
        log.apply(Command::Rollback {
            version: None,
            expect: None
        }),
        unknown_to(2)
    );
}
