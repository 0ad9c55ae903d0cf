//! What a controller hears.

use super::HandoverReason;
use crate::check::CheckResult;
use crate::id::{NodeId, ServerId};
use crate::lease::{Lease, Refusal, VoterSets};
use crate::state::Facts;
use crate::time::Timestamp;
use crate::trust::Credentials;
use crate::version::Speaks;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What this node is in Raft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RaftRole {
    /// Does not vote yet.
    Learner,
    #[default]
    Follower,
    Candidate,
    Leader,
}

/// What consensus says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftNews {
    /// What this node is.
    pub role: RaftRole,
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The effective membership; two sets while it is joint.
    pub voters: VoterSets,
    /// Nodes that do not vote yet.
    pub learners: BTreeSet<NodeId>,
    /// Where every node listens.
    pub addresses: BTreeMap<NodeId, String>,
    /// The term of the newest applied entry.
    pub applied_term: u64,
    /// Index of the newest entry in this node's log.
    pub last_log: u64,
    /// Index up to which a quorum has the log.
    pub committed: u64,
    /// On the leader: up to where each node has the log.
    pub matched: BTreeMap<NodeId, u64>,
}

impl RaftNews {
    /// Whether `node` is a voter, in either half of a joint membership.
    pub fn votes(&self, node: NodeId) -> bool {
        self.voters.iter().any(|set| set.contains(&node))
    }

    /// Whether `node` is a voter now and when a change that is under way is done.
    pub fn votes_throughout(&self, node: NodeId) -> bool {
        self.voters.iter().all(|set| set.contains(&node))
    }
}

/// How a node is, as it says itself with each lease answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeReport {
    /// It may hold: its proxy accepts, its interface has carrier, it is no witness.
    pub eligible: bool,
    pub why_not: String,
    /// What enforces its lease.
    pub fence: String,
    /// Servers on it that its own check finds down.
    pub down: BTreeSet<ServerId>,
    /// Whom it believes, and what it shows.
    pub credentials: Credentials,
    /// The version of its agent; empty: it does not say what it runs.
    pub agent_version: String,
    /// The versions of records that its agent reads and writes.
    pub speaks: Speaks,
    /// The kinds of check that its agent carries out.
    pub checks: BTreeSet<String>,
    /// When its machine did not run.
    pub stalls: Stalls,
    /// Voters that it asks and that do not answer it.
    pub unheard: BTreeSet<NodeId>,
}

/// The times when a machine ran nothing, since its agent started: a hypervisor's snapshot or move, a suspend, a
/// machine without processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stalls {
    /// How many there were.
    pub count: u32,
    /// When the last one ended.
    pub last_at: Timestamp,
    /// How long it was.
    pub last_for: Duration,
}

/// Longest text of a report that is kept, in letters, and most names in it.
const SAID_MAX: usize = 256;

impl NodeReport {
    /// As much of it as is kept, whoever made it.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        for text in [&mut self.why_not, &mut self.fence, &mut self.agent_version] {
            if let Some((end, _)) = text.char_indices().nth(SAID_MAX) {
                text.truncate(end);
            }
        }
        let short = |kind: &String| kind.len() <= SAID_MAX;
        self.checks = self
            .checks
            .into_iter()
            .filter(short)
            .take(SAID_MAX)
            .collect();
        while self.unheard.len() > SAID_MAX {
            self.unheard.pop_last();
        }
        self
    }
}

/// What the controller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Tick,
    Raft(RaftNews),
    /// The replicated state changed.
    Applied(Arc<Facts>),
    /// A voter (this node included) answered a `Lease`.
    LeaseAnswered {
        from: NodeId,
        /// What it answers to.
        lease: Lease,
        /// Whether it is promised.
        result: Result<(), Refusal>,
        report: NodeReport,
    },
    /// A node acknowledged a `Release`.
    ReleaseAnswered {
        from: NodeId,
        /// What it answers to.
        release: Lease,
    },
    /// The address is away from this node, as that [`super::Action::Drop`] wanted.
    Dropped {
        /// Which drop this answers, see [`super::Action::Drop`].
        number: u64,
    },
    /// This node acknowledged a `Lease` of another.
    Promised {
        to: NodeId,
    },
    /// A server was checked.
    Checked {
        server: ServerId,
        /// Why it was checked.
        purpose: Purpose,
        result: CheckResult,
    },
    /// Real traffic failed to connect to a server.
    ConnectFailed(ServerId),
    /// Real traffic connected to a server again.
    ConnectWorked(ServerId),
    /// How this node is.
    Own(NodeReport),
    /// Sessions per server on this node.
    Sessions(BTreeMap<ServerId, u32>),
    /// An operator wants leadership to move.
    MoveLeader {
        /// Where to; `None`: to the best other node.
        to: Option<NodeId>,
        reason: HandoverReason,
    },
}

impl Event {
    /// Its word, for logs.
    pub const fn word(&self) -> &'static str {
        match self {
            Event::Tick => "tick",
            Event::Raft(_) => "consensus",
            Event::Applied(_) => "applied",
            Event::LeaseAnswered { .. } => "lease answered",
            Event::ReleaseAnswered { .. } => "release answered",
            Event::Dropped { .. } => "dropped",
            Event::Promised { .. } => "promised",
            Event::Checked { .. } => "checked",
            Event::ConnectFailed(_) => "connect failed",
            Event::ConnectWorked(_) => "connect worked",
            Event::Own(_) => "own report",
            Event::Sessions(_) => "sessions",
            Event::MoveLeader { .. } => "move of the lead",
        }
    }
}

/// Why a server is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its turn in the schedule.
    Scheduled,
    /// Its node has gone silent.
    Suspicion,
}
