//! Entries, messages and what is kept beside the log.

use super::{Samples, model};
use crate::RecordError;
use crate::backup::Backup;
use crate::entry::{Entry, Payload};
use crate::lease::{LeaseAnswer, Released};
use crate::membership::{Decided, Membership};
use crate::peer::{
    Append, AppendAnswer, Snapshot, SnapshotAnswer, Transfer, TransferAnswer, VoteAnswer,
    VoteRequest,
};
use crate::snapshot::Header;
use crate::vote::{LogId, Vote};
use ha_core::controller::{NodeReport, Stalls};
use ha_core::id::ServerId;
use ha_core::lease::{Lease, Refusal};
use ha_core::time::{Instant, Timestamp};
use ha_core::trust::Credentials;
use ha_core::version::RecordVersion;
use model::{digest, node};
use std::sync::Arc;
use std::time::Duration;

const AT: LogId = LogId {
    term: 7,
    index: 1_000_000,
};

fn asks() -> Vote {
    Vote {
        term: 300,
        node: node(2),
        committed: false,
    }
}

fn leads() -> Vote {
    Vote {
        term: 7,
        node: node(1),
        committed: true,
    }
}

fn membership() -> Membership {
    Membership {
        voters: vec![
            [node(1), node(2), node(3)].into(),
            [node(1), node(2)].into(),
        ],
        nodes: (1..=4)
            .map(|i| (node(i), format!("10.0.0.{i}:7400")))
            .collect(),
    }
}

fn header() -> Header {
    Header {
        last: Some(AT),
        membership: Decided {
            at: Some(LogId { term: 1, index: 0 }),
            membership: membership(),
        },
    }
}

/// Each command in an entry of its own, beside a blank one and a membership.
pub(super) fn entries(samples: &mut Samples) -> Result<(), RecordError> {
    let version = samples.at;
    let entry = |payload| Entry {
        version,
        id: AT,
        payload,
    };
    samples.record("entry", "blank", entry(Payload::Blank))?;
    samples.record(
        "entry",
        "membership",
        entry(Payload::Membership(membership())),
    )?;
    for (name, stamped) in model::commands::commands(version) {
        samples.record("entry", name, entry(Payload::Command(Arc::new(stamped))))?;
    }
    Ok(())
}

/// Everything that goes from node to node.
pub(super) fn messages(samples: &mut Samples) -> Result<(), RecordError> {
    let version = samples.at;
    let entry = |index, payload| Entry {
        version: if index == 1 {
            RecordVersion(1)
        } else {
            version
        },
        id: LogId { term: 7, index },
        payload,
    };
    let (_, stamped) = model::commands::commands(version).remove(0);
    samples.message(
        "append",
        "entries",
        Append {
            vote: leads(),
            previous: Some(LogId::default()),
            committed: Some(AT),
            entries: vec![
                entry(1, Payload::Blank),
                entry(2, Payload::Command(Arc::new(stamped))),
            ],
        },
    )?;
    samples.message(
        "append",
        "heartbeat",
        Append {
            vote: leads(),
            previous: None,
            committed: None,
            entries: Vec::new(),
        },
    )?;
    for (name, answer) in [
        ("success", AppendAnswer::Success),
        ("partial", AppendAnswer::Partial(Some(AT))),
        ("conflict", AppendAnswer::Conflict),
        ("higher-vote", AppendAnswer::HigherVote(leads())),
    ] {
        samples.message("append-answer", name, answer)?;
    }
    votes(samples)?;
    samples.message(
        "snapshot-message",
        "snapshot",
        Snapshot {
            vote: leads(),
            header: header(),
            state: vec![1, 5, 255, 0],
        },
    )?;
    samples.message(
        "snapshot-answer",
        "snapshot-answer",
        SnapshotAnswer { vote: leads() },
    )?;
    leases(samples)
}

fn votes(samples: &mut Samples) -> Result<(), RecordError> {
    samples.message(
        "vote-request",
        "transfer",
        VoteRequest {
            vote: asks(),
            last: Some(AT),
            transfer: true,
        },
    )?;
    samples.message(
        "vote-answer",
        "granted",
        VoteAnswer {
            vote: leads(),
            granted: true,
            last: None,
        },
    )?;
    samples.message(
        "transfer",
        "transfer",
        Transfer {
            from: leads(),
            to: node(2),
            last: Some(AT),
        },
    )?;
    for (name, answer) in [
        ("begun", TransferAnswer::Begun),
        (
            "vote-changed",
            TransferAnswer::VoteChanged {
                expected: leads(),
                actual: asks(),
            },
        ),
        (
            "log-not-flushed",
            TransferAnswer::LogNotFlushed {
                expected: Some(AT),
                actual: None,
            },
        ),
    ] {
        samples.message("transfer-answer", name, answer)?;
    }
    Ok(())
}

fn leases(samples: &mut Samples) -> Result<(), RecordError> {
    let lease = Lease {
        term: 7,
        sent: Instant(123_456_789_012_345),
    };
    samples.message("lease", "lease", lease)?;
    samples.message("released", "released", Released)?;
    let report = NodeReport {
        eligible: true,
        why_not: "its proxy".to_owned(),
        fence: "agent, nftables".to_owned(),
        down: [ServerId(3), ServerId(300)].into(),
        credentials: Credentials {
            trusts: vec![digest(1), digest(2)],
            shows: digest(2),
        },
        agent_version: "0.2.0".to_owned(),
        speaks: model::speaks(),
        checks: ["tcp".to_owned()].into(),
        stalls: Stalls {
            count: 2,
            last_at: Timestamp(1_753_000_000_000),
            last_for: Duration::from_millis(2040),
        },
        unheard: [node(3)].into(),
    };
    for (name, result) in [
        ("promised", Ok(())),
        ("later-term", Err(Refusal::LaterTerm(9))),
        ("promised-to-another", Err(Refusal::Promised(node(3)))),
        ("released", Err(Refusal::Released)),
        ("just-started", Err(Refusal::JustStarted)),
        ("unknown-term", Err(Refusal::UnknownTerm(9))),
    ] {
        let report = report.clone();
        samples.message("lease-answer", name, LeaseAnswer { result, report })?;
    }
    Ok(())
}

/// What is on a disk beside the entries.
pub(super) fn kept(samples: &mut Samples) -> Result<(), RecordError> {
    samples.record("vote", "candidate", asks())?;
    samples.record("vote", "leader", leads())?;
    samples.record("log-id", "none", None::<LogId>)?;
    samples.record("log-id", "some", Some(AT))?;
    samples.record("snapshot-header", "joint", header())?;
    samples.record("snapshot-header", "empty", Header::default())?;
    samples.record("state", "everything", model::state::state(samples.at))?;
    samples.record("replay", "all-commands", model::state::replayed(samples.at))?;
    samples.record(
        "backup",
        "backup",
        Backup {
            made: model::NOW,
            version: "0.2.0".to_owned(),
            promise_ms: 300,
            seal: [9; 32],
            facts: (*model::state::state(samples.at).facts).clone(),
            bindings: model::state::state(samples.at).stick,
        },
    )
}
