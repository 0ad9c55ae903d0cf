//! Kinds, lines and bounds of events.

use super::*;
use crate::events::{EventLog, TEXT_MAX};

/// The words and lines that scripts and people know.
#[test]
fn every_event_has_its_kind_and_its_line() {
    let servers = || Target::Servers(vec!["b/s1".into(), "b/s2".into()]);
    let node = || "node-1".to_owned();
    let listen = SocketAddr::from(([10, 0, 0, 1], 7400));
    let drained = |end, then| What::DrainEnded {
        target: Target::Node(node()),
        began: Timestamp(1),
        end,
        then,
    };
    let set = |reason: &str| What::AdminSet {
        target: servers(),
        state: AdminState::Maintenance,
        reason: reason.into(),
    };
    let rows = [
        (
            What::ConfigApplied { version: 5 },
            "config",
            "configuration 5 applied",
        ),
        (set(""), "admin", "server b/s1, b/s2 is set to maint"),
        (
            set("disks"),
            "admin",
            "server b/s1, b/s2 is set to maint: disks",
        ),
        (
            drained(DrainEnd::Empty, None),
            "admin",
            "node node-1 is drained: no session is left",
        ),
        (
            drained(DrainEnd::Deadline, Some(AdminState::Maintenance)),
            "admin",
            "node node-1 is drained (its deadline passed, the sessions that were left are cut) and set to maint",
        ),
        (
            What::LockTaken {
                purpose: "rolling restart".into(),
            },
            "admin",
            "the maintenance lock is taken: rolling restart",
        ),
        (
            What::LockReturned,
            "admin",
            "the maintenance lock is given back",
        ),
        (
            What::ServerWentUp {
                server: "b/s1".into(),
                why: "L4OK".into(),
            },
            "health",
            "server b/s1 is UP: L4OK",
        ),
        (
            What::ServerWentDown {
                server: "b/s1".into(),
                why: "L4CON".into(),
            },
            "health",
            "server b/s1 is DOWN: L4CON",
        ),
        (
            What::HolderChanged {
                node: node(),
                epoch: Epoch(7),
                reason: "elected in term 7".into(),
            },
            "holder",
            "node-1 holds the virtual IP, epoch 7: elected in term 7",
        ),
        (
            What::MemberAdmitted {
                node: node(),
                role: Role::Server,
                listen,
                token: "0a".into(),
            },
            "member",
            "node-1 (server) joins at 10.0.0.1:7400",
        ),
        (
            What::MemberRemoved { node: node() },
            "member",
            "node-1 left the cluster",
        ),
        (
            What::MemberDescribed {
                node: node(),
                agent_version: "0.3.0".into(),
                before: "0.2.0".into(),
                speaks: Speaks {
                    min: RecordVersion(1),
                    max: RecordVersion(2),
                },
            },
            "member",
            "node-1 runs ha-agent 0.3.0 now (0.2.0 before), which speaks versions 1 to 2",
        ),
        (
            What::VersionActivated {
                version: RecordVersion(2),
                before: RecordVersion(1),
            },
            "member",
            "version 2 is active from now on (1 before): agents that do not speak it cannot come back",
        ),
        (
            What::Restored,
            "member",
            "the cluster was restored from a backup: nodes join anew",
        ),
        (
            What::Recovered {
                generation: 2,
                node: node(),
            },
            "member",
            "the cluster was recovered by node-1 alone as generation 2: every other node comes back with `ha-agent rejoin`",
        ),
        (
            What::MemberMoved {
                node: node(),
                listen,
                before: ([10, 9, 0, 1], 7400).into(),
            },
            "member",
            "node-1 is reached at 10.0.0.1:7400 from now on (10.9.0.1:7400 before)",
        ),
        (
            What::Trust(TrustChange::AuthoritySigns("ab12".into())),
            "trust",
            "authority ab12 signs from now on, the one before it is still believed",
        ),
        (
            What::Trust(TrustChange::TokenMade {
                id: "0a".into(),
                role: Role::Witness,
            }),
            "trust",
            "token 0a for one witness was made",
        ),
        (
            What::Trust(TrustChange::UserAdded {
                name: "alice".into(),
                access: Access::Admin,
            }),
            "trust",
            "alice may enter as admin",
        ),
        (
            What::Note {
                kind: "x".into(),
                text: "y".into(),
            },
            "x",
            "y",
        ),
    ];
    for (what, kind, line) in rows {
        assert_eq!((what.kind(), what.to_string().as_str()), (kind, line));
    }
}

#[test]
fn a_line_that_is_too_long_is_cut_where_a_letter_ends() {
    let note = What::Note {
        kind: "x".into(),
        text: "ä".repeat(TEXT_MAX),
    };
    let mut log = EventLog::default();
    log.add(Timestamp(1), note, "");
    let line = log.after(0).next().unwrap().what.to_string();
    // The kind is a part too.
    assert_eq!(line, "ä".repeat(TEXT_MAX / 2 - 1) + " ...");
}

#[test]
fn a_long_list_is_cut_at_its_end() {
    for (items, len) in [(500, 11), (3, 900), (2, 5000), (1, 3000)] {
        let names = vec!["c".repeat(len); items];
        let target = |names| What::DrainEnded {
            target: Target::Servers(names),
            began: Timestamp(1),
            end: DrainEnd::Empty,
            then: None,
        };
        let What::DrainEnded {
            target: Target::Servers(kept),
            ..
        } = target(names.clone()).bounded(TEXT_MAX)
        else {
            panic!("it is another event")
        };
        let (kept, names) = (kept.join(", "), names.join(", "));
        assert!(kept.len() <= TEXT_MAX + 8, "{}", kept.len());
        assert_eq!(kept[..TEXT_MAX - 8], names[..TEXT_MAX - 8]);
        assert!(kept.ends_with("..."));
    }
}

/// This is decided in the state: were it decided by the line, agents with other words would keep another event.
#[test]
fn what_is_cut_does_not_depend_on_the_words_around_it() {
    let reason = "r".repeat(TEXT_MAX - "node-1".len());
    let fits = |reason: &str| What::AdminSet {
        target: Target::Node("node-1".into()),
        state: AdminState::Drain,
        reason: reason.to_owned(),
    };
    assert!(fits(&reason).to_string().len() > TEXT_MAX);
    assert_eq!(fits(&reason).bounded(TEXT_MAX), fits(&reason));
    let longer = format!("{reason}r");
    assert_ne!(fits(&longer).bounded(TEXT_MAX), fits(&longer));
}

#[test]
fn an_event_stays_what_it_is_when_its_texts_are_cut() {
    let what = What::AdminSet {
        target: Target::Servers(vec!["b/server".into(); 1000]),
        state: AdminState::Drain,
        reason: "r".repeat(5000),
    };
    let bounded = what.bounded(TEXT_MAX);
    assert!(bounded.to_string().len() <= TEXT_MAX + 60);
    assert!(matches!(
        bounded,
        What::AdminSet {
            state: AdminState::Drain,
            ..
        }
    ));
}
