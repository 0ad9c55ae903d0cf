//! What an event tells: the data for programs, one line of it for people.

use crate::command::DrainEnd;
use crate::id::Epoch;
use crate::model::{AdminState, Role};
use crate::time::Timestamp;
use crate::trust::Access;
use crate::version::{RecordVersion, Speaks};
use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;

/// What happened. Nodes and servers are named as they were called then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum What {
    /// A new configuration, or an earlier one again.
    ConfigApplied {
        /// The number of the configuration.
        version: u64,
    },
    /// An operator wants servers or a node in or out.
    AdminSet {
        target: Target,
        /// What it is set to.
        state: AdminState,
        /// As the operator gave it; may be empty.
        reason: String,
    },
    /// A drain is over.
    DrainEnded {
        /// Which drain: of what.
        target: Target,
        /// Which drain: since when.
        began: Timestamp,
        end: DrainEnd,
        /// What the target is set to now; `None`: it stays drained.
        then: Option<AdminState>,
    },
    /// Nodes will be taken out one after the other, by the owner of the lock only.
    LockTaken { purpose: String },
    /// The owner of the maintenance lock gave it back.
    LockReturned,
    /// A check finds a server usable again.
    ServerWentUp {
        /// Its name, as `backend/server`.
        server: String,
        /// The check's word, e.g. `L4OK`.
        why: String,
    },
    /// Checks find a server unusable.
    ServerWentDown {
        /// Its name, as `backend/server`.
        server: String,
        /// The check's word, e.g. `L4CON`.
        why: String,
    },
    /// A node claims the virtual IPs.
    HolderChanged {
        node: String,
        /// The first in which it holds.
        epoch: Epoch,
        /// Why they came to it.
        reason: String,
    },
    /// A node became known by the word of an operator.
    MemberAdded {
        node: String,
        /// What it is for.
        role: Role,
        /// Where it is reached.
        listen: SocketAddr,
    },
    /// A node became known by showing a token.
    MemberAdmitted {
        node: String,
        /// What it is for.
        role: Role,
        /// Where it is reached.
        listen: SocketAddr,
        /// The public id of the token.
        token: String,
    },
    /// The agent of a node was replaced by another version.
    MemberDescribed {
        node: String,
        /// The version of the agent, for people.
        agent_version: String,
        /// That of the agent before it.
        before: String,
        /// What the agent reads and writes.
        speaks: Speaks,
    },
    /// From here on everything is written at a newer version, and agents that do not speak it cannot come back.
    VersionActivated {
        /// The one in force now.
        version: RecordVersion,
        /// The one before it.
        before: RecordVersion,
    },
    /// A node is not heard any more.
    MemberRemoved { node: String },
    /// Who may speak changed.
    Trust(TrustChange),
    /// This cluster took the place of an earlier one.
    Restored,
    /// One node went on alone: the others are lost, and come back with new ids.
    Recovered {
        /// The cluster's from now on.
        generation: u64,
        node: String,
    },
    /// A node is reached elsewhere.
    MemberMoved {
        node: String,
        /// Where it is reached from now on.
        listen: SocketAddr,
        before: SocketAddr,
    },
    /// A line of another kind.
    Note {
        /// A word to filter by.
        kind: String,
        /// What happened, in one line.
        text: String,
    },
}

/// Of what an administrative state was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Target {
    Node(String),
    Servers(Vec<String>),
}

/// Authorities are named by the first digits of their fingerprint, tokens by their public id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TrustChange {
    /// The first authority of the cluster.
    AuthorityFounded(String),
    /// A further one, which does not sign yet.
    AuthorityIntroduced(String),
    /// Every node knows it.
    AuthoritySigns(String),
    /// Its certificates count no more.
    AuthorityRetired(String),
    /// A token that lets one node in.
    TokenMade {
        /// The part of a token that everybody may see.
        id: String,
        /// What may join with it.
        role: Role,
    },
    /// An operator took a token back.
    TokenRevoked(String),
    /// An operator, new or with a new certificate.
    UserAdded {
        name: String,
        /// What the operator may do.
        access: Access,
    },
    /// An operator's certificate counts no more.
    UserRemoved(String),
}

impl What {
    /// A word to filter by: `config`, `admin`, `health`, `holder`, `member`, `trust`, or that of a note.
    pub fn kind(&self) -> &str {
        match self {
            What::ConfigApplied { .. } => "config",
            What::AdminSet { .. }
            | What::DrainEnded { .. }
            | What::LockTaken { .. }
            | What::LockReturned => "admin",
            What::ServerWentUp { .. } | What::ServerWentDown { .. } => "health",
            What::HolderChanged { .. } => "holder",
            What::MemberAdded { .. }
            | What::MemberAdmitted { .. }
            | What::MemberDescribed { .. }
            | What::VersionActivated { .. }
            | What::MemberRemoved { .. }
            | What::MemberMoved { .. }
            | What::Recovered { .. }
            | What::Restored => "member",
            What::Trust(_) => "trust",
            What::Note { kind, .. } => kind,
        }
    }
}

impl fmt::Display for What {
    /// Writes the event as one line, without its time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::ConfigApplied { version } => write!(f, "configuration {version} applied"),
            What::AdminSet {
                target,
                state,
                reason,
            } => {
                write!(f, "{target} is set to {}", state.word())?;
                if reason.is_empty() {
                    return Ok(());
                }
                write!(f, ": {reason}")
            }
            What::DrainEnded {
                target, end, then, ..
            } => {
                let how = match end {
                    DrainEnd::Empty => "no session is left",
                    DrainEnd::Deadline => {
                        "its deadline passed, the sessions that were left are cut"
                    }
                };
                match then {
                    Some(then) => {
                        write!(f, "{target} is drained ({how}) and set to {}", then.word())
                    }
                    None => write!(f, "{target} is drained: {how}"),
                }
            }
            What::LockTaken { purpose } => write!(f, "the maintenance lock is taken: {purpose}"),
            What::LockReturned => f.write_str("the maintenance lock is given back"),
            What::ServerWentUp { server, why } => write!(f, "server {server} is UP: {why}"),
            What::ServerWentDown { server, why } => write!(f, "server {server} is DOWN: {why}"),
            What::HolderChanged {
                node,
                epoch,
                reason,
            } => write!(f, "{node} holds the virtual IP, epoch {epoch}: {reason}"),
            What::MemberAdded { node, role, listen }
            | What::MemberAdmitted {
                node, role, listen, ..
            } => write!(f, "{node} ({}) joins at {listen}", role.word()),
            What::MemberDescribed {
                node,
                agent_version,
                before,
                speaks,
            } => write!(
                f,
                "{node} runs ha-agent {agent_version} now ({before} before), which speaks {speaks}"
            ),
            What::VersionActivated { version, before } => write!(
                f,
                "version {version} is active from now on ({before} before): agents that do not speak it cannot come back"
            ),
            What::MemberRemoved { node } => write!(f, "{node} left the cluster"),
            What::Trust(change) => change.fmt(f),
            What::Restored => {
                f.write_str("the cluster was restored from a backup: nodes join anew")
            }
            What::Recovered { generation, node } => write!(
                f,
                "the cluster was recovered by {node} alone as generation {generation}: every other node comes back with `ha-agent rejoin`"
            ),
            What::MemberMoved {
                node,
                listen,
                before,
            } => write!(
                f,
                "{node} is reached at {listen} from now on ({before} before)"
            ),
            What::Note { text, .. } => f.write_str(text),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(name) => write!(f, "node {name}"),
            Target::Servers(names) => write!(f, "server {}", names.join(", ")),
        }
    }
}

impl fmt::Display for TrustChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrustChange::AuthorityFounded(a) => write!(f, "authority {a} signs"),
            TrustChange::AuthorityIntroduced(a) => {
                write!(f, "authority {a} is made known to every node")
            }
            TrustChange::AuthoritySigns(a) => write!(
                f,
                "authority {a} signs from now on, the one before it is still believed"
            ),
            TrustChange::AuthorityRetired(a) => write!(f, "authority {a} is not believed any more"),
            TrustChange::TokenMade { id, role } => {
                write!(f, "token {id} for one {} was made", role.word())
            }
            TrustChange::TokenRevoked(id) => write!(f, "token {id} was revoked"),
            TrustChange::UserAdded { name, access } => {
                write!(f, "{name} may enter as {}", access.word())
            }
            TrustChange::UserRemoved(name) => write!(f, "{name} may not enter any more"),
        }
    }
}

#[cfg(test)]
mod tests;
