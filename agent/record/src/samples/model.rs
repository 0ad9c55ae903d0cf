//! The values of which samples are made: what commands of every kind and a state with everything in it have in common.

pub(super) mod commands;
pub(super) mod state;

use ha_core::check::Kind;
use ha_core::command::{
    AdminOrder, AdminTarget, Command, DrainEnd, HealthChange, Outcome, Rejection, Stamped,
};
use ha_core::events::{EventLog, Target, TrustChange, What};
use ha_core::id::{Epoch, NodeId, ServerId};
use ha_core::model::*;
use ha_core::request::{Answered, Answers, Request, RequestId};
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
pub(super) fn checks() -> BTreeSet<String> {
    ["tcp".to_owned()].into()
}

pub(super) fn member(i: u8, role: Role) -> Member {
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

pub(super) fn config() -> ClusterConfig {
    let backend = |name: &str, balance, on_down, persistence, check| Backend {
        name: name.to_owned(),
        balance,
        persistence,
        check,
        on_down,
        connect_timeout: Duration::from_millis(1500),
        server_timeout: MINUTE,
        server_fin_timeout: Duration::from_secs(30),
        keepalive: MINUTE,
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
            virtual_ips: vec!["print".to_owned(), "print6".to_owned()],
            listeners: vec![PortRange {
                first: 5012,
                last: 5019,
            }],
            backend: "servers".to_owned(),
            maxconn: 2000,
            limit: ClientLimit {
                sessions: Some(200),
                mask_v4: 24,
                mask_v6: 56,
            },
            client_timeout: MINUTE,
            client_fin_timeout: Duration::from_secs(30),
            keepalive: MINUTE,
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
        voter_timeout: Some(MINUTE),
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

pub(super) fn admin(state: AdminState) -> AdminRecord {
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

pub(super) fn binding(i: u8) -> (StickKey, StickEntry) {
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
