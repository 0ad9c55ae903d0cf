//! What the threads hand to each other: desks, events, the plan.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use super::clock::boot_now;
use super::parking::Parking;
use super::place::Plan;
use crate::types::{ActiveFence, VipEvent, VipSettings};

/// The same failure is told again only after this.
const REPEAT: Duration = Duration::from_secs(5);
/// More different failures than this within that time are not told.
const MAX_TOLD: usize = 64;

/// A value that one thread waits on and others change. Locked only to copy in or out.
#[derive(Debug, Default)]
pub(super) struct Desk<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Desk<T> {
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `take` gives something, at most `patience`.
    pub(super) fn wait<R>(
        &self,
        patience: Duration,
        mut take: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let end = boot_now() + patience;
        let mut value = self.lock();
        loop {
            if let Some(result) = take(&mut value) {
                return Some(result);
            }
            let left = end.saturating_sub(boot_now());
            if left.is_zero() {
                return None;
            }
            value = self
                .changed
                .wait_timeout(value, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        // Nothing is left half changed where a holder of the lock could panic.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every thread can reach.
pub(super) struct Shared {
    pub(super) settings: VipSettings,
    pub(super) fence: ActiveFence,
    pub(super) lease: Desk<super::fence_thread::FenceOrders>,
    pub(super) address: Desk<super::address_thread::AddressOrders>,
    pub(super) tables: Desk<super::tables_thread::TableOrders>,
    pub(super) parking: Parking,
    pub(super) plan: Mutex<Arc<Plan>>,
    pub(super) carrier: AtomicBool,
    pub(super) stopping: AtomicBool,
    events: Sender<VipEvent>,
    told: Mutex<BTreeMap<String, Duration>>,
}

impl Shared {
    pub(super) fn new(
        settings: VipSettings,
        fence: ActiveFence,
        events: Sender<VipEvent>,
        parking: Parking,
    ) -> Self {
        Self {
            settings,
            fence,
            lease: Desk::default(),
            address: Desk::default(),
            tables: Desk::default(),
            parking,
            plan: Mutex::default(),
            carrier: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            events,
            told: Mutex::default(),
        }
    }

    /// Tells the agent; never waits.
    pub(super) fn tell(&self, event: VipEvent) {
        if let Err(error) = self.events.try_send(event) {
            tracing::debug!(%error, "virtual IP event lost");
        }
    }

    /// Tells the agent of a failure, the same words at most every 5 s.
    pub(super) fn fail(&self, what: String) {
        let now = boot_now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now.saturating_sub(*at) < REPEAT);
        if told.len() < MAX_TOLD && !told.contains_key(&what) {
            told.insert(what.clone(), now);
            drop(told);
            self.tell(VipEvent::Failed { what });
        }
    }

    pub(super) fn plan(&self) -> Arc<Plan> {
        self.plan
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_plan(&self, plan: Plan) {
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
