//! No text that is stored moves a cursor, clears a screen or begins a line.
use super::*;
use crate::command::{DrainEnd, HealthChange};
use crate::id::Epoch;
use crate::trust::{Access, Digest, Ticket, TrustOrder};
use crate::version::CURRENT;
use std::collections::BTreeSet;

const EVIL: &str = "updates\n12:00  trust  node-3 was removed\x1b[2J\u{202e}";

/// What becomes of a text that somebody puts into a command.
#[derive(PartialEq, Debug)]
enum Rule {
    /// The command is refused.
    Refused,
    /// The cluster says it of itself: it is kept with its control characters written out.
    WrittenOut,
    /// There is no text in it that somebody chooses.
    NoText,
}

/// A new command does not compile before its rule is here.
fn rule(command: &Command) -> Rule {
    match command {
        Command::Configure { .. }
        | Command::SetAdmin { .. }
        | Command::Lock { .. }
        | Command::Unlock { .. }
        | Command::AddMember(_)
        | Command::Admit { .. }
        | Command::Trust(_)
        | Command::Describe { .. } => Rule::Refused,
        Command::Health(_) | Command::Holder { .. } | Command::Note { .. } => Rule::WrittenOut,
        Command::Found { .. }
        | Command::Restore(_)
        | Command::Recover { .. }
        | Command::Relocate { .. }
        | Command::Rollback { .. }
        | Command::DrainEnded { .. }
        | Command::Bind(_)
        | Command::RemoveMember(_)
        | Command::Activate(_) => Rule::NoText,
        #[cfg(feature = "next")]
        Command::Rehearse { .. } => Rule::Refused,
    }
}

/// One for each text field.
fn commands(log: &Log) -> Vec<Command> {
    let evil = || EVIL.to_owned();
    let plain = |change: fn(&mut Member)| {
        let mut member = member(4);
        change(&mut member);
        Command::AddMember(member)
    };
    let order = |reason, lock| Command::SetAdmin {
        target: AdminTarget::Node(node(1)),
        order: AdminOrder {
            state: AdminState::Drain,
            reason,
            lock,
            ..AdminOrder::default()
        },
        force: false,
        expect: None,
    };
    let with = |change: fn(&mut ClusterConfig)| {
        let mut config = config(3);
        change(&mut config);
        configure(config)
    };
    let lock = |owner, purpose| Command::Lock {
        owner,
        purpose,
        expires: Timestamp(9_000_000),
    };
    let mut commands = vec![
        order(evil(), String::new()),
        order(String::new(), evil()),
        lock(evil(), String::new()),
        lock("me".into(), evil()),
        Command::Unlock { owner: evil() },
        plain(|m| m.name = EVIL.to_owned()),
        plain(|m| m.version = EVIL.to_owned()),
        plain(|m| m.checks = BTreeSet::from([EVIL.to_owned()])),
        Command::Admit {
            member: Member {
                name: evil(),
                ..member(4)
            },
            ticket: Ticket {
                token: "t".into(),
                secret: Digest([7; 32]),
                key: Digest([7; 32]),
            },
            replaces: None,
        },
        Command::Describe {
            node: node(1),
            agent_version: evil(),
            speaks: CURRENT,
            checks: BTreeSet::new(),
        },
        with(|c| c.name = EVIL.to_owned()),
        with(|c| c.backends[0].name = EVIL.to_owned()),
        with(|c| c.backends[0].servers[0].name = EVIL.to_owned()),
        with(|c| c.backends[0].servers[0].node = Some(EVIL.to_owned())),
        Command::Configure {
            config: config(2),
            text: "# \x1b[2J".to_owned(),
            expect: None,
        },
        Command::Trust(TrustOrder::MakeToken {
            id: evil(),
            secret: Digest([7; 32]),
            role: Role::Server,
            expires: Timestamp(9_000_000),
        }),
        Command::Trust(TrustOrder::AddUser {
            name: evil(),
            access: Access::Viewer,
            key: Digest([7; 32]),
        }),
        Command::Health(vec![HealthChange {
            server: log.server("s1"),
            up: false,
            why: evil(),
        }]),
        Command::Holder {
            node: node(1),
            epoch: Epoch(9),
            reason: evil(),
        },
        Command::Note {
            kind: evil(),
            text: evil(),
        },
    ];
    commands.push(Command::DrainEnded {
        target: AdminTarget::Node(node(1)),
        began: Timestamp(1),
        end: DrainEnd::Empty,
    });
    commands
}

/// In events and health, as their debug form shows them: it writes a control character with one backslash, and a
/// backslash of the text with two.
fn control_characters(state: &ClusterState) -> Vec<&'static str> {
    let shown = format!(
        "{:?} {:?} {:?}",
        state.facts.events, state.facts.health, state.facts.holder
    );
    let shown = shown.replace("\\\\", "");
    let wrong = ["\\n", "\\u{1b}", "\\u{202e}", "\u{202e}"];
    wrong.into_iter().filter(|w| shown.contains(w)).collect()
}

#[test]
fn a_text_with_control_characters_is_refused_or_written_out_in_every_command() {
    for command in commands(&Log::new()) {
        let mut log = Log::new();
        let before = log.state.facts.clone();
        let answer = log.apply(command.clone());
        match rule(&command) {
            Rule::Refused => {
                assert!(
                    matches!(answer, Err(Rejection::TextRefused { .. })),
                    "{command:?}: {answer:?}"
                );
                assert_eq!(log.state.facts, before, "{command:?}");
            }
            Rule::WrittenOut => {
                assert!(answer.is_ok(), "{command:?}: {answer:?}");
                assert_eq!(control_characters(&log.state), [""; 0], "{command:?}");
            }
            Rule::NoText => {}
        }
    }
}

#[test]
fn who_asks_is_one_line_too() {
    let mut log = Log::new();
    let answer = log.state.apply(&Stamped {
        at: Timestamp(9_000),
        by: EVIL.to_owned(),
        command: Command::Note {
            kind: "trust".into(),
            text: "x".into(),
        },
        request: None,
    });
    assert!(matches!(answer, Err(Rejection::TextRefused { field, .. }) if field == "by"));
}
