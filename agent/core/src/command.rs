//! What is proposed to the log, and what comes of it.

mod rejection;

pub use rejection::Rejection;

use crate::id::{Epoch, NodeId, ServerId};
use crate::model::{AdminState, ClusterConfig, Member, Sticky, Timing};
use crate::request::Request;
use crate::state::Facts;
use crate::stick::{StickEntry, StickKey};
use crate::time::Timestamp;
use crate::trust::{Ticket, TrustOrder};
use crate::version::{RecordVersion, Speaks};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A command with the time at which it was proposed; the state machine has no clock of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stamped {
    /// When it was proposed, by the proposer's clock.
    pub at: Timestamp,
    /// Who asked for it; empty for the cluster itself.
    pub by: String,
    /// What is asked for.
    pub command: Command,
    /// Which request of an operator this is an attempt at; the cluster's own commands have none.
    pub request: Option<Request>,
}

impl fmt::Display for Stamped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.command)
    }
}

/// Everything that can change the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Command {
    /// The first entry of a new cluster.
    Found {
        /// A UUID that tells this cluster from every other.
        cluster_id: NodeId,
        /// Timers, the same on all nodes for ever.
        timing: Timing,
        /// The active version: the newest that the founder speaks.
        version: RecordVersion,
    },
    /// The first entry of a cluster that takes the place of an earlier one, with what that had agreed.
    #[serde(skip)]
    Restore(Box<Facts>),
    /// The first entry of a cluster that one of its nodes takes over alone, because the others are lost for good. All that
    /// was agreed goes on; what every client is bound to follows.
    #[serde(skip)]
    Recover {
        /// What that node's log says.
        facts: Box<Facts>,
        /// Its id of before.
        was: NodeId,
        /// The same node under a new id.
        member: Member,
    },
    Configure {
        config: ClusterConfig,
        /// As the operator wrote it.
        text: String,
        /// The version it was made from; `None`: whatever is there.
        expect: Option<u64>,
    },
    /// An earlier configuration again, as a new version.
    Rollback {
        /// `None`: the one before the current.
        version: Option<u64>,
        /// The version that was in force when it was asked for; `None`: whatever is.
        expect: Option<u64>,
    },
    /// What the operator wants of servers or of a node.
    SetAdmin {
        target: AdminTarget,
        order: AdminOrder,
        /// Even if no usable server remains.
        force: bool,
        /// The number of the last order of this target that was seen, 0 for none; `None`: whatever there was.
        expect: Option<u64>,
    },
    /// Nodes will be taken out one after the other, by nobody else meanwhile. Again by the same owner: for longer.
    Lock {
        /// Tells this owner from every other.
        owner: String,
        /// For what, for other people.
        purpose: String,
        /// From then on it counts for nothing.
        expires: Timestamp,
    },
    /// The lock is given back before it expires.
    Unlock { owner: String },
    /// A drain ended: empty, or its deadline passed.
    DrainEnded {
        target: AdminTarget,
        /// Which drain: since when. Another one of the same target may have begun meanwhile.
        began: Timestamp,
        end: DrainEnd,
    },
    /// What the leader observed.
    Health(Vec<HealthChange>),
    /// Clients that were bound or came back.
    #[serde(skip)]
    Bind(Vec<(StickKey, StickEntry)>),
    /// A node becomes known; it is a learner until consensus makes it a voter.
    AddMember(Member),
    /// A node that shows a token becomes known; the token is used up.
    Admit {
        member: Member,
        ticket: Ticket,
        /// The member of the same name that it was, when that has lost its data.
        replaces: Option<NodeId>,
    },
    /// A member is reached elsewhere from now on.
    Relocate {
        node: NodeId,
        /// Where peers and operators reach it.
        listen: SocketAddr,
        /// Where its own servers listen.
        address: IpAddr,
    },
    /// A node is forgotten, and not heard any more.
    RemoveMember(NodeId),
    /// Who may speak changes.
    Trust(TrustOrder),
    /// The agent of a member is another than its record says.
    Describe {
        node: NodeId,
        /// The agent's own version, for people.
        agent_version: String,
        /// What it reads and writes.
        speaks: Speaks,
        /// The kinds of check that it carries out.
        checks: BTreeSet<String>,
    },
    /// From here on everything is written at this version. There is no way back.
    Activate(RecordVersion),
    /// A leader holds the addresses from now on.
    Holder {
        /// The node that holds.
        node: NodeId,
        epoch: Epoch,
        /// Why the address came to it.
        reason: String,
    },
    /// A line for the event log.
    Note {
        kind: String,
        /// What happened, in one line.
        text: String,
    },
    /// Of the next version, for tests of upgrades: keeps a text in [`Facts::rehearsal`].
    #[cfg(feature = "next")]
    Rehearse {
        /// What is kept, and told as an event.
        text: String,
    },
}

impl Stamped {
    /// Whether every text that somebody gave is one that is shown as it is.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check_texts(&self) -> Result<(), Rejection> {
        let refused = |r: crate::text::Refused| Rejection::TextRefused {
            field: r.field,
            why: r.why,
        };
        crate::text::all_plain(&By { by: &self.by }).map_err(refused)?;
        match &self.command {
            // What the cluster says of itself must get through: it is written out plain where it is kept. Bindings
            // name groups of a configuration that was looked at, and what is restored was looked at when it was new.
            Command::Health(_)
            | Command::Holder { .. }
            | Command::Note { .. }
            | Command::Bind(_)
            | Command::Restore(_)
            | Command::Recover { .. } => Ok(()),
            other => crate::text::all_plain(other).map_err(refused),
        }
    }
}

#[derive(Serialize)]
struct By<'a> {
    by: &'a str,
}

/// Of what an administrative state is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum AdminTarget {
    /// A node: all servers on it, and whether it may hold the address.
    Node(NodeId),
    /// These servers, of whichever backends.
    Servers(Vec<ServerId>),
}

/// What an operator wants of a node or of servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AdminOrder {
    pub state: AdminState,
    /// What a drain does with bound clients.
    pub sticky: Sticky,
    /// When a drain cuts what is left.
    pub deadline: Option<Timestamp>,
    /// What follows once it is drained; `None`: it stays drained.
    pub then: Option<AdminState>,
    /// Why, for other people.
    pub reason: String,
    /// The owner of the maintenance lock, when it is this one that asks.
    pub lock: String,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DrainEnd {
    /// No session was left.
    Empty,
    /// Its deadline passed: the sessions that are left are cut.
    Deadline,
}

/// One server went up or down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthChange {
    pub server: ServerId,
    /// Whether it is usable now.
    pub up: bool,
    /// What was seen, e.g. `L4CON`.
    pub why: String,
}

/// What an accepted command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    Done,
    /// The configuration now has this version.
    Configured(u64),
    /// The order is in force.
    Ordered {
        since: Timestamp,
        /// Its number; see [`Facts::order_of`].
        number: u64,
    },
}

/// What the log answers to a proposal.
pub type Answer = Result<Outcome, Rejection>;
