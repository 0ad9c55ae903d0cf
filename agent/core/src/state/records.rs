//! What the facts hold of configurations, of what operators want, of health and of who holds.

use crate::command::DrainEnd;
use crate::id::{Epoch, NodeId};
use crate::model::{AdminState, ClusterConfig, Sticky};
use crate::time::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// A configuration that can be gone back to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigVersion {
    /// Counts up from 1.
    pub version: u64,
    /// When it was applied.
    pub at: Timestamp,
    pub by: String,
    /// As it was written.
    pub text: String,
    pub config: Arc<ClusterConfig>,
}

/// What is wanted of a server or node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AdminRecord {
    pub state: AdminState,
    /// What a drain does with bound clients.
    pub sticky: Sticky,
    /// When a drain cuts what is left.
    pub deadline: Option<Timestamp>,
    /// What follows a drain.
    pub then: Option<AdminState>,
    /// The drain is over: nobody comes any more, bound or not, and what is left is cut.
    pub ended: Option<DrainEnd>,
    pub since: Timestamp,
    pub by: String,
    pub reason: String,
}

/// Held by who takes nodes out one after the other; ends by itself when its owner is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaintenanceLock {
    /// Tells this owner from every other.
    pub owner: String,
    pub purpose: String,
    pub by: String,
    pub since: Timestamp,
    /// Until when, unless its owner renews it.
    pub expires: Timestamp,
}

/// What the checks say of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthRecord {
    /// Whether it is usable.
    pub up: bool,
    pub since: Timestamp,
    pub why: String,
}

/// Who holds the addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HolderRecord {
    pub node: NodeId,
    pub epoch: Epoch,
    pub since: Timestamp,
    pub reason: String,
}
