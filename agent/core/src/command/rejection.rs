//! Why a command changed nothing, in words for who asked.

use crate::id::{Epoch, NodeId, ServerId};
use crate::version::{RecordVersion, Speaks};
use serde::Serialize;
use thiserror::Error;

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize)]
pub enum Rejection {
    /// Somebody else changed the configuration meanwhile.
    #[error(
        "the configuration is at version {now}, this change was made from version {expected}: look at `ha-cli diff` again, then apply again"
    )]
    ConfigMoved {
        /// The version that is in force now.
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
    #[error("there is no node {0}: `ha-cli status` shows the nodes")]
    NodeUnknown(String),
    #[error("there is no server with id {0}: `ha-cli status` shows the servers")]
    ServerUnknown(ServerId),
    /// That id belongs to a member.
    #[error("the node id {0} is taken by {1}: choose another with --id, or remove that node first")]
    IdTaken(NodeId, String),
    /// That name belongs to a member.
    #[error(
        "the node name {0} is taken: set another `name` in agent.toml; if this machine is that node and has lost its data, `ha-agent rejoin` in place of `ha-agent join`"
    )]
    NameTaken(String),
    /// That address belongs to a member.
    #[error("the address {0} is taken by node {1}: set another `listen` in agent.toml")]
    AddressTaken(String, String),
    #[error(
        "the address {0} is that of virtual_ip {1}: set another `listen` or `address` in agent.toml"
    )]
    AddressOfVirtualIp(String, String),
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
        "node {0} was removed from this cluster and cannot come back under that id: `ha-agent rejoin` there, with a new token, brings it back under its name"
    )]
    NodeRemoved(NodeId),
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
    LastServer { backend: String },
    /// One node at a time.
    #[error(
        "{node} is out already (by {by}): one node at a time, `ha-cli ready {node}` brings it back first (drain and maintenance take --force)"
    )]
    OtherNodeOut {
        node: String,
        /// Who took it out.
        by: String,
    },
    /// Somebody else takes nodes out.
    #[error(
        "{by} holds the maintenance lock ({purpose}), for {seconds} s more at least: wait for its end (drain and maintenance take --force)"
    )]
    Locked {
        by: String,
        purpose: String,
        /// Until it ends by itself.
        seconds: u64,
    },
    /// A member could not carry out a check.
    #[error(
        "node {node} does not know checks of kind {kind}: upgrade ha-agent there first, or leave such checks out of the configuration"
    )]
    CheckUnknown { kind: String, node: String },
    /// A member could not read what would be written.
    #[error(
        "version {version} cannot become active: node {node} does not speak it. Upgrade ha-agent there, or remove that node (`ha-cli member remove {node}`)"
    )]
    VersionNotSpoken {
        /// The version that was asked for.
        version: RecordVersion,
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
        node: String,
        /// What its agent speaks.
        speaks: Speaks,
        needed: RecordVersion,
    },
    /// A text that a terminal or a log would not show as it is.
    #[error("{field}: found a text that {why}")]
    TextRefused {
        /// The path of the field, as in the file.
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
