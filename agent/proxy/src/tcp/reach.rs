//! Carries out what `ha_core::dispatch` decides for one session, until it has its server.
//!
//! Owns the order of nothing: each [`Step`] is done and told, and the next one comes from the core.

use super::connect::{ConnectError, connect, gone};
use crate::binder;
use crate::entry::Entry;
use crate::pool::{Acquired, Slot, Waiting};
use crate::report::ProxyEvent;
use crate::stats::{RouteStats, ServerStats};
use crate::worker::Worker;
use ha_core::balance::Loads;
use ha_core::close::CloseReason;
use ha_core::dispatch::{Around, COMMIT_WAIT, Dispatch, Forward, Happened, PlaceInLine, Step};
use ha_core::id::ServerId;
use ha_core::view::ServerView;
use ha_core::waiters::Queue;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

/// What a session holds of its server. Whoever ends the session from outside finds it here.
#[derive(Default)]
pub(super) struct Held {
    pub(super) server: Option<TcpStream>,
    pub(super) slot: Option<Slot>,
    pub(super) stats: Option<Arc<ServerStats>>,
}

/// A binding that this session asked for.
struct Asked {
    committed: oneshot::Receiver<()>,
    deadline: Instant,
}

impl Asked {
    fn of(binding: binder::Binding) -> Asked {
        Asked {
            committed: binding.committed,
            deadline: Instant::now() + COMMIT_WAIT,
        }
    }

    /// Whether it is committed in time.
    async fn committed(mut self) -> bool {
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

/// Finds a server for the session and connects to it.
pub(super) async fn reach(
    worker: &Worker,
    entry: &Entry,
    client: &TcpStream,
    held: &mut Held,
) -> Result<Forward, CloseReason> {
    let mut dispatch = Dispatch::new(entry.client.ip(), entry.local);
    let mut asked: Option<Asked> = None;
    let mut happened = Happened::Arrived;
    loop {
        happened = match next(worker, &mut dispatch, happened) {
            Step::Settle => {
                if let Some(older) = asked.take() {
                    older.committed().await;
                }
                Happened::Settled
            }
            Step::Bind {
                key,
                proposal,
                remembered,
            } => {
                let binding = worker.shared.binder.bind(key, proposal, remembered);
                let bound = binding.entry;
                asked = Some(Asked::of(binding));
                Happened::Bound(bound)
            }
            Step::Refresh(key, used) => {
                asked = Some(Asked::of(worker.shared.binder.refresh(key, used)));
                Happened::Refreshed
            }
            Step::Wait(line) => slot(worker, entry, client, &dispatch, line, held).await?,
            Step::Connect {
                server,
                address,
                within,
            } => match connect(address, within, client).await {
                Ok(connected) => {
                    held.server = Some(connected);
                    note(worker, held, server, true);
                    Happened::Connected
                }
                Err(ConnectError::ClientGone) => return Err(CloseReason::ClientGone),
                Err(ConnectError::Resources(error)) => {
                    tracing::warn!(%address, %error, "cannot connect: this machine has run out of something");
                    let shared = &worker.shared;
                    shared.report.note_shed(shared.stats.sessions.load(Relaxed));
                    return Err(CloseReason::Resources);
                }
                Err(ConnectError::NoPort(error)) => {
                    let_go(entry, held, server);
                    tracing::warn!(%address, %error, "no port is left towards this server; trying another");
                    Happened::NoPortLeft
                }
                Err(ConnectError::Server(error)) => {
                    let_go(entry, held, server);
                    note(worker, held, server, false);
                    tracing::debug!(client = %entry.client, %address, %error, "connect failed");
                    Happened::ConnectFailed
                }
                Err(ConnectError::TimedOut) => {
                    let_go(entry, held, server);
                    note(worker, held, server, false);
                    tracing::debug!(client = %entry.client, %address, "connect took too long");
                    Happened::ConnectTimedOut
                }
            },
            Step::Pause(pause) => {
                sleep(pause).await;
                Happened::Paused
            }
            Step::Commit => {
                let committed = match asked.take() {
                    Some(binding) => binding.committed().await,
                    None => false,
                };
                if committed {
                    Happened::Committed
                } else {
                    Happened::Uncommitted
                }
            }
            Step::Forward(forward) => return Ok(forward),
            Step::GiveUp(reason) => return Err(reason),
        }
    }
}

/// The slot is free again. Should the server be cut from now on, this session is none of its any more.
fn let_go(entry: &Entry, held: &mut Held, server: ServerId) {
    held.slot = None;
    entry.wait_for(Some(server));
}

/// How long a session may wait for a place in its frontend: its backend's bound.
pub(super) fn queue_timeout(worker: &Worker, entry: &Entry) -> Option<Duration> {
    let routes = &worker.counted_view().view.routes;
    let frontend = routes.frontend_at(entry.local.ip(), entry.local.port())?;
    Some(routes.backends.get(frontend.backend)?.queue_timeout)
}

fn next(worker: &Worker, dispatch: &mut Dispatch, happened: Happened) -> Step {
    let counted = worker.counted_view();
    let mut loads = WorkerLoads {
        worker,
        stats: &counted.stats,
    };
    dispatch.step(
        happened,
        &mut Around {
            view: &counted.view,
            now: (worker.shared.clock.wall)(),
            turns: &mut worker.turns.borrow_mut(),
            loads: &mut loads,
            under_way: &*worker.shared.binder,
        },
    )
}

/// Takes a slot, in line if need be.
async fn slot(
    worker: &Worker,
    entry: &Entry,
    client: &TcpStream,
    dispatch: &Dispatch,
    line: PlaceInLine,
    held: &mut Held,
) -> Result<Happened, CloseReason> {
    held.slot = None;
    let slot = match acquire(worker, dispatch, &line)? {
        Acquired::Now(slot) => slot,
        Acquired::Full => return Ok(Happened::QueueFull),
        Acquired::Later(turn) => {
            entry.wait_for(match line.queue {
                Queue::Server(server) => Some(server),
                Queue::Backend { .. } => None,
            });
            match wait_in_line(worker, client, dispatch, turn, &line).await? {
                Ok(slot) => slot,
                Err(happened) => return Ok(happened),
            }
        }
    };
    let server = slot.server().ok_or(CloseReason::Internal)?;
    held.stats = worker.counted_view().stats.servers.get(&server).cloned();
    if held.stats.is_none() {
        return Ok(Happened::ServerChanged);
    }
    entry.set_server(server);
    held.slot = Some(slot);
    Ok(Happened::GotSlot(server))
}

fn acquire(
    worker: &Worker,
    dispatch: &Dispatch,
    line: &PlaceInLine,
) -> Result<Acquired, CloseReason> {
    let counted = worker.counted_view();
    let servers = &counted.stats.servers;
    match &line.queue {
        Queue::Server(server) => {
            let stats = servers.get(server).ok_or(CloseReason::NoServer)?;
            Ok(stats.pool.acquire(line.longest))
        }
        Queue::Backend { except } => {
            let of_backend = dispatch.backend().into_iter().flat_map(|b| &b.servers);
            let pools: Vec<_> = of_backend
                .filter_map(|s| servers.get(&s.id))
                .map(|stats| &stats.pool)
                .collect();
            let line = pools.first().ok_or(CloseReason::NoServer)?.line();
            Ok(line.acquire_any(pools.into_iter(), except.clone()))
        }
    }
}

async fn wait_in_line(
    worker: &Worker,
    client: &TcpStream,
    dispatch: &Dispatch,
    mut turn: Waiting,
    line: &PlaceInLine,
) -> Result<Result<Slot, Happened>, CloseReason> {
    let timeout = sleep(line.within);
    tokio::pin!(timeout);
    loop {
        let changed = worker.routes_changed.notified();
        let now = (worker.shared.clock.wall)();
        if !dispatch.still_wants(&line.queue, &worker.counted_view().view, now) {
            return Ok(Err(Happened::ServerChanged));
        }
        tokio::select! {
            biased;
            slot = &mut turn => return Ok(Ok(slot)),
            () = changed => {}
            () = gone(client) => return Err(CloseReason::ClientGone),
            () = &mut timeout => return Ok(Err(Happened::QueueTimeout)),
        }
    }
}

/// Counts a connect, and tells when a server begins or ceases to fail.
fn note(worker: &Worker, held: &Held, server: ServerId, worked: bool) {
    let Some(stats) = &held.stats else { return };
    let report = &worker.shared.report;
    if !worked {
        stats.connect_errors.fetch_add(1, Relaxed);
        stats.failing.store(true, Relaxed);
        report.send(ProxyEvent::ConnectFailed { server });
        return;
    }
    stats.total.fetch_add(1, Relaxed);
    if stats.failing.load(Relaxed) && stats.failing.swap(false, Relaxed) {
        report.send(ProxyEvent::ConnectWorked { server });
    }
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
