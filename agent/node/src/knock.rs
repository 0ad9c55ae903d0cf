//! Whom this node hears, beside the leader: it asks the other voters now and then whether they are there.
//!
//! A leader that does not hear a voter asks itself whether the voter is dead or the link to it. Only if nobody else hears
//! it either may it lose its vote: else a bad link would cost the failover that the others could have given. A knock is a
//! `Lease` of term 0, which no voter promises itself to; any answer will do.

use crate::consensus::Consensus;
use crate::consensus::types::Runtime;
use crate::outside::{Addressee, Call, Outside};
use ha_core::controller::RaftRole;
use ha_core::id::NodeId;
use ha_core::lease::Lease;
use ha_core::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two knocks at the same door.
pub const KNOCK_EVERY: Duration = Duration::from_secs(2);
/// A voter that has not answered for so many knocks is not heard.
const UNHEARD_AFTER: u32 = 3;

/// When each of the other voters answered last, or was first asked.
#[derive(Clone, Default)]
pub(crate) struct Knocks(Arc<Mutex<BTreeMap<NodeId, Instant>>>);

impl Knocks {
    /// Voters that do not answer.
    pub(crate) fn unheard(&self, now: Instant, every: Duration) -> BTreeSet<NodeId> {
        let silent = |at: &Instant| now.saturating_since(*at) >= every * UNHEARD_AFTER;
        let known = self.lock();
        known
            .iter()
            .filter(|(_, at)| silent(at))
            .map(|(n, _)| *n)
            .collect()
    }

    /// Asks until the node ends.
    pub(crate) async fn run<R: Runtime>(
        self,
        consensus: Consensus<R>,
        outside: Outside,
        every: Duration,
    ) {
        loop {
            self.ask(&consensus, &outside, every);
            outside.clock.sleep(every).await;
        }
    }

    fn ask<R: Runtime>(&self, consensus: &Consensus<R>, outside: &Outside, every: Duration) {
        let (news, me, now) = (consensus.news(), consensus.me(), outside.clock.now());
        // Who leads hears all of them several times a second, and is heard.
        let asks = news.role != RaftRole::Leader && news.votes(me);
        let others: BTreeSet<NodeId> = news
            .voters
            .iter()
            .flatten()
            .copied()
            .filter(|n| asks && *n != me && Some(*n) != news.leader)
            .collect();
        {
            let mut known = self.lock();
            known.retain(|n, _| others.contains(n));
            for n in &others {
                known.entry(*n).or_insert(now);
            }
        }
        let knock = Lease { term: 0, sent: now };
        for node in others {
            let Some(at) = news.addresses.get(&node).cloned() else {
                continue;
            };
            let Ok(body) = consensus.versions().tell(node, &knock) else {
                continue;
            };
            let asking = outside
                .peers
                .call(Addressee { node, at }, Call::Lease, body, every);
            let (known, clock) = (self.clone(), outside.clock.clone());
            let task = async move {
                if asking.await.is_ok()
                    && let Some(at) = known.lock().get_mut(&node)
                {
                    *at = clock.now();
                }
            };
            outside.tasks.spawn("knock", Box::pin(task));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
