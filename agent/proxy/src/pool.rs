//! Slots of one server or frontend, shared by all workers: exact, first come first served, bounded.
//!
//! ```text
//!   acquire --free, nobody waits--> Slot ------drop------> next in line, else free
//!       \-----room in the queue---> Waiting --its turn--> Slot
//!        \----------no room-------> Full
//! ```
//!
//! Taken and given back once per session, never per byte. How long somebody waits is the caller's affair.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// The slots.
#[derive(Debug, Default)]
pub(super) struct Pool {
    line: Mutex<Line>,
    used: AtomicU32,
    waiting: AtomicU32,
}

#[derive(Debug, Default)]
struct Line {
    max: u32,
    used: u32,
    queue: VecDeque<oneshot::Sender<Slot>>,
}

/// One slot; dropping it gives it to the next in line.
#[derive(Debug)]
pub(super) struct Slot(Option<Arc<Pool>>);

/// A place in the line. Dropping it leaves the line.
#[derive(Debug)]
pub(super) struct Waiting {
    pool: Arc<Pool>,
    turn: oneshot::Receiver<Slot>,
}

/// What came of asking for a slot.
#[derive(Debug)]
pub(super) enum Acquired {
    Now(Slot),
    Later(Waiting),
    /// As many wait as may.
    Full,
}

impl Pool {
    /// Slots in use.
    pub(super) fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// Sessions in line.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Sets how many slots there are; 0 = unlimited. More slots go to who waits, fewer take nobody's away.
    pub(super) fn set_max(self: &Arc<Pool>, max: u32) {
        let mut line = self.line();
        line.max = max;
        self.hand_out(&mut line);
    }

    /// A slot, or a place in a line of at most `queue_max` (0 = unlimited).
    pub(super) fn acquire(self: &Arc<Pool>, queue_max: u32) -> Acquired {
        let mut line = self.line();
        if line.has_room() && self.nobody_waits(&mut line) {
            return Acquired::Now(self.take(&mut line));
        }
        if queue_max > 0 && self.waiting() >= queue_max {
            return Acquired::Full;
        }
        // Places that were left stay in the queue until their turn; without this they could pile up behind a slot that is never given back.
        if line.queue.len() > 2 * self.waiting() as usize + 64 {
            line.queue.retain(|turn| !turn.is_closed());
        }
        let (sender, turn) = oneshot::channel();
        line.queue.push_back(sender);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Acquired::Later(Waiting {
            pool: self.clone(),
            turn,
        })
    }

    fn take(self: &Arc<Pool>, line: &mut Line) -> Slot {
        line.used += 1;
        self.used.store(line.used, Ordering::Relaxed);
        Slot(Some(self.clone()))
    }

    fn nobody_waits(&self, line: &mut Line) -> bool {
        while line.queue.front().is_some_and(oneshot::Sender::is_closed) {
            line.queue.pop_front();
        }
        line.queue.is_empty()
    }

    fn hand_out(self: &Arc<Pool>, line: &mut Line) {
        while line.has_room() {
            let Some(turn) = line.queue.pop_front() else {
                return;
            };
            let slot = self.take(line);
            if let Err(mut refused) = turn.send(slot) {
                // Disarmed: its drop would want the lock that is held here.
                refused.0 = None;
                line.used -= 1;
                self.used.store(line.used, Ordering::Relaxed);
            }
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    const fn has_room(&self) -> bool {
        self.max == 0 || self.used < self.max
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(pool) = self.0.take() else { return };
        let mut line = pool.line();
        line.used -= 1;
        pool.used.store(line.used, Ordering::Relaxed);
        pool.hand_out(&mut line);
    }
}

impl Future for Waiting {
    type Output = Slot;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Slot> {
        match Pin::new(&mut self.turn).poll(cx) {
            Poll::Ready(Ok(slot)) => Poll::Ready(slot),
            // A sender is dropped only when its turn was left or its pool is gone; this one has neither happen to it.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pool.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(pool: &Arc<Pool>) -> Slot {
        match pool.acquire(0) {
            Acquired::Now(slot) => slot,
            other => panic!("{other:?}"),
        }
    }

    fn later(pool: &Arc<Pool>) -> Waiting {
        match pool.acquire(0) {
            Acquired::Later(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    }

    fn ready(waiting: &mut Waiting) -> Option<Slot> {
        waiting.turn.try_recv().ok()
    }

    #[test]
    fn slots_go_to_who_waits_in_order_and_past_who_left() {
        let pool = Arc::new(Pool::default());
        pool.set_max(1);
        let slot = now(&pool);
        let (mut first, left, mut third) = (later(&pool), later(&pool), later(&pool));
        assert_eq!((pool.used(), pool.waiting()), (1, 3));
        drop(left);
        drop(slot);
        let slot = ready(&mut first).expect("first in line");
        assert!(ready(&mut third).is_none());
        drop(slot);
        let slot = ready(&mut third).expect("second left");
        drop((first, third));
        assert_eq!((pool.used(), pool.waiting()), (1, 0));
        drop(slot);
        assert_eq!(pool.used(), 0);
    }

    #[test]
    fn a_slot_given_to_who_then_leaves_is_not_lost() {
        let pool = Arc::new(Pool::default());
        pool.set_max(1);
        let slot = now(&pool);
        let waiting = later(&pool);
        drop(slot);
        drop(waiting);
        assert_eq!(pool.used(), 0);
        drop(now(&pool));
    }

    #[test]
    fn the_line_is_bounded_and_more_slots_shorten_it() {
        let pool = Arc::new(Pool::default());
        pool.set_max(1);
        let _slot = now(&pool);
        let mut waiting = later(&pool);
        assert!(matches!(pool.acquire(1), Acquired::Full));
        pool.set_max(2);
        assert!(ready(&mut waiting).is_some());
    }

    #[test]
    fn without_a_maximum_there_is_always_a_slot() {
        let pool = Arc::new(Pool::default());
        let all: Vec<Slot> = (0..1000).map(|_| now(&pool)).collect();
        assert_eq!(pool.used(), 1000);
        drop(all);
        assert_eq!(pool.used(), 0);
    }
}
