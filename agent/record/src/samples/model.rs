//! Commands of every kind and a state with everything in it.

use ha_core::check::Kind;
use ha_core::command::{AdminOrder, AdminTarget, Command, DrainEnd, HealthChange, Stamped};
use ha_core::events::{EventLog, Target, TrustChange, What};
use ha_core::id::{Epoch, NodeId, ServerId};
use ha_core::model::*;
use ha_core::state::*;
use ha_core::stick::{StickEntry, StickIndex, StickKey};
use ha_core::time::Timestamp;
use ha_core::trust::*;
use ha_core::version::{RecordVersion, Speaks};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// When all of it happens.
pub(super) const NOW: Timestamp = Timestamp(1_800_000_000_123);
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn node(i: u8) -> NodeId {
    NodeId::from_random(u128::from(i) << 120 | u128::from(i))
}

pub(super) const fn digest(i: u8) -> Digest {
    Digest([i; 32])
}

/// What the members of the samples speak, whatever is written.
pub(super) const fn speaks() -> Speaks {
    Speaks {
        min: RecordVersion(1),
        max: RecordVersion(1),
    }
}

/// Of the first version, whatever this program knows.
fn checks() -> BTreeSet<String> {
    ["tcp".to_owned()].into()
}

fn member(i: u8, role: Role) -> Member {
    Member {
        id: node(i),
        name: format!("node-{i}"),
        listen: ([10, 0, 0, i], 7400).into(),
        address: [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(i)].into(),
        role,
        version: "0.2.0".to_owned(),
        speaks: speaks(),
        checks: checks(),
    }
}

fn config() -> ClusterConfig {
    let backend = |name: &str, balance, on_down, persistence, check| Backend {
        name: name.to_owned(),
        balance,
        persistence,
        check,
        on_down,
        connect_timeout: Duration::from_millis(1500),
        server_timeout: MINUTE,
        queue_timeout: Duration::ZERO,
        maxqueue: 10,
        retries: 3,
        redispatch: true,
        observe: Some(5),
        servers: vec![server(1), server(2)],
    };
    let persistence = |mode| Persistence {
        expire: 30 * MINUTE,
        group: "print".to_owned(),
        mask_v4: 24,
        mask_v6: 64,
        mode,
    };
    let (purge, keep) = (OnDown::Purge, OnDown::Keep);
    ClusterConfig {
        name: "site".to_owned(),
        virtual_ips: vec![VirtualIp {
            name: "print".to_owned(),
            address: [10, 0, 0, 100].into(),
            prefix: 24,
        }],
        frontends: vec![Frontend {
            name: "paragon".to_owned(),
            virtual_ip: "print".to_owned(),
            listeners: vec![PortRange {
                first: 5012,
                last: 5019,
            }],
            backend: "servers".to_owned(),
            maxconn: 2000,
            client_timeout: MINUTE,
        }],
        backends: vec![
            backend(
                "a",
                Balance::RoundRobin,
                purge,
                Some(persistence(BindingMode::Commit)),
                Some(check()),
            ),
            backend(
                "b",
                Balance::LeastConn,
                keep,
                Some(persistence(BindingMode::Async)),
                None,
            ),
            backend("c", Balance::Source, purge, None, None),
            backend("d", Balance::First, purge, None, None),
            backend("e", Balance::Random, purge, None, None),
        ],
        failback: Failback::Auto {
            prefer: "node-1".to_owned(),
            hold_down: MINUTE,
        },
        bindings_max: 100_000,
        certificate_lifetime: CERTIFICATE_LIFETIME,
    }
}

fn check() -> Check {
    Check {
        kind: Kind::from_record("tcp", "port = 5022, close = \"fin\""),
        inter: Duration::from_secs(5),
        fastinter: Duration::from_secs(1),
        downinter: MINUTE,
        timeout: Duration::from_millis(900),
        rise: 2,
        fall: 3,
    }
}

fn server(i: u8) -> Server {
    Server {
        name: format!("server-{i}"),
        node: (i == 1).then(|| "node-1".to_owned()),
        address: (i == 2).then(|| [10, 0, 0, 9].into()),
        port: (i == 2).then_some(5022),
        weight: 256,
        backup: i == 2,
        maxconn: 7,
    }
}

fn admin(state: AdminState) -> AdminRecord {
    AdminRecord {
        state,
        sticky: Sticky::Move,
        deadline: Some(NOW),
        then: Some(AdminState::Maintenance),
        ended: Some(DrainEnd::Deadline),
        since: NOW,
        by: "alice".to_owned(),
        reason: "updates".to_owned(),
    }
}

fn binding(i: u8) -> (StickKey, StickEntry) {
    let key = StickKey {
        group: if i.is_multiple_of(2) { "print" } else { "scan" }.into(),
        client: if i == 3 {
            [0xfd00, 1, 2, 3, 4, 5, 6, 7].into()
        } else {
            [10, 0, 7, i].into()
        },
    };
    let entry = StickEntry {
        server: ServerId(u32::from(i)),
        host: [10, 0, 0, i].into(),
        bound_at: NOW,
        used_at: Timestamp(NOW.0 + 5),
        expire: 30 * MINUTE,
    };
    (key, entry)
}

/// One of each kind, by its name.
pub(super) fn commands(at: RecordVersion) -> Vec<(&'static str, Stamped)> {
    let order = |state| AdminOrder {
        state,
        sticky: Sticky::Honour,
        deadline: None,
        then: Some(AdminState::Ready),
        reason: "updates".to_owned(),
        lock: "owner".to_owned(),
    };
    let text = |text: &str| text.to_owned();
    #[allow(unused_mut, reason = "the feature `next` has one more")]
    let mut commands = vec![
        ("bind", Command::Bind((1..=3).map(binding).collect())),
        (
            "found",
            Command::Found {
                cluster_id: node(99),
                timing: Timing::Wan,
                version: RecordVersion(1),
            },
        ),
        (
            "restore",
            Command::Restore(Box::new((*state(at).facts).clone())),
        ),
        (
            "configure",
            Command::Configure {
                config: config(),
                text: text("[cluster]"),
                expect: Some(3),
            },
        ),
        ("rollback", Command::Rollback(Some(2))),
        ("rollback-to-the-last", Command::Rollback(None)),
        (
            "set-admin-of-a-node",
            Command::SetAdmin {
                target: AdminTarget::Node(node(2)),
                order: order(AdminState::Drain),
                force: false,
            },
        ),
        (
            "set-admin-of-servers",
            Command::SetAdmin {
                target: AdminTarget::Servers(vec![ServerId(1), ServerId(2)]),
                order: order(AdminState::Maintenance),
                force: true,
            },
        ),
        (
            "lock",
            Command::Lock {
                owner: text("owner"),
                purpose: text("rolling restart"),
                expires: NOW,
            },
        ),
        (
            "unlock",
            Command::Unlock {
                owner: text("owner"),
            },
        ),
        (
            "drain-ended",
            Command::DrainEnded {
                target: AdminTarget::Node(node(2)),
                began: NOW,
                end: DrainEnd::Empty,
            },
        ),
        (
            "health",
            Command::Health(vec![HealthChange {
                server: ServerId(1),
                up: false,
                why: text("L4CON"),
            }]),
        ),
        ("add-member", Command::AddMember(member(4, Role::Witness))),
        (
            "admit",
            Command::Admit {
                member: member(5, Role::Server),
                ticket: Ticket {
                    token: text("0a1b"),
                    secret: digest(3),
                    key: digest(4),
                },
            },
        ),
        ("remove-member", Command::RemoveMember(node(3))),
        (
            "describe",
            Command::Describe {
                node: node(2),
                agent_version: text("0.2.1"),
                speaks: speaks(),
                checks: checks(),
            },
        ),
        ("activate", Command::Activate(RecordVersion(2))),
        (
            "holder",
            Command::Holder {
                node: node(1),
                epoch: Epoch(8),
                reason: text("elected in term 8"),
            },
        ),
        (
            "note",
            Command::Note {
                kind: text("backup"),
                text: text("a backup was taken"),
            },
        ),
    ];
    commands.extend(
        trust_orders()
            .into_iter()
            .map(|(name, order)| (name, Command::Trust(order))),
    );
    #[cfg(feature = "next")]
    if at >= RecordVersion(2) {
        commands.push((
            "rehearse",
            Command::Rehearse {
                text: text("a text"),
            },
        ));
    }
    let stamped = |command| Stamped {
        at: NOW,
        by: "alice".to_owned(),
        command,
    };
    commands
        .into_iter()
        .map(|(name, command)| (name, stamped(command)))
        .collect()
}

fn trust_orders() -> Vec<(&'static str, TrustOrder)> {
    let text = |text: &str| text.to_owned();
    vec![
        (
            "trust-introduce",
            TrustOrder::Introduce {
                fingerprint: digest(1),
                certificate: vec![0x30, 0x82],
                cross: vec![1],
                sealed_key: vec![2, 3],
            },
        ),
        ("trust-advance", TrustOrder::Advance(digest(1))),
        ("trust-retire", TrustOrder::Retire(digest(1))),
        (
            "trust-make-token",
            TrustOrder::MakeToken {
                id: text("0a1b"),
                secret: digest(3),
                role: Role::Witness,
                expires: NOW,
            },
        ),
        ("trust-revoke-token", TrustOrder::RevokeToken(text("0a1b"))),
        (
            "trust-add-user",
            TrustOrder::AddUser {
                name: text("alice"),
                access: Access::Operator,
                key: digest(5),
            },
        ),
        ("trust-remove-user", TrustOrder::RemoveUser(text("alice"))),
    ]
}

fn happened() -> Vec<What> {
    let text = |text: &str| text.to_owned();
    let listen = ([10, 0, 0, 4], 7400).into();
    let mut all = vec![
        What::ConfigApplied {
            version: 3,
            changes: vec![text("a line")],
        },
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

fn trust() -> Trust {
    let authority = |i: u8, stage| Authority {
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

/// A state with everything in it that there is at that version.
pub(super) fn state(at: RecordVersion) -> ClusterState {
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
                changes: vec!["a line".to_owned()],
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
