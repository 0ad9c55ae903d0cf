//! Slots of servers and frontends, shared by all workers: exact, and given to the oldest that may use them.
//!
//! ```text
//!   acquire --free, nobody waits--> Slot ------drop------> the oldest that may use it, else free
//!       \-----room in the queue---> Waiting --its turn--> Slot
//!        \----------no room-------> Full
//! ```
//!
//! A backend has one [`Line`], and each of its servers a [`Pool`]. While nobody waits, a slot is taken and given back by
//! counting alone. Who waits says so first and then looks once more; who gives back counts first and then looks
//! whether somebody waits: so one of the two sees the other, on whichever workers they are. Who gets a slot is decided
//! by `ha_core::waiters`. How long somebody waits is the caller's affair.

use ha_core::id::ServerId;
use ha_core::waiters::{Queue, Waiters};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// Places in the line that were left and are kept until they outnumber those who wait by so many.
const LEFT_MAX: usize = 64;

/// Those who wait for slots of one backend, or of one frontend.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiters: Mutex<Waiters<oneshot::Sender<Slot>>>,
    /// How many wait, those for a certain server included.
    waiting: AtomicU32,
    /// Those of them whom any server will do.
    for_any: AtomicU32,
}

/// The slots of one server or frontend.
#[derive(Debug)]
pub(super) struct Pool {
    line: Arc<Line>,
    server: ServerId,
    /// 0: as many as come.
    max: AtomicU32,
    /// Whether clients that belong to no server may have a slot.
    open: AtomicBool,
    used: AtomicU32,
    waiting: AtomicU32,
}

/// One slot; dropping it gives it to the next in line.
#[derive(Debug)]
pub(super) struct Slot(Option<Arc<Pool>>);

/// A place in the line. Dropping it leaves the line.
#[derive(Debug)]
pub(super) struct Waiting {
    line: Arc<Line>,
    /// `None`: any will do.
    pool: Option<Arc<Pool>>,
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

impl Line {
    /// Sessions whom any server will do.
    pub(super) fn waiting_for_any(&self) -> u32 {
        self.for_any.load(SeqCst)
    }

    /// A slot of one of these pools, all of this line, or a place in the line. `except`: servers of which a slot that is
    /// freed later will not do.
    pub(super) fn acquire_any<'p>(
        self: &Arc<Line>,
        pools: impl Iterator<Item = &'p Arc<Pool>>,
        except: Vec<ServerId>,
    ) -> Acquired {
        let mut waiters = self.waiters();
        let place = self.enter(&mut waiters, Queue::Backend { except }, None);
        for pool in pools {
            pool.hand_out(&mut waiters);
        }
        drop(waiters);
        place.look()
    }

    fn enter(
        self: &Arc<Line>,
        waiters: &mut Waiters<oneshot::Sender<Slot>>,
        queue: Queue,
        pool: Option<Arc<Pool>>,
    ) -> Waiting {
        // Places that were left stay until their turn; without this they could pile up behind a slot that is never given back.
        if waiters.len() > 2 * self.waiting.load(SeqCst) as usize + LEFT_MAX {
            waiters.forget(oneshot::Sender::is_closed);
        }
        let (sender, turn) = oneshot::channel();
        waiters.push(queue, sender);
        let of_queue = pool.as_ref().map_or(&self.for_any, |p| &p.waiting);
        of_queue.fetch_add(1, SeqCst);
        self.waiting.fetch_add(1, SeqCst);
        Waiting {
            line: self.clone(),
            pool,
            turn,
        }
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters<oneshot::Sender<Slot>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Without bound, and closed to those who belong to no server.
    pub(super) fn new(line: Arc<Line>, server: ServerId) -> Arc<Pool> {
        Arc::new(Pool {
            line,
            server,
            max: AtomicU32::new(0),
            open: AtomicBool::new(false),
            used: AtomicU32::new(0),
            waiting: AtomicU32::new(0),
        })
    }

    pub(super) fn used(&self) -> u32 {
        self.used.load(SeqCst)
    }

    /// Sessions in line for a slot of this pool and no other.
    pub(super) fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// Whose slots these are.
    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// Sets how many slots there are (0: as many as come) and whether clients that belong to no server may have one.
    /// More slots go to who waits, fewer take nobody's away.
    pub(super) fn set(self: &Arc<Pool>, max: u32, open: bool) {
        self.max.store(max, SeqCst);
        self.open.store(open, SeqCst);
        self.serve_the_line();
    }

    /// A slot, or a place in a line of at most `longest` (0: as many as come).
    pub(super) fn acquire(self: &Arc<Pool>, longest: u32) -> Acquired {
        if self.line.waiting.load(SeqCst) == 0 && self.take() {
            return Acquired::Now(Slot(Some(self.clone())));
        }
        let mut waiters = self.line.waiters();
        self.hand_out(&mut waiters);
        if longest > 0 && self.waiting() >= longest {
            return if self.take() {
                Acquired::Now(Slot(Some(self.clone())))
            } else {
                Acquired::Full
            };
        }
        let queue = Queue::Server(self.server);
        let place = self.line.enter(&mut waiters, queue, Some(self.clone()));
        self.hand_out(&mut waiters);
        drop(waiters);
        place.look()
    }

    fn take(&self) -> bool {
        let max = self.max.load(SeqCst);
        let one_more = |used: u32| (max == 0 || used < max).then_some(used + 1);
        self.used.fetch_update(SeqCst, SeqCst, one_more).is_ok()
    }

    fn serve_the_line(self: &Arc<Pool>) {
        if self.line.waiting.load(SeqCst) > 0 {
            self.hand_out(&mut self.line.waiters());
        }
    }

    /// Gives free slots to those who wait, the oldest first.
    fn hand_out(self: &Arc<Pool>, waiters: &mut Waiters<oneshot::Sender<Slot>>) {
        while !waiters.is_empty() && self.take() {
            let open = self.open.load(SeqCst);
            loop {
                let Some(turn) = waiters.next(self.server, open, oneshot::Sender::is_closed) else {
                    // Who found no slot because of this one waits for the lock that is held here, and looks again.
                    self.used.fetch_sub(1, SeqCst);
                    return;
                };
                match turn.send(Slot(Some(self.clone()))) {
                    Ok(()) => break,
                    // It has just left. Disarmed: the slot's drop would want the lock that is held here.
                    Err(mut refused) => refused.0 = None,
                }
            }
        }
    }
}

impl Slot {
    /// Of which server; a frontend's is of none.
    pub(super) fn server(&self) -> Option<ServerId> {
        self.0.as_ref().map(|pool| pool.server)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(pool) = self.0.take() else { return };
        pool.used.fetch_sub(1, SeqCst);
        pool.serve_the_line();
    }
}

impl Waiting {
    /// Whether the turn has come already.
    fn look(mut self) -> Acquired {
        match self.turn.try_recv() {
            Ok(slot) => Acquired::Now(slot),
            Err(_) => Acquired::Later(self),
        }
    }
}

impl Future for Waiting {
    type Output = Slot;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Slot> {
        match Pin::new(&mut self.turn).poll(cx) {
            Poll::Ready(Ok(slot)) => Poll::Ready(slot),
            // A sender is dropped only when its turn was left or its line is gone; this one has neither happen to it.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let of_queue = self
            .pool
            .as_ref()
            .map_or(&self.line.for_any, |p| &p.waiting);
        of_queue.fetch_sub(1, SeqCst);
        self.line.waiting.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests;
