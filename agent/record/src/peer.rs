//! What consensus says from node to node.

use crate::RecordError;
use crate::bytes::{In, Out};
use crate::entry::Entry;
use crate::form::Form;
use crate::snapshot::Header;
use crate::vote::{LogId, Vote};
use ha_core::id::NodeId;

/// Entries for a follower, or none: a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// By which the sender leads.
    pub vote: Vote,
    /// The entry before the first of these.
    pub previous: Option<LogId>,
    /// Up to where a majority has the log.
    pub committed: Option<LogId>,
    /// Each at its own version.
    pub entries: Vec<Entry>,
}

/// What a follower made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAnswer {
    /// It has all of them.
    Success,
    /// It has those up to there.
    Partial(Option<LogId>),
    /// It lacks the entry before them, or has another in its place.
    Conflict,
    /// It knows a later leader or candidate.
    HigherVote(Vote),
}

/// The question for a vote, and the one before it that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteRequest {
    /// What is asked for.
    pub vote: Vote,
    /// The newest entry of who asks.
    pub last: Option<LogId>,
    /// Whether the leader wants it so.
    pub transfer: bool,
}

/// The answer to either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteAnswer {
    /// The vote of who answers, after it.
    pub vote: Vote,
    /// Whether it is given.
    pub granted: bool,
    /// The newest entry of who answers.
    pub last: Option<LogId>,
}

/// "You lead from now on."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// By which the sender leads.
    pub from: Vote,
    pub to: NodeId,
    /// The newest entry, which that node must have.
    pub last: Option<LogId>,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferAnswer {
    Begun,
    /// Another leader is known.
    VoteChanged {
        /// That of who asked.
        expected: Vote,
        /// That of who answers.
        actual: Vote,
    },
    /// Its log is not as new on its disk.
    LogNotFlushed {
        /// What it should have.
        expected: Option<LogId>,
        actual: Option<LogId>,
    },
}

/// A whole state, for a node that is far behind. It travels in pieces of bytes, which have no form of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// By which the sender leads.
    pub vote: Vote,
    pub header: Header,
    /// The record of the state, at the active version.
    pub state: Vec<u8>,
}

/// It is installed, or was of an earlier leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotAnswer {
    /// That of who answers.
    pub vote: Vote,
}

structs! {
    Append { vote: Vote, previous: Option<LogId>, committed: Option<LogId>, entries: Vec<Entry> }
    VoteRequest { vote: Vote, last: Option<LogId>, transfer: bool }
    VoteAnswer { vote: Vote, granted: bool, last: Option<LogId> }
    Transfer { from: Vote, to: NodeId, last: Option<LogId> }
    Snapshot { vote: Vote, header: Header, state: Vec<u8> }
    SnapshotAnswer { vote: Vote }
}

enums! {
    AppendAnswer {
        0 => Success,
        1 => Partial(upto: Option<LogId>),
        2 => Conflict,
        3 => HigherVote(vote: Vote),
    }
    TransferAnswer {
        0 => Begun,
        1 => VoteChanged { expected: Vote, actual: Vote },
        2 => LogNotFlushed { expected: Option<LogId>, actual: Option<LogId> },
    }
}
