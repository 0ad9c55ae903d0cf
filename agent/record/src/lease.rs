//! The lease protocol: what a leader asks for several times per lease, and what a voter answers with how it is.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use ha_core::controller::{NodeReport, Stalls};
use ha_core::id::{NodeId, ServerId};
use ha_core::lease::{Lease, Refusal};
use ha_core::time::{Instant, Timestamp};
use ha_core::trust::Credentials;
use ha_core::version::Speaks;
use std::collections::BTreeSet;
use std::time::Duration;

/// What a voter answers to a `Lease`, with what the leader should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// Whether it is promised.
    pub result: Result<(), Refusal>,
    pub report: NodeReport,
}

/// A node has heard a `Release`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released;

impl Form for Released {
    fn write(&self, _: &mut Out) {}
    fn read(_: &mut In<'_>) -> Result<Self, RecordError> {
        Ok(Released)
    }
}

/// A 0 for yes; a 1, then why not.
impl Form for Result<(), Refusal> {
    fn write(&self, out: &mut Out) {
        self.err().write(out);
    }
    fn read(from: &mut In<'_>) -> Result<Self, RecordError> {
        Ok(Option::<Refusal>::read(from)?.map_or(Ok(()), Err))
    }
}

structs! {
    Lease { term: u64, sent: Instant }
    LeaseAnswer { result: Result<(), Refusal>, report: NodeReport }
    NodeReport {
        eligible: bool,
        why_not: String,
        fence: String,
        down: BTreeSet<ServerId>,
        credentials: Credentials,
        agent_version: String,
        speaks: Speaks,
        checks: BTreeSet<String>,
        stalls: Stalls,
        unheard: BTreeSet<NodeId>,
    }
    Stalls { count: u32, last_at: Timestamp, last_for: Duration }
}

enums! {
    Refusal { 0 => LaterTerm(term: u64), 1 => Promised(to: NodeId), 2 => Released, 3 => JustStarted, 4 => UnknownTerm(known: u64) }
}
