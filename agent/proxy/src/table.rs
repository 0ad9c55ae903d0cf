//! The sessions of one worker, and the handle that ends each of them.
//!
//! The worker writes; the API reads. The lock is taken when a session starts or ends, for those that are due for a look,
//! and by whoever asks for a list, a part at a time; never per byte.

use super::entry::{Entry, SessionFilter, SessionInfo};
use super::wheel::Look;
use ha_core::close::CloseReason;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::AbortHandle;

/// Places that are searched before others have the lock.
const LISTED_AT_ONCE: usize = 1024;

/// The sessions of one worker.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Mutex<Slots>,
    len: AtomicUsize,
}

#[derive(Debug, Default)]
struct Slots {
    live: Vec<Option<(Arc<Entry>, AbortHandle)>>,
    free: Vec<usize>,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// Adds a session; `spawn` is told its place and starts its task, which must not run before this returns.
    pub(super) fn insert(&self, entry: Arc<Entry>, spawn: impl FnOnce(usize) -> AbortHandle) {
        let mut slots = self.slots();
        let place = slots.free.pop().unwrap_or_else(|| {
            slots.live.push(None);
            slots.live.len() - 1
        });
        slots.live[place] = Some((entry, spawn(place)));
        self.len.fetch_add(1, Relaxed);
    }

    pub(super) fn remove(&self, place: usize) {
        let mut slots = self.slots();
        if slots.live.get_mut(place).and_then(Option::take).is_some() {
            slots.free.push(place);
            self.len.fetch_sub(1, Relaxed);
        }
    }

    /// Ends every session for which there is a reason. Their tasks are dropped soon after, on their worker.
    pub(super) fn cut(&self, reason: impl Fn(&Entry) -> Option<CloseReason>) {
        for (entry, task) in self.slots().live.iter().flatten() {
            if let Some(reason) = reason(entry) {
                entry.end(reason, task);
            }
        }
    }

    /// Looks at the sessions that are due and ends those that were idle too long. When the others are looked at next.
    pub(super) fn look(&self, due: &[Look], now: u32) -> Vec<Look> {
        let slots = self.slots();
        let find = |look: &Look| {
            let (entry, task) = slots.live.get(look.place as usize)?.as_ref()?;
            let meant = entry.id == look.id && entry.wants(look.due);
            let (place, id) = meant.then_some((look.place, look.id))?;
            match entry.look(now) {
                Ok(after) => {
                    let due = now.wrapping_add(after);
                    entry.look_at(due);
                    Some(Look { place, due, id })
                }
                Err(reason) => {
                    entry.end(reason, task);
                    None
                }
            }
        };
        due.iter().filter_map(find).collect()
    }

    /// Adds the sessions that match to `found`, up to `limit` in all, and says how many match.
    pub(super) fn find(
        &self,
        filter: &SessionFilter,
        limit: usize,
        found: &mut Vec<SessionInfo>,
    ) -> usize {
        let (mut matching, mut from) = (0, 0);
        loop {
            let slots = self.slots();
            let Some(places) = slots.live.get(from..).filter(|places| !places.is_empty()) else {
                break;
            };
            let some = places.iter().take(LISTED_AT_ONCE).flatten();
            for (entry, _) in some.filter(|(e, _)| e.matches(filter)) {
                matching += 1;
                if found.len() < limit {
                    found.push(entry.info());
                }
            }
            from += LISTED_AT_ONCE;
        }
        matching
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
