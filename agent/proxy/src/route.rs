//! Getting a session its server: choose, bind, wait for a slot, connect; again elsewhere when that fails.
//!
//! ```text
//!       +--------------------------- next try (redispatch or the same again) <------+
//!       v                                                                           |
//!   pick --> bind, if new --> slot --full--> wait in line --> slot --> connect --fails
//!       ^                      |                  |                       |
//!       +-- queue is full -----+                  +-- server changed      +-- works --> Reached
//! ```
//!
//! Which server is right is decided by `ha_core::balance`, which server a client is bound to by the
//! [`Binder`](super::Binder). Here is only the order of things.

use super::close::CloseReason;
use super::connect::{ConnectError, connect};
use super::pool::{Acquired, Slot, Waiting};
use super::report::ProxyEvent;
use super::session::{Session, gone};
use super::stats::{RouteStats, ServerStats};
use super::table::Entry;
use super::worker::{Snapshot, Worker};
use ha_core::balance::{Loads, Pick, pick};
use ha_core::dispatch::COMMIT_WAIT;
use ha_core::id::ServerId;
use ha_core::stick::{StickEntry, StickKey};
use ha_core::view::{BackendView, FrontendView, Newcomer, ServerView};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

/// Longest pause before the same server is tried again (HAProxy's turn-around).
const TURN_AROUND: Duration = Duration::from_secs(1);

/// A server that was reached.
pub(super) struct Reached {
    pub(super) server: TcpStream,
    pub(super) slot: Slot,
    pub(super) stats: Arc<ServerStats>,
    pub(super) client_timeout: Duration,
    pub(super) server_timeout: Duration,
    /// A new binding that should be committed before the first byte.
    pub(super) binding: Option<NewBinding>,
}

/// A binding that this session asked for.
pub(super) struct NewBinding {
    server: ServerId,
    committed: oneshot::Receiver<()>,
    deadline: Instant,
}

impl NewBinding {
    /// Whether it is committed in time.
    pub(super) async fn committed(mut self) -> bool {
        self.settled().await
    }

    async fn settled(&mut self) -> bool {
        match self.committed.try_recv() {
            Ok(()) => true,
            Err(oneshot::error::TryRecvError::Closed) => false,
            Err(oneshot::error::TryRecvError::Empty) => matches!(
                timeout_at(self.deadline, &mut self.committed).await,
                Ok(Ok(()))
            ),
        }
    }
}

/// What has happened to one session on the way.
#[derive(Default)]
struct Tries {
    /// Servers that could not be connected to.
    failed: Vec<ServerId>,
    /// Servers whose queue was full.
    full: Vec<ServerId>,
    /// The server to try once more.
    again: Option<ServerId>,
    retried: u32,
    binding: Option<NewBinding>,
}

/// The server that a try goes to.
struct Choice {
    server: usize,
    bound: bool,
}

/// Finds a server for the session and connects to it.
pub(super) async fn reach(session: &Session) -> Result<Reached, CloseReason> {
    let (worker, entry) = (&session.worker, &session.entry);
    let mut tries = Tries::default();
    loop {
        let snapshot = worker.snapshot();
        let (frontend, backend) = lookup(&snapshot, entry).ok_or(CloseReason::NoFrontend)?;
        let (client_timeout, backend) = (frontend.spec.client_timeout, backend.clone());
        let chosen = tries.choose(worker, &snapshot, &backend, entry)?;
        let chosen = tries.bind(worker, &snapshot, &backend, entry, chosen).await;
        let server = &backend.servers[chosen];
        let (Some(address), Some(stats)) = (
            address_of(server, entry),
            snapshot.stats.servers.get(&server.id),
        ) else {
            return Err(CloseReason::NoServer);
        };
        entry.set_server(server.id);
        let slot = match stats.pool.acquire(backend.maxqueue) {
            Acquired::Now(slot) => slot,
            Acquired::Full => {
                tries.full.push(server.id);
                continue;
            }
            Acquired::Later(turn) => {
                match wait_in_line(session, turn, server.id, backend.queue_timeout).await? {
                    Some(slot) => slot,
                    None => continue,
                }
            }
        };
        match connect(address, backend.connect_timeout, &session.client).await {
            Ok(connected) => {
                note_success(worker, stats, server.id);
                let binding = tries.binding.filter(|_| backend.commits_bindings());
                let (stats, server_timeout) = (stats.clone(), backend.server_timeout);
                return Ok(Reached {
                    server: connected,
                    slot,
                    stats,
                    client_timeout,
                    server_timeout,
                    binding,
                });
            }
            Err(ConnectError::ClientGone) => return Err(CloseReason::ClientGone),
            Err(ConnectError::Resources(error)) => {
                tracing::warn!(%address, %error, "cannot connect: this machine has run out of something");
                worker
                    .shared
                    .report
                    .note_shed(worker.shared.stats.sessions.load(Relaxed));
                return Err(CloseReason::Resources);
            }
            Err(ConnectError::Server(error)) => {
                drop(slot);
                note_failure(worker, stats, server.id);
                tracing::debug!(client = %entry.client, %address, %error, "connect failed");
                tries.after_failure(server.id, &backend).await?;
            }
        }
    }
}

/// How long a session may wait for a place in its frontend: its backend's bound.
pub(super) fn queue_timeout(worker: &Worker, entry: &Entry) -> Option<Duration> {
    lookup(&worker.snapshot(), entry).map(|(_, b)| b.queue_timeout)
}

fn lookup<'a>(
    snapshot: &'a Snapshot,
    entry: &Entry,
) -> Option<(&'a FrontendView, &'a Arc<BackendView>)> {
    let frontend = snapshot
        .view
        .routes
        .frontend_at(entry.local.ip(), entry.local.port())?;
    Some((
        frontend,
        snapshot.view.routes.backends.get(frontend.backend)?,
    ))
}

fn address_of(server: &ServerView, entry: &Entry) -> Option<SocketAddr> {
    Some(SocketAddr::new(
        server.address?,
        server.port.unwrap_or(entry.local.port()),
    ))
}

fn note_success(worker: &Worker, stats: &ServerStats, server: ServerId) {
    stats.total.fetch_add(1, Relaxed);
    if stats.failing.load(Relaxed) && stats.failing.swap(false, Relaxed) {
        worker
            .shared
            .report
            .send(ProxyEvent::ConnectWorked { server });
    }
}

fn note_failure(worker: &Worker, stats: &ServerStats, server: ServerId) {
    stats.connect_errors.fetch_add(1, Relaxed);
    stats.failing.store(true, Relaxed);
    worker
        .shared
        .report
        .send(ProxyEvent::ConnectFailed { server });
}

/// Waits for a slot. `None`: the server is not what it was; choose again.
async fn wait_in_line(
    session: &Session,
    mut turn: Waiting,
    server: ServerId,
    bound: Duration,
) -> Result<Option<Slot>, CloseReason> {
    let worker = &session.worker;
    let timeout = sleep(bound);
    tokio::pin!(timeout);
    loop {
        let changed = worker.routes_changed.notified();
        let snapshot = worker.snapshot();
        if !snapshot
            .view
            .routes
            .server(server)
            .is_some_and(|(_, s)| usable(s, Newcomer::Bound))
        {
            return Ok(None);
        }
        drop(snapshot);
        tokio::select! {
            biased;
            slot = &mut turn => return Ok(Some(slot)),
            () = changed => {}
            () = gone(&session.client) => return Err(CloseReason::ClientGone),
            () = &mut timeout => return Err(CloseReason::QueueTimeout),
        }
    }
}

/// A server whose sessions are being cut takes nobody, bound or not.
fn usable(server: &ServerView, who: Newcomer) -> bool {
    server.accepts(who) && server.cut.is_none()
}

impl Tries {
    fn excludes(&self, server: &ServerView) -> bool {
        server.cut.is_some() || self.failed.contains(&server.id) || self.full.contains(&server.id)
    }

    /// Where the next try goes, or why there is none.
    fn choose(
        &mut self,
        worker: &Worker,
        snapshot: &Snapshot,
        backend: &BackendView,
        entry: &Entry,
    ) -> Result<Choice, CloseReason> {
        let (client, now) = (entry.client.ip(), (worker.shared.clock.wall)());
        let stick = &snapshot.view.stick;
        if let Some(again) = self.again.take()
            && let Some(server) = backend
                .servers
                .iter()
                .position(|s| s.id == again && usable(s, Newcomer::Bound))
        {
            return Ok(Choice {
                server,
                bound: backend.bound(stick, client, now) == Some(server),
            });
        }
        let excluded: Vec<usize> = backend
            .servers
            .iter()
            .enumerate()
            .filter(|(_, s)| self.excludes(s))
            .map(|(i, _)| i)
            .collect();
        let mut loads = WorkerLoads {
            worker,
            stats: &snapshot.stats,
        };
        match worker.with_turns(&backend.name, |turns| {
            pick(backend, stick, client, now, turns, &mut loads, &excluded)
        }) {
            Pick::Sticky(server) => Ok(Choice {
                server,
                bound: true,
            }),
            Pick::Balanced(server) => Ok(Choice {
                server,
                bound: false,
            }),
            Pick::Wait(server) => Ok(Choice {
                server,
                bound: backend.bound(stick, client, now) == Some(server),
            }),
            Pick::Nothing if !self.full.is_empty() => Err(CloseReason::QueueFull),
            Pick::Nothing if !self.failed.is_empty() => Err(CloseReason::ConnectFailed),
            Pick::Nothing => Err(CloseReason::NoServer),
        }
    }

    /// Binds the client to the choice, or takes the server that it has just been bound to by another session.
    async fn bind(
        &mut self,
        worker: &Worker,
        snapshot: &Snapshot,
        backend: &BackendView,
        entry: &Entry,
        choice: Choice,
    ) -> usize {
        let binder = &worker.shared.binder;
        let Some((key, proposal)) = proposal(worker, backend, entry, choice.server) else {
            return choice.server;
        };
        if choice.bound {
            let now = proposal.used_at;
            if let Some(old) = snapshot
                .view
                .stick
                .get(&key, now)
                .filter(|e| e.wants_refresh(now))
            {
                binder.refresh(
                    key,
                    StickEntry {
                        used_at: now,
                        ..*old
                    },
                );
            }
            return choice.server;
        }
        if self
            .binding
            .as_ref()
            .is_some_and(|b| b.server == proposal.server)
        {
            return choice.server;
        }
        for _ in 0..2 {
            // While an older binding of this client is under way, it is the answer to every question.
            if let Some(mut older) = self.binding.take() {
                older.settled().await;
            }
            let binding = binder.bind(key.clone(), proposal);
            let bound = binding.entry;
            self.binding = Some(NewBinding {
                server: bound.server,
                committed: binding.committed,
                deadline: Instant::now() + COMMIT_WAIT,
            });
            let by_id = backend.servers.iter().position(|s| s.id == bound.server);
            let server = by_id.or_else(|| {
                backend
                    .servers
                    .iter()
                    .position(|s| s.address == Some(bound.host))
            });
            match server {
                Some(i) if i == choice.server => return i,
                Some(i)
                    if usable(&backend.servers[i], Newcomer::Bound)
                        && !self.excludes(&backend.servers[i]) =>
                {
                    return i;
                }
                _ => {}
            }
        }
        choice.server
    }

    /// Prepares the next try, or says that there is none.
    async fn after_failure(
        &mut self,
        server: ServerId,
        backend: &BackendView,
    ) -> Result<(), CloseReason> {
        if self.retried >= backend.retries {
            return Err(CloseReason::ConnectFailed);
        }
        self.retried += 1;
        self.full.clear();
        if backend.redispatch {
            self.failed.push(server);
        } else {
            sleep(backend.connect_timeout.min(TURN_AROUND)).await;
            self.again = Some(server);
        }
        Ok(())
    }
}

fn proposal(
    worker: &Worker,
    backend: &BackendView,
    entry: &Entry,
    server: usize,
) -> Option<(StickKey, StickEntry)> {
    let expire = backend.persistence.as_ref()?.expire;
    let (key, server) = (
        backend.stick_key(entry.client.ip())?,
        &backend.servers[server],
    );
    let now = (worker.shared.clock.wall)();
    Some((
        key,
        StickEntry {
            server: server.id,
            host: server.address?,
            bound_at: now,
            used_at: now,
            expire,
        },
    ))
}

struct WorkerLoads<'a> {
    worker: &'a Worker,
    stats: &'a Rc<RouteStats>,
}

impl Loads for WorkerLoads<'_> {
    fn sessions(&self, server: &ServerView) -> u32 {
        self.stats
            .servers
            .get(&server.id)
            .map_or(0, |s| s.pool.used().saturating_add(s.pool.waiting()))
    }

    fn random(&mut self) -> u64 {
        self.worker.random()
    }
}
