//! Channels to members, made when first used and kept: a handshake for each question would cost more than the question.

use super::channels::{Idle, belief, channel};
use ha_core::id::NodeId;
use ha_trust::store::{Live, TrustStore};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tonic::transport::{Channel, Error};

/// More than there are members; at the bound all are made anew.
const KEPT_MAX: usize = 64;
/// One that was not used for so long is closed, where only questions keep it open.
const UNUSED_MAX: Duration = Duration::from_secs(30);

/// See the module. Connections are on the threads that it is made for, whoever asks.
pub struct KeptChannels {
    trust: Arc<TrustStore>,
    threads: Handle,
    idle: Idle,
    open: Arc<Mutex<Open>>,
}

struct Open {
    /// What was believed and shown when they were made.
    under: Arc<Live>,
    channels: BTreeMap<(NodeId, String), Kept>,
}

struct Kept {
    channel: Channel,
    uses: u64,
}

impl KeptChannels {
    /// None yet. `idle`: what becomes of those on which nothing is asked.
    pub fn new(trust: Arc<TrustStore>, threads: Handle, idle: Idle) -> Self {
        let open = Arc::new(Mutex::new(Open {
            under: trust.live(),
            channels: BTreeMap::new(),
        }));
        KeptChannels {
            trust,
            threads,
            idle,
            open,
        }
    }

    /// The way to that node at that address; connects when it is used, and again when its connection breaks.
    ///
    /// # Errors
    /// An address that is no `host:port`.
    pub fn to(&self, node: NodeId, at: &str) -> Result<Channel, Error> {
        let mut open = lock(&self.open);
        let now = self.trust.live();
        if !Arc::ptr_eq(&open.under, &now) {
            // From now on another certificate is shown. Calls that are under way keep their connection to their end.
            *open = Open {
                under: now,
                channels: BTreeMap::new(),
            };
        }
        let key = (node, at.to_owned());
        if let Some(kept) = open.channels.get_mut(&key) {
            kept.uses += 1;
            return Ok(kept.channel.clone());
        }
        let channel = {
            let _threads = self.threads.enter();
            channel(at, Some(node), belief(&self.trust), self.idle)?
        };
        if open.channels.len() >= KEPT_MAX {
            open.channels.clear();
        }
        let kept = Kept {
            channel: channel.clone(),
            uses: 0,
        };
        open.channels.insert(key.clone(), kept);
        if self.idle == Idle::Closed {
            self.threads.spawn(close_unused(self.open.clone(), key));
        }
        Ok(channel)
    }

    /// Nothing came back by it: the next question has a new one.
    pub fn forget(&self, node: NodeId, at: &str) {
        lock(&self.open).channels.remove(&(node, at.to_owned()));
    }
}

async fn close_unused(open: Arc<Mutex<Open>>, key: (NodeId, String)) {
    let mut before = None;
    loop {
        {
            let mut open = lock(&open);
            let now = open.channels.get(&key).map(|kept| kept.uses);
            if now.is_none() || now == before {
                open.channels.remove(&key);
                return;
            }
            before = now;
        }
        tokio::time::sleep(UNUSED_MAX).await;
    }
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
