//! What a worker does for its sessions from time to time: bytes are counted to their servers, and those that are due are
//! looked at. Only sessions that said something or are due are touched.

use super::table::{Entry, Side};
use super::wheel::{FURTHEST, Look, TICK, Wheel};
use super::worker::Worker;
use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

/// Sessions that are looked at in one turn.
const AT_ONCE: usize = 1024;
/// When a session is looked at first, in milliseconds, if none of its timeouts is shorter.
const FIRST: u32 = 1000;

/// What is to be done for the sessions of one worker.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    wheel: RefCell<Wheel>,
    unsettled: RefCell<Vec<Weak<Entry>>>,
    settled_at: Cell<u32>,
}

impl Worker {
    /// To be called every few milliseconds while there are sessions.
    pub(super) fn sweep(&self) {
        let now = self.coarse();
        let due = self.sweep.wheel.borrow_mut().take_due(now, AT_ONCE);
        if !due.is_empty() {
            let next = self.table.look(&due, now);
            let mut wheel = self.sweep.wheel.borrow_mut();
            next.into_iter().for_each(|look| wheel.put(look));
        }
        if now.wrapping_sub(self.sweep.settled_at.get()) >= TICK {
            self.sweep.settled_at.set(now);
            let said = self.sweep.unsettled.take();
            for entry in said.iter().filter_map(Weak::upgrade) {
                entry.unsettled.store(false, Relaxed);
                entry.settle_bytes();
            }
            self.shared.report.settle();
        }
    }

    /// A session has its server: it is looked at from now on.
    pub(super) fn watch(&self, entry: &Entry, place: usize) {
        self.look_within(entry, place, FIRST.min(entry.shortest_timeout()));
    }

    /// All was said towards that end of a session: what is to come from it may have less time.
    pub(super) fn half_closed(&self, entry: &Entry, place: usize, towards: Side) {
        if let Some(left) = entry.half_closed(towards, self.coarse()) {
            self.look_within(entry, place, left);
        }
    }

    /// Bytes came from that end.
    pub(super) fn count(&self, entry: &Arc<Entry>, from: Side, bytes: usize) {
        entry.count(from, bytes, self.coarse());
        if !entry.unsettled.load(Relaxed) {
            entry.unsettled.store(true, Relaxed);
            self.sweep
                .unsettled
                .borrow_mut()
                .push(Arc::downgrade(entry));
        }
    }

    fn look_within(&self, entry: &Entry, place: usize, left: u32) {
        let due = self.coarse().wrapping_add(left.min(FURTHEST));
        // Places are counted from 0 and there are fewer than descriptors.
        let (place, id) = (place as u32, entry.id);
        entry.look_at(due);
        self.sweep.wheel.borrow_mut().put(Look { place, due, id });
    }
}
