//! Where one node votes alone its own disk decides, and one disk may be lost. So what it acknowledges waits until a
//! second node has it, for as long as one follows closely.
//!
//! ```text
//!   {A}, B follows:  committed on A --B has it--> acknowledged
//!                                   `--B silent for one promise--> acknowledged and counted; not waited for until B is back
//! ```

use super::types::{Runtime, Types};
use crate::outside::Clock;
use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::type_config::alias::WatchReceiverOf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Who lacks no more entries than this follows closely.
const FOLLOWS_WITHIN: u64 = 64;

/// Waits for a second disk, as long as a node follows closely.
#[derive(Debug)]
pub(super) struct SecondDisk {
    within: Duration,
    /// The last entry that was waited for in vain; 0: none was. Who has it by now is waited for again.
    missed: AtomicU64,
    alone: AtomicU64,
}

impl SecondDisk {
    /// `within`: how long one entry waits.
    pub(super) const fn waiting_for(within: Duration) -> Self {
        SecondDisk {
            within,
            missed: AtomicU64::new(0),
            alone: AtomicU64::new(0),
        }
    }

    /// How many entries only one disk had when they were acknowledged.
    pub(super) fn alone(&self) -> u64 {
        self.alone.load(Ordering::Relaxed)
    }

    /// Whether what is acknowledged now is on one disk.
    pub(super) fn is_away<R: Runtime>(&self, m: &RaftMetrics<Types<R>>) -> bool {
        votes_alone(m) && followed_to(m).is_none_or(|upto| !self.is_waited_for(upto))
    }

    fn is_waited_for(&self, upto: u64) -> bool {
        upto >= self.missed.load(Ordering::Relaxed)
    }

    /// Returns when a second node has the entry `index`, or need not be waited for.
    pub(super) async fn wait<R: Runtime>(
        &self,
        clock: &dyn Clock,
        mut metrics: WatchReceiverOf<Types<R>, RaftMetrics<Types<R>>>,
        index: u64,
    ) {
        if !votes_alone(&metrics.borrow_watched()) {
            return;
        }
        let mut timeout = clock.sleep(self.within);
        loop {
            {
                let m = metrics.borrow_watched();
                if !votes_alone(&m) {
                    return;
                }
                match followed_to(&m) {
                    Some(upto) if upto >= index => return,
                    Some(upto) if upto + FOLLOWS_WITHIN >= index && self.is_waited_for(upto) => {}
                    // Nobody, or one that has just come and takes its time.
                    _ => break,
                }
            }
            let changed = tokio::select! {
                biased;
                changed = metrics.changed() => changed.is_ok(),
                () = &mut timeout => false,
            };
            if !changed {
                self.missed.fetch_max(index, Ordering::Relaxed);
                break;
            }
        }
        self.alone.fetch_add(1, Ordering::Relaxed);
    }
}

fn votes_alone<R: Runtime>(m: &RaftMetrics<Types<R>>) -> bool {
    let membership = m.membership_config.membership();
    let sets = membership.get_joint_config();
    // A cluster of one node has no second disk to wait for.
    matches!(sets.as_slice(), [set] if set.len() == 1) && membership.learner_ids().next().is_some()
}

/// How far the node that follows most closely has the log.
fn followed_to<R: Runtime>(m: &RaftMetrics<Types<R>>) -> Option<u64> {
    let membership = m.membership_config.membership();
    let replication = m.replication.as_ref()?;
    membership
        .learner_ids()
        .filter_map(|id| replication.get(&id)?.as_ref().map(|l| l.index))
        .max()
}
