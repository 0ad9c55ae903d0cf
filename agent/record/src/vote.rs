//! What a node has voted, and where an entry stands in the log.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::form::Form;
use ha_core::id::NodeId;

/// A vote, as it is kept and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    /// The term it is for.
    pub term: u64,
    /// Who got it, or leads by it; nil before the first.
    pub node: NodeId,
    /// Whether a majority gave it: then that node leads.
    pub committed: bool,
}

/// Where an entry stands: by the term of the leader that made it, and its index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId {
    /// Of the leader that made it.
    pub term: u64,
    /// Counted from 0 within its term.
    pub index: u64,
}

structs! {
    Vote { term: u64, node: NodeId, committed: bool }
    LogId { term: u64, index: u64 }
}
