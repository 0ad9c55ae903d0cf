//! What consensus is started with, and why a proposal may come to nothing.

use ha_core::id::NodeId;
use ha_core::model::{Role, Timing};
use ha_core::version::Speaks;
use ha_record::{ENTRY_MAX, RecordError};
use std::time::Duration;
use thiserror::Error;

/// Who takes part, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct ConsensusSettings {
    pub me: NodeId,
    /// What it is for: a witness campaigns later than the others.
    pub role: Role,
    pub timing: Timing,
    /// How long a voter stays promised; the same on all nodes.
    pub promise: Duration,
    /// Whether this node cannot have promised anything before: it makes the cluster.
    pub founding: bool,
    /// What this program reads and writes.
    pub speaks: Speaks,
    /// Entries between two snapshots; a fifth of them stays in the log for who is a little behind.
    pub snapshot_every: u64,
}

/// [`ConsensusSettings::snapshot_every`] of the product.
pub const SNAPSHOT_EVERY: u64 = 5000;

/// The largest command, in bytes: what the log adds to it in an entry is less than 1 KiB.
pub const PROPOSAL_MAX: usize = ENTRY_MAX - (1 << 10);

/// Why a proposal did not come to an answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    #[error("this node does not lead")]
    NotLeader(Option<NodeId>),
    /// Nobody leads, or a majority does not answer. It may still be committed later.
    #[error("no majority has answered in time: {0}")]
    NoMajority(String),
    /// Consensus has ended on this node.
    #[error("consensus has ended on this node: {0}")]
    Ended(String),
    /// No log entry is as large. Nothing was proposed.
    #[error("it is too large for the log: found {0} bytes; use at most {PROPOSAL_MAX}")]
    TooLarge(usize),
    /// It does not exist at the active version. Nothing was proposed.
    #[error(transparent)]
    NotYet(RecordError),
}
