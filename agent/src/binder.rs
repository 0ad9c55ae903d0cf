//! Bindings on their way into the log: decided once, batched, answered when a majority has them.
//!
//! ```text
//!   workers --bind--> pending (by key) --batch--> one log entry --> committed to all that wait
//!                        ^ a second session of the same client finds the first one's decision
//! ```

use crate::consensus::Consensus;
use crate::proxy::{Binder, Binding};
use crate::world::World;
use ha_core::command::{Command, Stamped};
use ha_core::stick::{StickEntry, StickKey};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Bindings in one log entry; an entry stays well below the log store's record bound.
const BATCH_MAX: usize = 1000;
/// Bindings that may be on their way. Above it sessions are forwarded without waiting and counted.
const PENDING_MAX: usize = 65_536;
/// Before a batch that failed is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Default)]
pub struct LogBinder {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Default)]
struct Pending {
    by_key: BTreeMap<StickKey, Waiting>,
    queue: VecDeque<StickKey>,
}

struct Waiting {
    entry: StickEntry,
    waiters: Vec<oneshot::Sender<()>>,
}

impl LogBinder {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts what is pending into the log, one entry at a time, for as long as the process lives.
    ///
    /// A batch that cannot be committed because this node no longer leads is forgotten: those
    /// sessions have been cut with the lease.
    pub async fn run<W: World>(self: Arc<Self>, consensus: Consensus<W>, world: Arc<W>) {
        loop {
            self.wake.notified().await;
            loop {
                let batch = self.next_batch();
                if batch.is_empty() {
                    break;
                }
                let stamped = Stamped { at: world.wall(), by: String::new(), command: Command::Bind(batch.clone()) };
                let committed = matches!(consensus.propose(stamped).await, Ok(Ok(_)));
                self.answer(&batch, committed);
                if !committed {
                    world.sleep(AGAIN).await;
                }
            }
        }
    }

    fn next_batch(&self) -> Vec<(StickKey, StickEntry)> {
        let mut pending = self.lock();
        let n = pending.queue.len().min(BATCH_MAX);
        let keys: Vec<StickKey> = pending.queue.drain(..n).collect();
        keys.into_iter().filter_map(|k| pending.by_key.get(&k).map(|w| (k.clone(), w.entry))).collect()
    }

    fn answer(&self, batch: &[(StickKey, StickEntry)], committed: bool) {
        let mut pending = self.lock();
        for (key, _) in batch {
            let Some(waiting) = pending.by_key.remove(key) else { continue };
            if committed {
                for waiter in waiting.waiters {
                    waiter.send(()).ok();
                }
            }
        }
    }
}

impl Binder for LogBinder {
    fn bind(&self, key: StickKey, proposal: StickEntry) -> Binding {
        let (tell, committed) = oneshot::channel();
        let mut pending = self.lock();
        if let Some(waiting) = pending.by_key.get_mut(&key) {
            waiting.waiters.push(tell);
            return Binding { entry: waiting.entry, committed };
        }
        if pending.by_key.len() < PENDING_MAX {
            pending.by_key.insert(key.clone(), Waiting { entry: proposal, waiters: vec![tell] });
            pending.queue.push_back(key);
            drop(pending);
            self.wake.notify_one();
        }
        Binding { entry: proposal, committed }
    }

    fn refresh(&self, key: StickKey, entry: StickEntry) {
        let mut pending = self.lock();
        if !pending.by_key.contains_key(&key) && pending.by_key.len() < PENDING_MAX {
            pending.by_key.insert(key.clone(), Waiting { entry, waiters: Vec::new() });
            pending.queue.push_back(key);
            drop(pending);
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_core::id::ServerId;
    use ha_core::time::Timestamp;
    use std::net::IpAddr;

    fn key(n: u8) -> StickKey {
        StickKey { group: "g".into(), client: IpAddr::from([10, 0, 0, n]) }
    }
    fn entry(server: u32) -> StickEntry {
        StickEntry { server: ServerId(server), host: IpAddr::from([10, 0, 1, 1]), bound_at: Timestamp(0), used_at: Timestamp(0), expire: Duration::from_secs(9) }
    }

    #[test]
    fn the_first_session_of_a_client_decides_for_those_that_come_meanwhile() {
        let binder = LogBinder::default();
        let mut first = binder.bind(key(1), entry(1));
        let mut second = binder.bind(key(1), entry(2));
        assert_eq!(second.entry.server, ServerId(1));
        let batch = binder.next_batch();
        assert_eq!(batch.len(), 1);
        let mut while_under_way = binder.bind(key(1), entry(3));
        assert_eq!(while_under_way.entry.server, ServerId(1));
        assert!(first.committed.try_recv().is_err());
        binder.answer(&batch, true);
        for binding in [&mut first, &mut second, &mut while_under_way] {
            assert_eq!(binding.committed.try_recv(), Ok(()));
        }
        assert_eq!(binder.bind(key(1), entry(4)).entry.server, ServerId(4), "the log knows it now");
    }

    #[test]
    fn what_is_not_committed_is_not_acknowledged() {
        let binder = LogBinder::default();
        let mut binding = binder.bind(key(1), entry(1));
        binder.answer(&binder.next_batch(), false);
        assert_eq!(binding.committed.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn a_batch_is_bounded() {
        let binder = LogBinder::default();
        for n in 0..5000u32 {
            let client = IpAddr::V4((0x0a00_0000 + n).into());
            binder.refresh(StickKey { group: "g".into(), client }, entry(1));
        }
        assert_eq!(binder.next_batch().len(), BATCH_MAX);
    }
}
