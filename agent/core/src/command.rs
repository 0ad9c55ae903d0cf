//! What is proposed to the log, and what comes of it.

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
use thiserror::Error;

/// A command with the time at which it was proposed; the state machine has no clock of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stamped {
    /// The proposer's clock.
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
    /// A new configuration.
    Configure {
        /// What it says.
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
        /// Of what.
        target: AdminTarget,
        /// What.
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
        /// Until when.
        expires: Timestamp,
    },
    /// That is over.
    Unlock {
        /// As in [`Command::Lock`].
        owner: String,
    },
    /// A drain ended: empty, or its deadline passed.
    DrainEnded {
        /// Of what.
        target: AdminTarget,
        /// Which drain: since when. Another one of the same target may have begun meanwhile.
        began: Timestamp,
        /// How.
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
        /// Who.
        member: Member,
        /// What it shows.
        ticket: Ticket,
    },
    /// A node is forgotten, and not heard any more.
    RemoveMember(NodeId),
    /// Who may speak changes.
    Trust(TrustOrder),
    /// The agent of a member is another than its record says.
    Describe {
        /// The member.
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
        /// Its epoch.
        epoch: Epoch,
        /// Why the address came to it.
        reason: String,
    },
    /// A line for the event log.
    Note {
        /// See [`crate::events::What::kind`].
        kind: String,
        /// One line.
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
            | Command::Restore(_) => Ok(()),
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
    /// Some servers.
    Servers(Vec<ServerId>),
}

/// What is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AdminOrder {
    /// The state.
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
    /// Which.
    pub server: ServerId,
    /// Whether it is usable now.
    pub up: bool,
    /// What was seen, e.g. `L4CON`.
    pub why: String,
}

/// What an accepted command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The configuration now has this version.
    Configured(u64),
    /// The order is in force.
    Ordered {
        /// Since when.
        since: Timestamp,
        /// Its number; see [`Facts::order_of`].
        number: u64,
    },
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize)]
pub enum Rejection {
    /// Somebody else changed the configuration meanwhile.
    #[error(
        "the configuration is at version {now}, this change was made from version {expected}: look at `ha-cli diff` again, then apply again"
    )]
    ConfigMoved {
        /// Current version.
        now: u64,
        /// What the proposer had seen.
        expected: u64,
    },
    /// Somebody else gave an order meanwhile.
    #[error(
        "order {now} was given to it meanwhile, this one was made after order {expected}: look at `ha-cli status`, then repeat it"
    )]
    OrderMoved {
        /// Number of its last order.
        now: u64,
        /// What the proposer had seen.
        expected: u64,
    },
    /// It may have been carried out at an earlier attempt, and nobody knows any more.
    #[error(
        "this request is an old one, and whether it was carried out is not known any more: look at `ha-cli status` and `ha-cli events`, then ask anew if need be"
    )]
    AskedTooLongAgo,
    /// No such version is kept.
    #[error(
        "version {0} of the configuration is not kept: `ha-cli config history` shows those that are"
    )]
    VersionUnknown(u64),
    /// There is nothing to roll back to.
    #[error("there is no earlier version of the configuration")]
    NoEarlierVersion,
    /// No such node.
    #[error("there is no node {0}: `ha-cli status` shows the nodes")]
    NodeUnknown(String),
    /// No such server.
    #[error("there is no server with id {0}: `ha-cli status` shows the servers")]
    ServerUnknown(ServerId),
    /// That id belongs to a member.
    #[error("the node id {0} is taken by {1}: choose another with --id, or remove that node first")]
    IdTaken(NodeId, String),
    /// That name belongs to a member.
    #[error(
        "the node name {0} is taken: set another `name` in agent.toml, or remove that node first (`ha-cli member remove {0}`)"
    )]
    NameTaken(String),
    /// That address belongs to a member.
    #[error("the address {0} is taken by node {1}: set another `listen` in agent.toml")]
    AddressTaken(String, String),
    /// No such token, or another secret.
    #[error(
        "there is no join token {0}: `ha-cli token list` shows those that are, `ha-cli token create` makes one"
    )]
    TokenUnknown(String),
    /// A token works once.
    #[error("the join token {0} was used already, by {1}: make another with `ha-cli token create`")]
    TokenUsed(String, String),
    /// It was taken back.
    #[error("the join token {0} was revoked: make another with `ha-cli token create`")]
    TokenRevoked(String),
    /// It came too late.
    #[error(
        "the join token {0} expired {1} s ago: make another with `ha-cli token create`, with a longer --ttl if need be"
    )]
    TokenExpired(String, u64),
    /// It is for the other kind of node.
    #[error(
        "the join token {0} is for a {1}, and `role` in agent.toml is {2}: make one with `ha-cli token create --role {2}`"
    )]
    TokenRole(String, String, String),
    /// It left for ever.
    #[error(
        "node {0} was removed from this cluster and cannot come back under that id: empty its data_dir and join it as a new node, with a new token"
    )]
    NodeRemoved(NodeId),
    /// No such operator.
    #[error("there is no operator {0}: `ha-cli user list` shows those that are")]
    UserUnknown(String),
    /// No such authority, or it is not at that stage.
    #[error(
        "authority {0} is unknown here, or not at that stage: `ha-cli ca show` shows those that are"
    )]
    AuthorityUnknown(String),
    /// One change of authority at a time.
    #[error(
        "a change of authority is under way: `ha-cli ca show` says how far it is; `ha-cli ca retire` ends it"
    )]
    RotationUnderWay,
    /// A table is full.
    #[error("there are {1} {0} already: remove one first")]
    TooMany(String, u64),
    /// Nobody would be left to serve.
    #[error(
        "backend {backend} would have no usable server left: make another one ready first, or say --force"
    )]
    LastServer {
        /// Of which backend.
        backend: String,
    },
    /// One node at a time.
    #[error(
        "{node} is out already (by {by}): one node at a time, `ha-cli ready {node}` brings it back first (drain and maintenance take --force)"
    )]
    OtherNodeOut {
        /// Which.
        node: String,
        /// Who took it out.
        by: String,
    },
    /// Somebody else takes nodes out.
    #[error(
        "{by} holds the maintenance lock ({purpose}), for {seconds} s more at least: wait for its end (drain and maintenance take --force)"
    )]
    Locked {
        /// Who.
        by: String,
        /// For what.
        purpose: String,
        /// Until it ends by itself.
        seconds: u64,
    },
    /// A member could not carry out a check.
    #[error(
        "node {node} does not know checks of kind {kind}: upgrade ha-agent there first, or leave such checks out of the configuration"
    )]
    CheckUnknown {
        /// The kind's name.
        kind: String,
        /// The member's name.
        node: String,
    },
    /// A member could not read what would be written.
    #[error(
        "version {version} cannot become active: node {node} does not speak it. Upgrade ha-agent there, or remove that node (`ha-cli member remove {node}`)"
    )]
    VersionNotSpoken {
        /// The version that was asked for.
        version: RecordVersion,
        /// The member's name.
        node: String,
    },
    /// The active version is never lowered.
    #[error(
        "version {active} is active already, and there is no way back from it to version {version}: ask for a higher one"
    )]
    VersionNotHigher {
        /// The version that was asked for.
        version: RecordVersion,
        /// The one in force.
        active: RecordVersion,
    },
    /// A node could not read what this cluster writes.
    #[error(
        "this cluster writes version {needed}, and the agent of node {node} speaks {speaks}: install an ha-agent there that speaks version {needed}"
    )]
    VersionUnsuitable {
        /// The node's name.
        node: String,
        /// What its agent speaks.
        speaks: Speaks,
        /// The active version.
        needed: RecordVersion,
    },
    /// A text that a terminal or a log would not show as it is.
    #[error("{field}: found a text that {why}")]
    TextRefused {
        /// In which field.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// The cluster exists already.
    #[error("this cluster was founded already")]
    AlreadyFounded,
    /// An old leader tried to say that it holds.
    #[error("epoch {0} is over, the holder is of epoch {1}")]
    EpochOver(Epoch, Epoch),
}

/// What the log answers to a proposal.
pub type Answer = Result<Outcome, Rejection>;
