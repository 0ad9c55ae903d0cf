//! The TCP data plane: takes clients' connections and carries their bytes to a server, while this node
//! may answer for the virtual IP.
//!
//! Owns sockets, sessions, slots and counters. Leaves to others: which servers there are and how they
//! feel (the [`View`]), which one is right and what comes next (`ha_core::dispatch`), who is bound to whom ([`Binder`]),
//! how long this node may serve ([`WatchedGate`]), and the addresses themselves (`ha-address`).
//!
//! ```text
//!               WatchedGate (until when)        View (to whom)        Binder (who belongs to whom)
//!                  |                        |                        |
//!   clients --> accept --> frontend? --> session: reach --> connect --> carry <--> server
//!                  |          no: reset     |      | slot, queue             both ways, half-close
//!                  +-- one worker per core; a session lives and dies on its worker
//! ```
//!
//! Bounds: sessions (`sessions_max`, and `limit` of each client, above which newcomers are reset), slots and queues of servers and
//! frontends (`maxconn`, `maxqueue`), pipes (a share of the open files), events (a bounded channel).

mod binder;
mod clients;
mod entry;
mod gate;
mod health;
#[cfg(target_os = "linux")]
mod linux;
mod pool;
mod report;
mod run;
mod settings;
mod shared;
mod stats;
mod sweep;
mod table;
mod tcp;

mod wheel;
mod worker;

pub use binder::{Binder, Binding};
pub use clients::Limited;
pub use entry::{SessionFilter, SessionInfo};
pub use gate::WatchedGate;
pub use report::ProxyEvent;
pub use settings::{Clock, ProxyError, ProxySettings, Reach};
pub use stats::{FrontendCounters, ProxyCounters, ServerCounters};

#[cfg(target_os = "linux")]
pub(crate) use linux as platform;

use ha_core::view::View;
use health::Health;
use platform::sockets as sys;
use report::EventSender;
use run::Start;
use shared::Shared;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tcp::accept::Arrival;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// More workers than this are not started.
const WORKERS_MAX: usize = 64;
/// Descriptors left to the rest of the agent when `sessions_max` is derived.
const FILES_FOR_OTHERS: u64 = 256;
/// How long [`Proxy::shutdown`] waits for the workers.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// The running data plane. Dropping it stops it without waiting; see [`Proxy::shutdown`].
pub struct Proxy {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Behind a lock only so that the proxy can be shared; nobody waits for it.
    ended: Mutex<std_mpsc::Receiver<usize>>,
    health: Health,
}

impl Proxy {
    /// Starts the workers. Serves nobody until the gate opens.
    ///
    /// Errors: a transparent listener or a worker cannot be made. Listeners of [`Reach::Bind`] are opened
    /// later and their failures are told as [`ProxyEvent::BindFailed`].
    pub fn start(
        settings: ProxySettings,
        view: watch::Receiver<Arc<View>>,
        gate: Arc<WatchedGate>,
        binder: Arc<dyn Binder>,
        clock: Clock,
        events: mpsc::Sender<ProxyEvent>,
    ) -> Result<Proxy, ProxyError> {
        let workers = settings.workers.clamp(1, WORKERS_MAX);
        let limits = Limits::of_open_files(sys::raise_open_files()?);
        let shared = Arc::new(Shared {
            intercepts: settings.reach != Reach::Bind,
            clock,
            stats: stats::Stats::new(gate.counter()),
            gate,
            binder,
            report: EventSender::new(events, clock),
            stop: CancellationToken::new(),
            sessions_max: if settings.sessions_max > 0 {
                settings.sessions_max as u64
            } else {
                limits.sessions
            },
            pipes_open: Arc::default(),
            pipes_max: limits.pipes,
            tables: (0..workers).map(|_| Arc::default()).collect(),
            beats: (0..workers).map(|_| Default::default()).collect(),
        });
        let (publish, common) = watch::channel(Arc::default());
        let mut publish = Some(publish).filter(|_| settings.reach == Reach::Bind);
        let (ended_here, ended) = std_mpsc::channel();
        let mut proxy = Proxy {
            shared: shared.clone(),
            threads: Vec::new(),
            ended: Mutex::new(ended),
            health: Health::default(),
        };
        for index in 0..workers {
            let own = own_listeners(settings.reach)?;
            proxy
                .health
                .looks_at(own.iter().map(|(_, _, at)| *at).filter(|at| at.is_ipv4()));
            let own = own
                .into_iter()
                .map(|(listener, arrival, _)| (listener, arrival))
                .collect();
            let start = Start {
                index,
                shared: shared.clone(),
                view: view.clone(),
                own,
                common: common.clone(),
                keeps: publish.take(),
            };
            let ended = ended_here.clone();
            let thread = std::thread::Builder::new()
                .name(format!("proxy-{index}"))
                .spawn(move || run_worker(start, &ended))?;
            proxy.threads.push(thread);
        }
        tracing::info!(workers, sessions_max = shared.sessions_max, reach = ?settings.reach, "data plane started");
        Ok(proxy)
    }

    /// What has been counted so far.
    pub fn counters(&self) -> ProxyCounters {
        self.shared.stats.counters(self.shared.report.shed())
    }

    /// The sessions that match, at most `limit` of them, and how many match in all.
    pub fn sessions(&self, filter: SessionFilter, limit: usize) -> (Vec<SessionInfo>, usize) {
        let mut found = Vec::new();
        let matching = self
            .shared
            .tables
            .iter()
            .map(|t| t.find(&filter, limit, &mut found))
            .sum();
        (found, matching)
    }

    /// Whether the workers go round, with the gate closed as well. To be asked about once a second.
    ///
    /// Errors: what is wrong, once it has been so several times in a row; before the listeners have answered once, at
    /// the first time.
    pub async fn self_check(&self) -> Result<(), String> {
        self.health.check(&self.shared).await
    }

    /// Resets all sessions, closes all listeners and waits for the workers, for at most 2 s in all.
    pub fn shutdown(mut self) {
        self.shared.stop.cancel();
        let mut left = self.threads.len();
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        while left > 0 && ended.recv_timeout(SHUTDOWN / left as u32).is_ok() {
            left -= 1;
        }
        if left > 0 {
            tracing::error!(workers = left, "proxy workers did not end in time");
            return;
        }
        for thread in self.threads.drain(..) {
            // It has said that it ends; a panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

fn run_worker(start: Start, ended: &std_mpsc::Sender<usize>) {
    let (index, shared) = (start.index, start.shared.clone());
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run::run(start)));
    if !shared.stop.is_cancelled() {
        tracing::error!(worker = index, ?result, "a proxy worker ended");
        shared
            .report
            .send(ProxyEvent::WorkerEnded { worker: index });
    }
    // Nobody listens when the proxy was dropped instead of shut down.
    let _ = ended.send(index);
}

/// The listeners that a worker has from the beginning, and where they are.
fn own_listeners(reach: Reach) -> Result<Vec<(Arc<TcpListener>, Arrival, SocketAddr)>, ProxyError> {
    let at = |address: SocketAddr, listener: std::io::Result<TcpListener>| {
        let bound = listener.and_then(|l| Ok((l.local_addr()?, Arc::new(l))));
        bound.map_err(|source| ProxyError::Listen { address, source })
    };
    match reach {
        Reach::Bind => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let (local, listener) = at(address, sys::listen(address))?;
            Ok(vec![(listener, Arrival::Check, local)])
        }
        Reach::Transparent { port } => {
            let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let (_, listener) = at(v4, sys::listen_transparent(v4))?;
            let mut all = vec![(listener, Arrival::Transparent(v4), v4)];
            let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            match at(v6, sys::listen_transparent(v6)) {
                Ok((_, listener)) => all.push((listener, Arrival::Transparent(v6), v6)),
                Err(ProxyError::Listen { source, .. })
                    if matches!(
                        source.raw_os_error(),
                        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)
                    ) =>
                {
                    tracing::warn!(%source, "this machine has no IPv6; only IPv4 is intercepted");
                }
                Err(e) => return Err(e),
            }
            Ok(all)
        }
    }
}

/// How many sessions a limit on open files allows, when `sessions_max` does not say. Preflight tells the same.
pub fn sessions_for(open_files: u64) -> u64 {
    Limits::of_open_files(open_files).sessions
}

/// What the limit on open files allows.
struct Limits {
    sessions: u64,
    pipes: usize,
}

impl Limits {
    /// A quarter for pipes, the rest for sessions of two sockets each.
    fn of_open_files(files: u64) -> Limits {
        let files = files.saturating_sub(FILES_FOR_OTHERS.min(files / 2));
        Limits {
            sessions: (files * 3 / 8).max(1),
            pipes: usize::try_from(files / 8).unwrap_or(usize::MAX),
        }
    }
}
