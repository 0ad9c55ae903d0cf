//! Parts of commands.

use crate::id::{NodeId, ServerId};
use serde::Serialize;

/// Of what an administrative state is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum AdminTarget {
    /// A node: all servers on it, and whether it may hold the address.
    Node(NodeId),
    /// Some servers.
    Servers(Vec<ServerId>),
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
    /// The configuration now has this version; what changed, a line each.
    Configured(u64, Vec<String>),
    /// These servers are affected, as `backend/server`.
    Affected(Vec<String>),
}
