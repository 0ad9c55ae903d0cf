//! What all workers of a proxy share, and nothing else is.

use super::binder::Binder;
use super::gate::WatchedGate;
use super::report::EventSender;
use super::settings::Clock;
use super::stats::Stats;
use super::table::Table;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use tokio_util::sync::CancellationToken;

pub(super) struct Shared {
    /// Clients come through the kernel's interception: the address is not bound by this process alone.
    pub(super) intercepts: bool,
    pub(super) clock: Clock,
    pub(super) gate: Arc<WatchedGate>,
    pub(super) binder: Arc<dyn Binder>,
    pub(super) stats: Stats,
    pub(super) report: EventSender,
    pub(super) stop: CancellationToken,
    pub(super) sessions_max: u64,
    pub(super) pipes_open: Arc<AtomicUsize>,
    pub(super) pipes_max: usize,
    pub(super) tables: Vec<Arc<Table>>,
    /// When each worker last went round, in nanoseconds of the clock.
    pub(super) beats: Vec<AtomicU64>,
}
