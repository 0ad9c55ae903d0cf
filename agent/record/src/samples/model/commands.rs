//! Commands of every kind.

use super::state::state;
use super::*;

/// One of each kind, by its name.
pub(in crate::samples) fn commands(at: RecordVersion) -> Vec<(&'static str, Stamped)> {
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
        (
            "recover",
            Command::Recover {
                facts: Box::new((*state(at).facts).clone()),
                was: node(1),
                member: member(7, Role::Server),
            },
        ),
        (
            "relocate",
            Command::Relocate {
                node: node(2),
                listen: ([10, 9, 0, 2], 7400).into(),
                address: [10, 9, 0, 2].into(),
            },
        ),
        (
            "rollback",
            Command::Rollback {
                version: Some(2),
                expect: None,
            },
        ),
        (
            "rollback-to-the-last",
            Command::Rollback {
                version: None,
                expect: None,
            },
        ),
        (
            "set-admin-of-a-node",
            Command::SetAdmin {
                target: AdminTarget::Node(node(2)),
                order: order(AdminState::Drain),
                force: false,
                expect: Some(3),
            },
        ),
        (
            "set-admin-of-servers",
            Command::SetAdmin {
                target: AdminTarget::Servers(vec![ServerId(1), ServerId(2)]),
                order: order(AdminState::Maintenance),
                force: true,
                expect: None,
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
                replaces: Some(node(2)),
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
    let stamped = |n: usize, command| Stamped {
        at: NOW,
        by: "alice".to_owned(),
        command,
        request: Some(Request {
            id: RequestId([n as u8; 16]),
            asked: NOW,
        }),
    };
    commands
        .into_iter()
        .enumerate()
        .map(|(n, (name, command))| (name, stamped(n, command)))
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
