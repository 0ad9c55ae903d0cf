//! How many sessions each client has at a frontend, over all workers; one above its `limit` is not let in.
//!
//! Who has no session is not remembered: there are never more clients here than sessions. The lock is taken when a
//! session begins and ends, and shared with few others: clients are spread over many.

use ha_core::balance::mix;
use ha_core::model::ClientLimit;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Locks that clients are spread over.
const PARTS: usize = 64;
/// That somebody is not let in is in the log once in so long, for each frontend.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Connections that were reset because their client had as many sessions as it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limited {
    pub connections: u64,
    /// Whose the last one was.
    pub last: Option<IpAddr>,
}

/// See the module. Of one frontend.
#[derive(Debug)]
pub(super) struct Clients {
    frontend: String,
    parts: [Mutex<HashMap<IpAddr, u64>>; PARTS],
    limited: AtomicU64,
    last: Mutex<Option<(IpAddr, Instant)>>,
}

impl Clients {
    /// Of the frontend of that name, nobody there.
    pub(super) fn at(frontend: &str) -> Self {
        Clients {
            frontend: frontend.to_owned(),
            parts: std::array::from_fn(|_| Mutex::default()),
            limited: AtomicU64::new(0),
            last: Mutex::default(),
        }
    }
}

/// One session of a client; dropping it ends its count.
#[derive(Debug)]
pub(super) struct Counted {
    clients: Arc<Clients>,
    network: IpAddr,
}

/// It has as many as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Counted {
    /// One more session of `client`, of whom a node that takes `sessions_max` in all has `limit`. `None`: it counts
    /// nobody; a limit that comes later counts from then on.
    ///
    /// # Errors
    /// It has as many as it may; that is counted, and told now and then.
    pub(super) fn of(
        clients: &Arc<Clients>,
        limit: ClientLimit,
        client: IpAddr,
        sessions_max: u64,
    ) -> Result<Option<Counted>, TooMany> {
        let Some(most) = limit.of_node(sessions_max) else {
            return Ok(None);
        };
        let network = limit.network_of(client);
        {
            let mut part = lock(clients.part(network));
            let sessions = part.entry(network).or_default();
            if *sessions < most {
                *sessions += 1;
                let clients = clients.clone();
                return Ok(Some(Counted { clients, network }));
            }
        }
        clients.note_limited(client, most);
        Err(TooMany)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut part = lock(self.clients.part(self.network));
        if let Entry::Occupied(mut sessions) = part.entry(self.network) {
            *sessions.get_mut() -= 1;
            if *sessions.get() == 0 {
                sessions.remove();
            }
        }
    }
}

impl Clients {
    /// What was not let in so far.
    pub(super) fn limited(&self) -> Limited {
        Limited {
            connections: self.limited.load(Relaxed),
            last: lock(&self.last).map(|(client, _)| client),
        }
    }

    fn part(&self, network: IpAddr) -> &Mutex<HashMap<IpAddr, u64>> {
        let bits = match network {
            IpAddr::V4(a) => u64::from(u32::from(a)),
            IpAddr::V6(a) => (u128::from(a) >> 64) as u64 ^ u128::from(a) as u64,
        };
        &self.parts[mix(bits) as usize % PARTS]
    }

    fn note_limited(&self, client: IpAddr, most: u64) {
        let all = self.limited.fetch_add(1, Relaxed) + 1;
        let now = now();
        let mut last = lock(&self.last);
        let is_news = last.is_none_or(|(_, told)| now - told >= TOLD_EVERY);
        let told = last.map_or(now, |(_, told)| if is_news { now } else { told });
        *last = Some((client, told));
        drop(last);
        if is_news {
            tracing::warn!(frontend = %self.frontend, %client, most, all, "connections of a client that has as many sessions as it may are reset");
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "how often something is told, nothing is decided by it"
)]
fn now() -> Instant {
    Instant::now()
}

/// What is kept is whole between two changes.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
