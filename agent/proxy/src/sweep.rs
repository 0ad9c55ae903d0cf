//! What a worker does for its sessions from time to time: bytes are counted to their servers, and those that are due are
//! looked at. Only sessions that said something or are due are touched.

use super::entry::{Entry, Side};
use super::table::Table;
use super::wheel::{FURTHEST, Look, TICK, Wheel};
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

impl Sweep {
    /// To be called every few milliseconds while there are sessions. `now`: the worker's coarse time, here and below.
    pub(super) fn turn(&self, table: &Table, now: u32) {
        let due = self.wheel.borrow_mut().take_due(now, AT_ONCE);
        if !due.is_empty() {
            let next = table.look(&due, now);
            let mut wheel = self.wheel.borrow_mut();
            next.into_iter().for_each(|look| wheel.put(look));
        }
        if now.wrapping_sub(self.settled_at.get()) >= TICK {
            self.settled_at.set(now);
            let said = self.unsettled.take();
            for entry in said.iter().filter_map(Weak::upgrade) {
                entry.unsettled.store(false, Relaxed);
                entry.settle_bytes();
            }
        }
    }

    /// A session has its server: it is looked at from now on.
    pub(super) fn watch(&self, entry: &Entry, place: usize, now: u32) {
        self.look_within(entry, place, FIRST.min(entry.shortest_timeout()), now);
    }

    /// All was said towards that end of a session: what is to come from it may have less time.
    pub(super) fn half_closed(&self, entry: &Entry, place: usize, towards: Side, now: u32) {
        if let Some(left) = entry.half_closed(towards, now) {
            self.look_within(entry, place, left, now);
        }
    }

    /// Bytes came from that end.
    pub(super) fn count(&self, entry: &Arc<Entry>, from: Side, bytes: usize, now: u32) {
        entry.count(from, bytes, now);
        if !entry.unsettled.load(Relaxed) {
            entry.unsettled.store(true, Relaxed);
            self.unsettled.borrow_mut().push(Arc::downgrade(entry));
        }
    }

    fn look_within(&self, entry: &Entry, place: usize, left: u32, now: u32) {
        let due = now.wrapping_add(left.min(FURTHEST));
        entry.look_at(due);
        self.wheel.borrow_mut().put(Look {
            // There are fewer places than descriptors.
            place: place as u32,
            due,
            id: entry.id,
        });
    }
}
