//! The active version, and who speaks it.
use super::*;
use crate::version::{RecordVersion, Speaks};

fn speaking(i: u8, min: u32, max: u32) -> Member {
    Member {
        speaks: Speaks {
            min: RecordVersion(min),
            max: RecordVersion(max),
        },
        ..member(i)
    }
}
fn describe(i: u8, version: &str, min: u32, max: u32) -> Command {
    let Member { speaks, checks, .. } = speaking(i, min, max);
    Command::Describe {
        node: node(i),
        agent_version: version.into(),
        speaks,
        checks,
    }
}
fn activate(version: u32) -> Command {
    Command::Activate(RecordVersion(version))
}
/// Founded at version 2 by an agent that speaks 1 to 3; the second member is a witness.
fn founded() -> Log {
    let mut log = Log {
        state: ClusterState::default(),
        at: 0,
    };
    log.ok(Command::Found {
        cluster_id: node(99),
        timing: Timing::Lan,
        version: RecordVersion(2),
    });
    log.ok(Command::AddMember(speaking(1, 1, 3)));
    log.ok(Command::AddMember(Member {
        role: Role::Witness,
        ..speaking(2, 2, 2)
    }));
    log
}

#[test]
fn a_version_becomes_active_when_every_member_speaks_it_and_not_before() {
    let mut log = founded();
    assert_eq!(
        log.apply(activate(3)),
        Err(Rejection::VersionNotSpoken {
            version: RecordVersion(3),
            node: "node-2".into()
        }),
        "a witness has a log too"
    );
    log.ok(describe(2, "3", 2, 3));
    log.ok(activate(3));
    assert_eq!(log.state.facts.active_version, RecordVersion(3));
}

#[test]
fn the_active_version_is_never_lowered() {
    let mut log = founded();
    let before = log.state.facts.clone();
    for version in [0, 1, 2] {
        assert_eq!(
            log.apply(activate(version)),
            Err(Rejection::VersionNotHigher {
                version: RecordVersion(version),
                active: RecordVersion(2)
            })
        );
    }
    assert_eq!(log.state.facts, before);
}

#[test]
fn a_node_that_does_not_speak_the_active_version_is_refused_and_told_which_it_is() {
    let mut log = founded();
    for (min, max) in [(1, 1), (3, 4), (0, 0)] {
        let refused = log.apply(Command::AddMember(speaking(3, min, max)));
        let words = refused.unwrap_err().to_string();
        assert!(words.contains("speaks version 2"), "{words}");
    }
    log.ok(Command::AddMember(speaking(3, 1, 2)));
}

#[test]
fn a_description_replaces_what_is_known_of_the_agent_and_nothing_else() {
    let mut log = founded();
    log.ok(describe(1, "9.9", 1, 4));
    let expected = Member {
        version: "9.9".into(),
        ..speaking(1, 1, 4)
    };
    assert_eq!(log.state.facts.members[&node(1)], expected);
    let events = log.state.facts.events.last_seq();
    log.ok(describe(1, "9.9", 1, 4));
    assert_eq!(log.state.facts.events.last_seq(), events, "it is no news");
    assert!(log.apply(describe(7, "9.9", 1, 4)).is_err());
    assert!(matches!(
        log.apply(describe(1, "9.9", 3, 4)),
        Err(Rejection::VersionUnsuitable { .. })
    ));
}
