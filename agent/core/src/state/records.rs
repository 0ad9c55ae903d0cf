//! What the facts hold of configurations, of what operators want, of health and of who holds.

use crate::command::DrainEnd;
use crate::id::{Epoch, NodeId};
use crate::model::{AdminState, ClusterConfig, Sticky};
use crate::time::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// One kept configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigVersion {
    /// Its number.
    pub version: u64,
    /// When it was applied.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// As it was written.
    pub text: String,
    /// What it says.
    pub config: Arc<ClusterConfig>,
}

/// What is wanted of a server or node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AdminRecord {
    /// The state.
    pub state: AdminState,
    /// What a drain does with bound clients.
    pub sticky: Sticky,
    /// When a drain cuts what is left.
    pub deadline: Option<Timestamp>,
    /// What follows a drain.
    pub then: Option<AdminState>,
    /// The drain is over: nobody comes any more, bound or not, and what is left is cut.
    pub ended: Option<DrainEnd>,
    /// Since when.
    pub since: Timestamp,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Held by who takes nodes out one after the other; ends by itself when its owner is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MaintenanceLock {
    /// Tells this owner from every other.
    pub owner: String,
    /// For what.
    pub purpose: String,
    /// By whom.
    pub by: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when, unless its owner renews it.
    pub expires: Timestamp,
}

/// What the checks say of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthRecord {
    /// Whether it is usable.
    pub up: bool,
    /// Since when.
    pub since: Timestamp,
    /// What was seen.
    pub why: String,
}

/// Who holds the addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HolderRecord {
    /// The node.
    pub node: NodeId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}
