//! Bindings on their way into the log: decided once, batched, answered when a majority has them.
//!
//! ```text
//!   workers --bind--> pending (by key) --batch--> one log entry --> committed to all that wait
//!                        ^ a second session of the same client finds the first one's decision
//! ```

use crate::consensus::Consensus;
use crate::consensus::types::Runtime;
use crate::outside::Clock;
use ha_core::command::{Command, Stamped};
use ha_core::dispatch::{Remembered, UnderWay};
use ha_core::stick::{StickEntry, StickKey};
use ha_core::time::Instant;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Bindings in one log entry; an entry stays well below the log store's record bound.
const BATCH_MAX: usize = 1000;
/// Bindings that may be on their way. Above it sessions are forwarded without waiting and counted.
const PENDING_MAX: usize = 65_536;
/// How long a committed binding is remembered here: until every worker's view shows it.
const REMEMBERED: Duration = Duration::from_millis(250);
/// Before a batch that failed is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// Puts bindings into the log for the sessions that ask.
pub struct LogBinder {
    pending: Mutex<Pending>,
    wake: Notify,
    now: fn() -> Instant,
}

#[derive(Default)]
struct Pending {
    by_key: BTreeMap<StickKey, Waiting>,
    queue: VecDeque<StickKey>,
    /// Committed ones in the order in which they are forgotten.
    recent: VecDeque<(Instant, StickKey)>,
}

struct Waiting {
    entry: StickEntry,
    waiters: Vec<oneshot::Sender<()>>,
    /// Since when, once it is.
    committed_at: Option<Instant>,
}

impl Pending {
    fn forget_old(&mut self, now: Instant) {
        while let Some((at, _)) = self.recent.front()
            && now.saturating_since(*at) > REMEMBERED
        {
            // One that was replaced meanwhile was committed at another time.
            if let Some((at, key)) = self.recent.pop_front()
                && self
                    .by_key
                    .get(&key)
                    .is_some_and(|w| w.committed_at == Some(at))
            {
                self.by_key.remove(&key);
            }
        }
    }

    /// Queues an entry; `false` at the bound.
    fn queue(
        &mut self,
        key: StickKey,
        entry: StickEntry,
        waiters: Vec<oneshot::Sender<()>>,
    ) -> bool {
        if self.by_key.len() >= PENDING_MAX {
            return false;
        }
        self.by_key.insert(
            key.clone(),
            Waiting {
                entry,
                waiters,
                committed_at: None,
            },
        );
        self.queue.push_back(key);
        true
    }
}

impl LogBinder {
    /// Nothing pending. `now`: the boot-time clock.
    pub fn new(now: fn() -> Instant) -> Self {
        LogBinder {
            pending: Mutex::default(),
            wake: Notify::new(),
            now,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what is pending into the log, one entry at a time, for as long as the process lives.
    ///
    /// A batch that cannot be committed because this node no longer leads is forgotten: those
    /// sessions have been cut with the lease.
    pub async fn run<R: Runtime>(self: Arc<Self>, consensus: Consensus<R>, clock: Arc<dyn Clock>) {
        loop {
            self.wake.notified().await;
            loop {
                let batch = self.next_batch();
                if batch.is_empty() {
                    break;
                }
                let stamped = Stamped {
                    at: clock.wall(),
                    by: String::new(),
                    command: Command::Bind(batch.clone()),
                    request: None,
                };
                let committed = matches!(consensus.propose(stamped).await, Ok(Ok(_)));
                self.answer(&batch, committed);
                if !committed {
                    clock.sleep(AGAIN).await;
                }
            }
        }
    }

    fn next_batch(&self) -> Vec<(StickKey, StickEntry)> {
        let mut pending = self.lock();
        let n = pending.queue.len().min(BATCH_MAX);
        let keys: Vec<StickKey> = pending.queue.drain(..n).collect();
        keys.into_iter()
            .filter_map(|k| pending.by_key.get(&k).map(|w| (k.clone(), w.entry)))
            .collect()
    }

    fn answer(&self, batch: &[(StickKey, StickEntry)], committed: bool) {
        let mut pending = self.lock();
        let now = (self.now)();
        for (key, _) in batch {
            if !committed {
                pending.by_key.remove(key);
                continue;
            }
            let Some(waiting) = pending.by_key.get_mut(key) else {
                continue;
            };
            waiting.committed_at = Some(now);
            for waiter in waiting.waiters.drain(..) {
                waiter.send(()).ok();
            }
            pending.recent.push_back((now, key.clone()));
        }
    }
}

/// A binding that is decided, and word of when it is safe.
#[derive(Debug)]
pub struct Binding {
    /// The server that the client gets.
    pub entry: StickEntry,
    /// Fires when the binding is committed. Dropped without firing: it never will be.
    pub committed: oneshot::Receiver<()>,
}

impl LogBinder {
    /// Decides the binding of a client that has none, or whose server cannot be used any more: `proposal`, unless
    /// another session of the same key is being bound just now (or was, and the published view does not show it
    /// yet), then that one's. Never waits.
    pub fn bind(&self, key: StickKey, proposal: StickEntry, remembered: Remembered) -> Binding {
        let (tell, committed) = oneshot::channel();
        let mut pending = self.lock();
        pending.forget_old((self.now)());
        if remembered == Remembered::IsReplaced
            && pending
                .by_key
                .get(&key)
                .is_some_and(|w| w.committed_at.is_some())
        {
            pending.by_key.remove(&key);
        }
        if let Some(waiting) = pending.by_key.get_mut(&key) {
            if waiting.committed_at.is_some() {
                tell.send(()).ok();
            } else {
                waiting.waiters.push(tell);
            }
            return Binding {
                entry: waiting.entry,
                committed,
            };
        }
        if pending.queue(key, proposal, vec![tell]) {
            drop(pending);
            self.wake.notify_one();
        }
        Binding {
            entry: proposal,
            committed,
        }
    }

    /// Has a use of a binding recorded. Several calls for one key may come in a row. What is on its way for the key, or
    /// was committed a moment ago, stands before it: whoever asks may not have seen it yet.
    pub fn refresh(&self, key: StickKey, entry: StickEntry) -> Binding {
        self.bind(key, entry, Remembered::Counts)
    }
}

impl UnderWay for LogBinder {
    fn is_under_way(&self, key: &StickKey) -> bool {
        let pending = self.lock();
        let found = pending.by_key.get(key);
        found.is_some_and(|waiting| waiting.committed_at.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_core::id::ServerId;
    use ha_core::time::Timestamp;
    use std::net::IpAddr;

    fn key(n: u8) -> StickKey {
        StickKey {
            group: "g".into(),
            client: IpAddr::from([10, 0, 0, n]),
        }
    }
    fn entry(server: u32) -> StickEntry {
        StickEntry {
            server: ServerId(server),
            host: IpAddr::from([10, 0, 1, 1]),
            bound_at: Timestamp(0),
            used_at: Timestamp(0),
            expire: Duration::from_secs(9),
        }
    }

    #[test]
    fn a_binding_is_under_way_until_it_is_committed_or_never_will_be() {
        let binder = LogBinder::new(|| Instant(0));
        for committed in [true, false] {
            assert!(!binder.is_under_way(&key(1)));
            let _asked = binder.bind(key(1), entry(1), Remembered::IsReplaced);
            assert!(binder.is_under_way(&key(1)) && !binder.is_under_way(&key(2)));
            let batch = binder.next_batch();
            assert!(binder.is_under_way(&key(1)), "proposed");
            binder.answer(&batch, committed);
        }
        assert!(!binder.is_under_way(&key(1)));
    }

    #[test]
    fn the_first_session_of_a_client_decides_for_those_that_come_meanwhile() {
        let binder = LogBinder::new(|| Instant(0));
        let mut first = binder.bind(key(1), entry(1), Remembered::Counts);
        let mut second = binder.bind(key(1), entry(2), Remembered::Counts);
        assert_eq!(second.entry.server, ServerId(1));
        let batch = binder.next_batch();
        assert_eq!(batch.len(), 1);
        let mut while_under_way = binder.bind(key(1), entry(3), Remembered::Counts);
        assert_eq!(while_under_way.entry.server, ServerId(1));
        assert!(first.committed.try_recv().is_err());
        binder.answer(&batch, true);
        for binding in [&mut first, &mut second, &mut while_under_way] {
            assert_eq!(binding.committed.try_recv(), Ok(()));
        }
        let mut right_after = binder.bind(key(1), entry(4), Remembered::Counts);
        assert_eq!(
            right_after.entry.server,
            ServerId(1),
            "the views may not show it yet"
        );
        assert_eq!(right_after.committed.try_recv(), Ok(()));
        binder.lock().forget_old(Instant(10_000_000_000));
        assert_eq!(
            binder
                .bind(key(1), entry(4), Remembered::Counts)
                .entry
                .server,
            ServerId(4),
            "the views know it now"
        );
    }

    #[test]
    fn what_was_committed_a_moment_ago_is_replaced_when_it_was_of_no_use() {
        let binder = LogBinder::new(|| Instant(0));
        binder.bind(key(1), entry(1), Remembered::Counts);
        binder.answer(&binder.next_batch(), true);
        let other = binder.bind(key(1), entry(2), Remembered::IsReplaced);
        assert_eq!(other.entry.server, ServerId(2));
        assert_eq!(binder.next_batch(), [(key(1), entry(2))]);
        let joins = binder.bind(key(1), entry(3), Remembered::IsReplaced);
        assert_eq!(
            joins.entry.server,
            ServerId(2),
            "one that is under way counts"
        );
    }

    #[test]
    fn a_use_is_recorded_unless_a_newer_binding_is_on_its_way_or_was_a_moment_ago() {
        let binder = LogBinder::new(|| Instant(0));
        let used = StickEntry {
            used_at: Timestamp(5),
            ..entry(1)
        };
        let mut first = binder.refresh(key(1), used);
        let mut again = binder.refresh(key(1), used);
        let batch = binder.next_batch();
        assert_eq!(batch, [(key(1), used)], "once");
        binder.answer(&batch, true);
        for use_of_it in [&mut first, &mut again] {
            assert_eq!(use_of_it.committed.try_recv(), Ok(()));
        }
        binder.bind(key(2), entry(2), Remembered::Counts);
        for committed in [false, true] {
            let stale = binder.refresh(key(2), used);
            assert_eq!(stale.entry, entry(2), "committed: {committed}");
            binder.answer(&binder.next_batch(), true);
            assert!(binder.next_batch().is_empty(), "committed: {committed}");
        }
    }

    #[test]
    fn what_is_not_committed_is_not_acknowledged() {
        let binder = LogBinder::new(|| Instant(0));
        let mut binding = binder.bind(key(1), entry(1), Remembered::Counts);
        binder.answer(&binder.next_batch(), false);
        assert_eq!(
            binding.committed.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        );
    }

    #[test]
    fn a_batch_is_bounded() {
        let binder = LogBinder::new(|| Instant(0));
        for n in 0..5000u32 {
            let client = IpAddr::V4((0x0a00_0000 + n).into());
            binder.refresh(
                StickKey {
                    group: "g".into(),
                    client,
                },
                entry(1),
            );
        }
        assert_eq!(binder.next_batch().len(), BATCH_MAX);
    }
}
