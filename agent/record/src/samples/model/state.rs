//! A state with everything in it.

use super::*;

/// What becomes of a young cluster when every command is applied in turn: programs of all versions come to the same.
pub(in crate::samples) fn replayed(at: RecordVersion) -> ClusterState {
    let mut state = ClusterState::default();
    let (found, others): (Vec<_>, Vec<_>) = super::commands::commands(at)
        .into_iter()
        .partition(|(name, _)| *name == "found");
    for (_, stamped) in found.into_iter().chain(others) {
        let _ = state.apply(&stamped);
    }
    state
}

/// A state with everything in it that there is at that version.
pub(in crate::samples) fn state(at: RecordVersion) -> ClusterState {
    let mut events = EventLog::default();
    for what in happened() {
        events.add(NOW, what, "alice");
    }
    let mut stick = StickIndex::default();
    for (key, entry) in (1..=5).map(binding) {
        stick.put(key, entry, 100);
    }
    let server = |name: &str| ("a".to_owned(), name.to_owned());
    let facts = Facts {
        cluster_id: node(99),
        timing: Timing::Fast,
        active_version: at,
        members: Arc::new(
            (1..=3)
                .map(|i| (node(i), member(i, Role::Server)))
                .collect(),
        ),
        config: Arc::new(config()),
        config_version: 12,
        history: Arc::new(
            [ConfigVersion {
                version: 12,
                at: NOW,
                by: "alice".to_owned(),
                text: "[cluster]\nname = \"site\"\n".to_owned(),
                config: Arc::new(ClusterConfig {
                    failback: Failback::Manual,
                    ..config()
                }),
            }]
            .into(),
        ),
        server_ids: Arc::new(BTreeMap::from([
            (server("server-1"), ServerId(1)),
            (server("server-2"), ServerId(2)),
        ])),
        next_server_id: 3,
        server_admin: BTreeMap::from([(ServerId(1), admin(AdminState::Maintenance))]),
        node_admin: BTreeMap::from([(node(2), admin(AdminState::Drain))]),
        orders: Arc::new(OrderNumbers {
            last: 9,
            nodes: BTreeMap::from([(node(2), 9)]),
            servers: BTreeMap::from([(ServerId(1), 4)]),
        }),
        answers: Arc::new(answers()),
        health: Arc::new(BTreeMap::from([(
            ServerId(1),
            HealthRecord {
                up: false,
                since: NOW,
                why: "L4CON".to_owned(),
            },
        )])),
        holder: Some(HolderRecord {
            node: node(1),
            epoch: Epoch(7),
            since: NOW,
            reason: "elected".to_owned(),
        }),
        maintenance: Some(MaintenanceLock {
            owner: "owner".to_owned(),
            purpose: "rolling restart".to_owned(),
            by: "alice".to_owned(),
            since: NOW,
            expires: NOW,
        }),
        trust: Arc::new(trust()),
        events: Arc::new(events),
        recovery: Some(recovery()),
        #[cfg(feature = "next")]
        rehearsal: if at >= RecordVersion(2) {
            "a text".to_owned()
        } else {
            String::new()
        },
    };
    ClusterState {
        clock: NOW,
        facts: Arc::new(facts),
        stick,
    }
}

fn recovery() -> Recovery {
    let former = |i: u8, admin| Former {
        name: format!("node-{i}"),
        listen: ([10, 0, 0, i], 7400).into(),
        admin,
    };
    Recovery {
        generation: 2,
        at: NOW,
        node: node(1),
        by: "node-1".to_owned(),
        former: BTreeMap::from([
            (node(8), former(8, Some(admin(AdminState::Drain)))),
            (node(9), former(9, None)),
        ]),
    }
}

fn trust() -> Trust {
    let authority = |i: u8, stage| AuthorityRecord {
        fingerprint: digest(i),
        certificate: vec![0x30, i],
        cross: vec![i],
        sealed_key: vec![7; 20],
        stage,
        since: NOW,
    };
    let token = |used, revoked| TokenRecord {
        secret: digest(3),
        role: Role::Server,
        expires: NOW,
        made: NOW,
        by: "alice".to_owned(),
        used,
        revoked,
    };
    let user = UserRecord {
        access: Access::Viewer,
        key: digest(5),
        since: NOW,
        by: "root".to_owned(),
    };
    Trust {
        generation: 3,
        authorities: vec![
            authority(1, Stage::Leaving),
            authority(2, Stage::Signing),
            authority(3, Stage::Spreading),
        ],
        tokens: BTreeMap::from([
            ("0a1b".to_owned(), token(Some((node(3), digest(4))), false)),
            ("0a1c".to_owned(), token(None, true)),
        ]),
        users: BTreeMap::from([("alice".to_owned(), user)]),
        removed: BTreeMap::from([(node(9), NOW)]),
    }
}

fn happened() -> Vec<What> {
    let text = |text: &str| text.to_owned();
    let listen = ([10, 0, 0, 4], 7400).into();
    let mut all = vec![
        What::ConfigApplied { version: 3 },
        What::AdminSet {
            target: Target::Node(text("node-2")),
            state: AdminState::Drain,
            reason: text("updates"),
        },
        What::DrainEnded {
            target: Target::Servers(vec![text("a/server-1")]),
            began: NOW,
            end: DrainEnd::Empty,
            then: None,
        },
        What::LockTaken {
            purpose: text("rolling restart"),
        },
        What::LockReturned,
        What::ServerWentUp {
            server: text("a/server-1"),
            why: text("L4OK"),
        },
        What::ServerWentDown {
            server: text("a/server-1"),
            why: text("L4TOUT"),
        },
        What::HolderChanged {
            node: text("node-1"),
            epoch: Epoch(8),
            reason: text("elected"),
        },
        What::MemberAdded {
            node: text("node-4"),
            role: Role::Witness,
            listen,
        },
        What::MemberAdmitted {
            node: text("node-5"),
            role: Role::Server,
            listen,
            token: text("0a1b"),
        },
        What::MemberDescribed {
            node: text("node-2"),
            agent_version: text("0.2.1"),
            before: text("0.2.0"),
            speaks: speaks(),
        },
        What::VersionActivated {
            version: RecordVersion(2),
            before: RecordVersion(1),
        },
        What::MemberRemoved {
            node: text("node-3"),
        },
        What::Restored,
        What::Recovered {
            generation: 2,
            node: text("node-1"),
        },
        What::MemberMoved {
            node: text("node-2"),
            listen,
            before: ([10, 0, 0, 2], 7400).into(),
        },
        What::Note {
            kind: text("backup"),
            text: text("a backup was taken"),
        },
    ];
    let trust = [
        TrustChange::AuthorityFounded(text("01010101")),
        TrustChange::AuthorityIntroduced(text("02020202")),
        TrustChange::AuthoritySigns(text("02020202")),
        TrustChange::AuthorityRetired(text("01010101")),
        TrustChange::TokenMade {
            id: text("0a1b"),
            role: Role::Server,
        },
        TrustChange::TokenRevoked(text("0a1b")),
        TrustChange::UserAdded {
            name: text("alice"),
            access: Access::Admin,
        },
        TrustChange::UserRemoved(text("alice")),
    ];
    all.extend(trust.into_iter().map(What::Trust));
    all
}

/// One of each kind of outcome and of refusal.
fn answers() -> Answers {
    let text = || "a text".to_owned();
    let refusals = [
        Rejection::ConfigMoved {
            now: 3,
            expected: 2,
        },
        Rejection::OrderMoved {
            now: 9,
            expected: 4,
        },
        Rejection::AskedTooLongAgo,
        Rejection::VersionUnknown(1),
        Rejection::NoEarlierVersion,
        Rejection::NodeUnknown(text()),
        Rejection::ServerUnknown(ServerId(7)),
        Rejection::IdTaken(node(1), text()),
        Rejection::NameTaken(text()),
        Rejection::AddressTaken(text(), text()),
        Rejection::TokenUnknown(text()),
        Rejection::TokenUsed(text(), text()),
        Rejection::TokenRevoked(text()),
        Rejection::TokenExpired(text(), 5),
        Rejection::TokenRole(text(), text(), text()),
        Rejection::NodeRemoved(node(3)),
        Rejection::UserUnknown(text()),
        Rejection::AuthorityUnknown(text()),
        Rejection::RotationUnderWay,
        Rejection::TooMany(text(), 64),
        Rejection::LastServer { backend: text() },
        Rejection::OtherNodeOut {
            node: text(),
            by: text(),
        },
        Rejection::Locked {
            by: text(),
            purpose: text(),
            seconds: 6,
        },
        Rejection::CheckUnknown {
            kind: text(),
            node: text(),
        },
        Rejection::VersionNotSpoken {
            version: RecordVersion(2),
            node: text(),
        },
        Rejection::VersionNotHigher {
            version: RecordVersion(1),
            active: RecordVersion(2),
        },
        Rejection::VersionUnsuitable {
            node: text(),
            speaks: speaks(),
            needed: RecordVersion(2),
        },
        Rejection::TextRefused {
            field: text(),
            why: text(),
        },
        Rejection::AlreadyFounded,
        Rejection::EpochOver(Epoch(1), Epoch(2)),
        Rejection::AddressOfVirtualIp(text(), text()),
    ];
    let outcomes = [
        Outcome::Done,
        Outcome::Configured(3),
        Outcome::Ordered {
            since: NOW,
            number: 9,
        },
    ];
    let all = outcomes
        .into_iter()
        .map(Ok)
        .chain(refusals.into_iter().map(Err));
    let kept = all.enumerate().map(|(n, answer)| Answered {
        id: RequestId([n as u8; 16]),
        at: NOW,
        answer,
    });
    Answers::of(Timestamp(17), kept)
}
