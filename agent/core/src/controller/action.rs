//! What a controller wants done.

use super::Purpose;
use crate::check::Probe;
use crate::command::Command;
use crate::id::{Epoch, NodeId, ServerId};
use crate::lease::Lease;
use crate::time::Instant;
use std::collections::BTreeSet;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take this `Lease` through the own promise, then send it; answers come as events.
    SendLease {
        lease: Lease,
        to: BTreeSet<NodeId>,
    },
    /// End the own promise, then tell the others; answers come as events.
    SendRelease {
        release: Lease,
        to: BTreeSet<NodeId>,
    },
    /// Hold the addresses until then; first or again.
    Hold {
        epoch: Epoch,
        /// The right ends then, whatever comes.
        until: Instant,
    },
    /// Drop the addresses now; [`super::Event::Dropped`] follows.
    Drop {
        /// For events and the log; nothing is decided by it.
        why: DropReason,
        /// Counts these actions: what is said of an earlier one says nothing of this one.
        number: u64,
    },
    /// Ask for votes, a pre-vote first: the leader has fallen silent and its turn is this node's.
    Campaign,
    Transfer {
        to: NodeId,
    },
    /// Tell the neighbours again.
    Announce,
    Probe {
        server: ServerId,
        probe: Probe,
        purpose: Purpose,
    },
    /// Put a command into the log.
    Propose(Command),
    /// Make these the voters, in one change, if those are it now; who loses its vote goes on as a learner.
    ChangeVoters {
        from: BTreeSet<NodeId>,
        /// Who shall: voters and learners.
        to: BTreeSet<NodeId>,
    },
    /// End a membership that has stayed joint: whoever began to change it leads no more.
    SettleMembership {
        /// As was intended; else as it was.
        forward: bool,
    },
    /// What is known here beyond the log has changed: make a new view.
    Refresh,
}

/// Why the address was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// No quorum promised in time.
    LeaseRanOut,
    /// Another node leads, or none.
    NotLeader,
    /// It is handed over.
    Handover,
    /// This node may not hold.
    NotEligible,
}
