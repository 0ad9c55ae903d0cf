//! One client's session, from accept to close.
//!
//! ```text
//!   accepted --> wait for a place in the frontend --> get a server (reach) --> carry --> closed
//!                        (transparent mode)                                     (at most 200 ms)
//! ```
//!
//! Whoever ends a session from outside drops its task; [`Session`]'s drop does all that is to be done at
//! the end, so no way out can forget a counter, a slot or the reset.

use super::carry::{Ending, carry};
use super::connect::gone;
use super::reach::{Held, queue_timeout, reach};
use crate::clients::Counted;
use crate::entry::{Entry, Side, Watched};
use crate::platform::sockets as sys;
use crate::pool::{Acquired, Slot};
use crate::stats::FrontendStats;
use crate::worker::Worker;
use ha_core::close::CloseReason;
use ha_core::dispatch::BindingState;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

/// Sessions that wait inside for a place in a frontend at its `maxconn` (transparent mode); more are reset.
const FRONTEND_QUEUE: u32 = 1024;

/// A session and all that it holds.
pub(super) struct Session {
    pub(super) worker: Rc<Worker>,
    pub(super) entry: Arc<Entry>,
    pub(super) client: TcpStream,
    held: Held,
    place: Option<Slot>,
    counted: Option<Counted>,
    number: usize,
    outcome: (CloseReason, Ending),
}

/// Where somebody was let in, and what says so as long as he is there.
pub(super) struct Admitted {
    pub(super) frontend: Arc<FrontendStats>,
    pub(super) place: Option<Slot>,
    pub(super) counted: Option<Counted>,
}

/// Starts a session, or closes the connection when that is not possible. Whether it was.
pub(super) fn start(
    worker: &Rc<Worker>,
    stream: std::net::TcpStream,
    client: SocketAddr,
    local: SocketAddr,
    admitted: Admitted,
) -> bool {
    let Admitted {
        frontend,
        place,
        counted,
    } = admitted;
    // A socket that the runtime refuses (no memory to watch it) is closed by it.
    let Ok(stream) = TcpStream::from_std(stream) else {
        return false;
    };
    let shared = &worker.shared;
    if worker.table.len() == 0 {
        worker.update_coarse();
        worker.first_session.notify_one();
    }
    shared.stats.total.fetch_add(1, Relaxed);
    frontend.total.fetch_add(1, Relaxed);
    let (id, started) = (worker.next_session(), (shared.clock.wall)());
    let entry = Arc::new(Entry::new(id, client, local, frontend, started));
    worker.table.insert(entry.clone(), |number| {
        let outcome = (CloseReason::Shutdown, Ending::Reset);
        let session = Session {
            worker: worker.clone(),
            entry,
            client: stream,
            held: Held::default(),
            place,
            counted,
            number,
            outcome,
        };
        spawn_local(session.run()).abort_handle()
    });
    true
}

impl Session {
    async fn run(mut self) {
        self.outcome = match self.serve().await {
            Ok(outcome) => outcome,
            Err(reason) => (reason, Ending::Reset),
        };
    }

    async fn serve(&mut self) -> Result<(CloseReason, Ending), CloseReason> {
        self.take_place().await?;
        let forward = reach(&self.worker, &self.entry, &self.client, &mut self.held).await?;
        let (Some(server), Some(stats)) = (&mut self.held.server, &self.held.stats) else {
            return Err(CloseReason::Internal);
        };
        if forward.binding == BindingState::Uncommitted {
            let counted = &self.worker.shared.stats.bindings_uncommitted;
            counted.fetch_add(1, Relaxed);
        }
        let watched = |socket: &TcpStream, keepalive| Watched {
            socket: socket.as_raw_fd(),
            keepalive,
        };
        let ends = [
            watched(&self.client, forward.client_keepalive),
            watched(server, forward.server_keepalive),
        ];
        let now = self.worker.coarse();
        self.entry
            .start_carrying(stats.clone(), &forward, ends, now);
        self.worker.sweep.watch(&self.entry, self.number, now);
        let entry = (&self.entry, self.number);
        Ok(carry(&self.worker, entry, &mut self.client, server).await)
    }

    /// A place in the frontend, when the listener could not wait for it.
    async fn take_place(&mut self) -> Result<(), CloseReason> {
        if self.place.is_some() {
            return Ok(());
        }
        self.place = Some(match self.entry.frontend.pool.acquire(FRONTEND_QUEUE) {
            Acquired::Now(place) => place,
            Acquired::Full => return Err(CloseReason::QueueFull),
            Acquired::Later(turn) => {
                let bound =
                    queue_timeout(&self.worker, &self.entry).ok_or(CloseReason::NoFrontend)?;
                tokio::select! {
                    biased;
                    place = timeout(bound, turn) => place.map_err(|_| CloseReason::QueueTimeout)?,
                    () = gone(&self.client) => return Err(CloseReason::ClientGone),
                }
            }
        });
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let (reason, ending) = self
            .entry
            .cut()
            .map_or(self.outcome, |reason| (reason, Ending::Reset));
        if ending == Ending::Reset {
            self.worker.turn_away(&self.client);
            if let Some(server) = &self.held.server {
                sys::reset_on_close(server);
            }
        }
        // Before its sockets close: who is in the table is looked at.
        self.worker.table.remove(self.number);
        self.entry.settle_bytes();
        // The server's socket before its slot, or a newcomer might be one too many for the server.
        drop(self.held.server.take());
        drop((self.held.slot.take(), self.place.take()));
        drop(self.counted.take());
        let shared = &self.worker.shared;
        shared.stats.sessions.fetch_sub(1, Relaxed);
        tracing::debug!(
            client = %self.entry.client,
            local = %self.entry.local,
            frontend = %self.entry.frontend.name,
            id = self.entry.id,
            server = self.entry.server().map(|s| s.0),
            reason = ?reason,
            code = reason.code(),
            bytes_in = self.entry.bytes(Side::Client),
            bytes_out = self.entry.bytes(Side::Server),
            "session ended"
        );
    }
}
