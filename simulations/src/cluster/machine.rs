//! A machine of the run: its disk, its server, and the process on it.

use super::disk::Disk;
use super::runtime::NodeRuntime;
use super::segment::Hands;
use super::sessions::Open;
use super::slots::Slots;
use ha_core::model::Role;
use ha_core::version::Speaks;
use ha_core::view::View;
use ha_node::binder::LogBinder;
use ha_node::consensus::Consensus;
use ha_node::driver::DriverHandle;
use std::sync::Arc;
use tokio::sync::watch;

/// How a node's server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    #[default]
    Up,
    Refusing,
    /// It does not answer.
    Hanging,
}

/// The process of a node.
#[derive(Clone)]
pub struct Running {
    /// Its part in the agreement.
    pub consensus: Consensus<NodeRuntime>,
    pub driver: DriverHandle,
    /// What its proxy would decide from.
    pub view: watch::Receiver<Arc<View>>,
    /// Its way to bind clients.
    pub binder: Arc<LogBinder>,
    /// Its hands on the address.
    pub hands: Arc<Hands>,
    /// The sessions that it carries.
    pub open: Arc<Open>,
    /// The slots of the servers, as it counts them.
    pub slots: Arc<Slots>,
}

pub struct Node {
    /// What it is for.
    pub role: Role,
    /// Whether it has power.
    pub powered: bool,
    /// How its server behaves.
    pub service: Service,
    /// Since when it has not served, in world time.
    pub broken_since: Option<u64>,
    pub disk: Disk,
    /// What its program speaks, from its next start on.
    pub program: Speaks,
    /// A process was started and has not been killed since.
    pub started: bool,
    /// Its process, once it takes part.
    pub running: Option<Running>,
    /// The highest term that it was asked for or asked for itself in a pre-vote. Of use to a planted bug only.
    pub pre_voted: u64,
    /// Its driver cannot keep up: what may be lost is lost.
    pub inbox_full: bool,
}
