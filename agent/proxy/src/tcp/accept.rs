//! Taking connections: accept loops, and who is let in.
//!
//! ```text
//!   accept --> asks for the listener itself? --> banner (self-check)
//!          --> gate closed, or no frontend there? --> reset, counted as `refused`
//!          --> too many sessions of that client? -> reset, counted as `limited`
//!          --> too many sessions? ----------------> reset, counted as `shed`
//!          --> a session of its own
//! ```
//!
//! Accepting never stops for lack of file descriptors: one is kept back to accept and reset with. In `bind`
//! mode a frontend at its `maxconn` leaves newcomers in the kernel's backlog; in transparent mode, where all
//! frontends share a listener, they wait inside (see `session`).

use super::listen::Listeners;
use super::session::{self, Admitted};
use crate::clients::Counted;
use crate::health::BANNER;
use crate::platform::sockets::{self as sys, Spent};
use crate::pool::{Acquired, Slot};
use crate::worker::Worker;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_local};

/// Connections taken before others have a turn.
const BATCH: usize = 32;
/// How long accepting rests when not even the descriptor that is kept back helps.
const REST: Duration = Duration::from_millis(10);
/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// One address and port of a frontend.
    Frontend(SocketAddr),
    /// Any address and port; the socket knows which. Connections to its own are self-checks.
    Transparent(SocketAddr),
    /// The self-check of the data plane, from loopback.
    Check,
}

/// A listener that other workers watch as well, each in its own runtime.
struct Watched(Arc<TcpListener>);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Accepts on that listener until the task is ended.
pub(crate) async fn accept_loop(worker: Rc<Worker>, listener: Arc<TcpListener>, arrival: Arrival) {
    // SAFETY: the descriptor belongs to an `Arc<TcpListener>` that `Watched` holds: it stays open, and the same, until `io` is dropped.
    let io = match unsafe {
        AsyncFd::register_with_interest(Watched(listener.clone()), Interest::READABLE)
    } {
        Ok(io) => io,
        Err(error) => {
            tracing::error!(?arrival, %error, "cannot wait for connections");
            return;
        }
    };
    loop {
        // An error here says that the runtime is going down.
        let Ok(mut ready) = io.readable().await else {
            return;
        };
        for _ in 0..BATCH {
            let place = place(&worker, arrival).await;
            match sys::accept(&listener) {
                Ok((stream, client)) => admit(&worker, stream, client, arrival, place),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    ready.clear_ready();
                    break;
                }
                Err(e) if sys::is_out_of_resources(&e) => {
                    if shed_one(&worker, &listener).await.is_none() {
                        ready.clear_ready();
                        break;
                    }
                }
                // It broke off before it was accepted.
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    tracing::warn!(?arrival, %error, "accept");
                    tokio::time::sleep(REST).await;
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Starts and ends accept loops as listeners come and go.
pub(crate) async fn follow_listeners(
    worker: Rc<Worker>,
    mut common: watch::Receiver<Arc<Listeners>>,
) {
    let mut loops: BTreeMap<SocketAddr, (Arc<TcpListener>, AbortHandle)> = BTreeMap::new();
    loop {
        let open = common.borrow_and_update().clone();
        loops.retain(|address, (listener, task)| {
            let stays = open.get(address).is_some_and(|l| Arc::ptr_eq(l, listener));
            if !stays {
                task.abort();
            }
            stays
        });
        for (address, listener) in open.iter() {
            loops.entry(*address).or_insert_with(|| {
                let task = spawn_local(accept_loop(
                    worker.clone(),
                    listener.clone(),
                    Arrival::Frontend(*address),
                ));
                (listener.clone(), task.abort_handle())
            });
        }
        drop(open);
        if common.changed().await.is_err() {
            // Who keeps the listeners is gone with its worker; what is open stays open.
            return std::future::pending().await;
        }
    }
}

/// A place in the frontend of that listener, waited for in its backlog's stead; `None` where it is not known yet.
async fn place(worker: &Worker, arrival: Arrival) -> Option<Slot> {
    let Arrival::Frontend(address) = arrival else {
        return None;
    };
    let acquired = {
        let counted = worker.counted_view();
        let frontend = counted
            .view
            .routes
            .frontend_at(address.ip(), address.port())?;
        counted
            .stats
            .frontends
            .get(&frontend.spec.name)?
            .pool
            .acquire(0)
    };
    match acquired {
        Acquired::Now(slot) => Some(slot),
        Acquired::Later(turn) => Some(turn.await),
        Acquired::Full => None,
    }
}

fn admit(
    worker: &Rc<Worker>,
    stream: TcpStream,
    client: SocketAddr,
    arrival: Arrival,
    place: Option<Slot>,
) {
    let shared = &worker.shared;
    let local = match arrival {
        Arrival::Frontend(address) => address,
        Arrival::Check => return greet(worker, stream),
        Arrival::Transparent(own) => match stream.local_addr() {
            Ok(local) if local == own => return greet(worker, stream),
            Ok(local) => local,
            Err(_) => return sys::reset_on_close(&stream),
        },
    };
    let canonical = |a: SocketAddr| SocketAddr::new(a.ip().to_canonical(), a.port());
    let (client, local) = (canonical(client), canonical(local));
    let counted = worker.counted_view();
    let frontend = counted
        .view
        .routes
        .frontend_at(local.ip(), local.port())
        .and_then(|f| Some((counted.stats.frontends.get(&f.spec.name)?, f.spec.limit)));
    let Some((frontend, limit)) = frontend.filter(|_| worker.may_serve()) else {
        shared.stats.refused.fetch_add(1, Relaxed);
        return worker.turn_away(&stream);
    };
    let Ok(of_client) = Counted::of(&frontend.clients, limit, client.ip(), shared.sessions_max)
    else {
        return worker.turn_away(&stream);
    };
    let sessions = shared.stats.sessions.fetch_add(1, Relaxed);
    let started = if sessions < shared.sessions_max {
        let admitted = Admitted {
            frontend: frontend.clone(),
            place,
            counted: of_client,
        };
        session::start(worker, stream, client, local, admitted)
    } else {
        sys::reset_on_close(&stream);
        false
    };
    if !started {
        shared.stats.sessions.fetch_sub(1, Relaxed);
        shared.report.note_shed(sessions);
    }
}

/// Answers a self-check: a connection that arrived was accepted, by this worker.
fn greet(worker: &Worker, mut stream: TcpStream) {
    // A new connection has room for a short line; if the other side is gone already, so be it.
    let _ = stream.write_all(format!("{BANNER}{}\n", worker.index).as_bytes());
}

/// Resets the next connection for lack of descriptors, or rests; `None` when no connection is waiting.
async fn shed_one(worker: &Worker, listener: &TcpListener) -> Option<()> {
    let spent = worker.reserve.borrow_mut().spend(listener);
    match spent {
        Spent::Reset => worker
            .shared
            .report
            .note_shed(worker.shared.stats.sessions.load(Relaxed)),
        Spent::NobodyThere => return None,
        Spent::NoReserve => tokio::time::sleep(REST).await,
    }
    Some(())
}
