//! What is counted per server, per frontend and in all. Shared by the workers, read by the API.
//!
//! Sessions are counted as they happen; bytes arrive in lots from the workers' sweeps, so that no
//! cache line is shared between workers while bytes flow.

use super::clients::{Clients, Limited};
use super::pool::{Line, Pool};
use ha_core::balance::open_to_newcomers;
use ha_core::id::ServerId;
use ha_core::view::Routes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counters of the whole proxy at one moment. Totals count from the start of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyCounters {
    pub servers: BTreeMap<ServerId, ServerCounters>,
    /// Per frontend, by name.
    pub frontends: BTreeMap<String, FrontendCounters>,
    /// Sessions that wait for a slot of whichever server of their backend, by its name.
    pub queued: BTreeMap<String, u32>,
    pub sessions: u64,
    /// Sessions since the agent was started.
    pub total: u64,
    /// New bindings whose session was forwarded before they were committed.
    pub bindings_uncommitted: u64,
    /// Newcomers reset because there were too many sessions or too few file descriptors.
    pub shed: u64,
    /// Newcomers reset because the gate was closed or no frontend is there.
    pub refused: u64,
}

/// The counters of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounters {
    /// Sessions that have a slot now, connecting ones included.
    pub now: u32,
    /// Sessions that got to it since the agent was started.
    pub total: u64,
    /// Sessions that wait for a slot of it and of no other now.
    pub queued: u32,
    /// Bytes from clients; up to 100 ms old.
    pub bytes_in: u64,
    /// Bytes to clients; up to 100 ms old.
    pub bytes_out: u64,
    /// Connects that failed since the agent was started.
    pub connect_errors: u64,
}

/// The counters of a frontend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendCounters {
    pub now: u32,
    /// Sessions since the agent was started.
    pub total: u64,
    /// Connections reset because their client had as many sessions here as it may, and the last such client.
    pub limited: Limited,
}

#[derive(Debug)]
pub(super) struct ServerStats {
    pub(super) pool: Arc<Pool>,
    pub(super) total: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) connect_errors: AtomicU64,
    /// Whether the newest connect failed.
    pub(super) failing: AtomicBool,
}

#[derive(Debug)]
pub(super) struct FrontendStats {
    pub(super) name: String,
    pub(super) pool: Arc<Pool>,
    pub(super) total: AtomicU64,
    pub(super) clients: Arc<Clients>,
}

#[derive(Debug, Default)]
pub(super) struct Stats {
    known: Mutex<Known>,
    /// The gate counts with us.
    pub(super) sessions: Arc<AtomicU64>,
    pub(super) total: AtomicU64,
    pub(super) bindings_uncommitted: AtomicU64,
    pub(super) refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    /// Who waits in each backend.
    lines: BTreeMap<String, Arc<Line>>,
    servers: BTreeMap<ServerId, Arc<ServerStats>>,
    frontends: BTreeMap<String, Arc<FrontendStats>>,
}

/// The stats of one [`Routes`], looked up once when a worker first sees it.
#[derive(Debug, Default)]
pub(super) struct RouteStats {
    pub(super) servers: BTreeMap<ServerId, Arc<ServerStats>>,
    pub(super) frontends: BTreeMap<String, Arc<FrontendStats>>,
}

impl Stats {
    /// Of nothing yet, with sessions counted there.
    pub(super) fn new(sessions: Arc<AtomicU64>) -> Self {
        Stats {
            sessions,
            ..Stats::default()
        }
    }

    /// Finds or makes the stats of all that is in `routes`, and tells the pools their sizes.
    pub(super) fn of_routes(&self, routes: &Routes) -> RouteStats {
        let mut known = self.known();
        let frontends = routes.frontends.iter().map(|f| {
            let stats = known
                .frontends
                .entry(f.spec.name.clone())
                .or_insert_with(|| Arc::new(FrontendStats::named(&f.spec.name)));
            stats.pool.set(f.spec.maxconn, false);
            (f.spec.name.clone(), stats.clone())
        });
        let frontends = frontends.collect();
        let mut servers = BTreeMap::new();
        for b in &routes.backends {
            let line = known.lines.entry(b.name.clone()).or_default().clone();
            let open = open_to_newcomers(b);
            for (i, s) in b.servers.iter().enumerate() {
                let stats = known.servers.entry(s.id);
                let stats = stats.or_insert_with(|| Arc::new(ServerStats::of(line.clone(), s.id)));
                stats.pool.set(s.maxconn, open.contains(&i));
                servers.insert(s.id, stats.clone());
            }
        }
        RouteStats { servers, frontends }
    }

    /// Forgets what is in no configuration and has no session. Who still uses it keeps it alive.
    pub(super) fn forget_all_but(&self, routes: &Routes) {
        let ids: BTreeSet<ServerId> = routes
            .backends
            .iter()
            .flat_map(|b| &b.servers)
            .map(|s| s.id)
            .collect();
        let names: BTreeSet<&str> = routes
            .frontends
            .iter()
            .map(|f| f.spec.name.as_str())
            .collect();
        let mut known = self.known();
        known
            .servers
            .retain(|id, s| ids.contains(id) || Arc::strong_count(s) > 1);
        let backends: BTreeSet<&str> = routes.backends.iter().map(|b| b.name.as_str()).collect();
        known
            .lines
            .retain(|name, l| backends.contains(name.as_str()) || Arc::strong_count(l) > 1);
        known
            .frontends
            .retain(|name, f| names.contains(name.as_str()) || Arc::strong_count(f) > 1);
    }

    /// What is counted now; `shed` is counted elsewhere.
    pub(super) fn counters(&self, shed: u64) -> ProxyCounters {
        let known = self.known();
        ProxyCounters {
            servers: known
                .servers
                .iter()
                .map(|(id, s)| (*id, s.counters()))
                .collect(),
            frontends: known
                .frontends
                .iter()
                .map(|(name, f)| (name.clone(), f.counters()))
                .collect(),
            queued: known
                .lines
                .iter()
                .map(|(name, line)| (name.clone(), line.waiting_for_any()))
                .collect(),
            sessions: self.sessions.load(Relaxed),
            total: self.total.load(Relaxed),
            bindings_uncommitted: self.bindings_uncommitted.load(Relaxed),
            shed,
            refused: self.refused.load(Relaxed),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerStats {
    fn of(line: Arc<Line>, server: ServerId) -> ServerStats {
        ServerStats {
            pool: Pool::new(line, server),
            total: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            connect_errors: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        }
    }

    fn counters(&self) -> ServerCounters {
        ServerCounters {
            now: self.pool.used(),
            total: self.total.load(Relaxed),
            queued: self.pool.waiting(),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            connect_errors: self.connect_errors.load(Relaxed),
        }
    }
}

impl FrontendStats {
    fn named(name: &str) -> FrontendStats {
        FrontendStats {
            name: name.to_owned(),
            // Nobody is told of this number: a frontend's line has this one pool.
            pool: Pool::new(Arc::default(), ServerId(0)),
            total: AtomicU64::new(0),
            clients: Arc::new(Clients::at(name)),
        }
    }

    fn counters(&self) -> FrontendCounters {
        FrontendCounters {
            now: self.pool.used(),
            total: self.total.load(Relaxed),
            limited: self.clients.limited(),
        }
    }
}
