//! What is known of one session: who it is, how long it has been idle, what it carried.
//!
//! Its worker writes; the API reads.

use super::stats::{FrontendStats, ServerStats};
use super::wheel::FURTHEST;
use crate::platform::sockets as sys;
use ha_core::balance::mix;
use ha_core::close::CloseReason;
use ha_core::dispatch::Forward;
use ha_core::id::ServerId;
use ha_core::time::Timestamp;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::task::AbortHandle;

/// Which sessions are asked for. Nothing set: all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only those of this client.
    pub client: Option<IpAddr>,
    /// Only those on this server.
    pub server: Option<ServerId>,
}

/// A session as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// Tells it from every other session that this proxy carries or has carried.
    pub id: u64,
    pub client: SocketAddr,
    /// The address and port that it asked for.
    pub local: SocketAddr,
    /// The frontend that took it.
    pub frontend: String,
    /// The server it has, waits for or is being connected to.
    pub server: Option<ServerId>,
    /// When it was accepted.
    pub started: Timestamp,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
}

/// One end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}
const NO_SERVER: u64 = u64::MAX;
/// Beside a server's number: it is waited for.
const WAITED_FOR: u64 = 1 << 32;

/// What is known of one session. Only its worker writes, so plain loads and stores do.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) client: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) frontend: Arc<FrontendStats>,
    pub(super) started: Timestamp,
    server: AtomicU64,
    cut: AtomicU8,
    ends: [End; 2],
    /// When it is looked at next; see [`super::wheel`].
    next_look: AtomicU32,
    /// Bytes have come that are not counted to the server yet.
    pub(super) unsettled: AtomicBool,
    /// Set when the session has its server: from then on the idle timers run and bytes are counted to it.
    carried: OnceLock<Carried>,
}

/// What a session is carried by.
#[derive(Debug)]
struct Carried {
    stats: Arc<ServerStats>,
    ends: [Watched; 2],
    keepalive_set: AtomicBool,
}

/// How one end is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    /// Open for as long as the session is in the table.
    pub(super) socket: RawFd,
    /// Silence after which it is asked whether it is there; zero: it never is.
    pub(super) keepalive: Duration,
}

/// What came from one end.
#[derive(Debug, Default)]
struct End {
    bytes: AtomicU64,
    counted: AtomicU64,
    /// The worker's coarse time, in milliseconds.
    active_at: AtomicU32,
    /// In milliseconds; 0 = never.
    timeout: AtomicU32,
    /// The same once all was said towards this end; 0 = no other.
    fin_timeout: AtomicU32,
    /// When it was seen last that it owed no answer.
    clear_at: AtomicU32,
}

impl Entry {
    pub(super) fn new(
        id: u64,
        client: SocketAddr,
        local: SocketAddr,
        frontend: Arc<FrontendStats>,
        started: Timestamp,
    ) -> Entry {
        Entry {
            id,
            client,
            local,
            frontend,
            started,
            server: AtomicU64::new(NO_SERVER),
            cut: AtomicU8::new(0),
            ends: Default::default(),
            next_look: AtomicU32::new(0),
            unsettled: AtomicBool::new(false),
            carried: OnceLock::new(),
        }
    }

    /// The server that it has, waits for or is being connected to.
    pub(super) fn server(&self) -> Option<ServerId> {
        let number = self.server.load(Relaxed);
        let known = number != NO_SERVER;
        known.then_some(ServerId((number & u64::from(u32::MAX)) as u32))
    }

    /// The server of which it holds a slot.
    pub(super) fn held_server(&self) -> Option<ServerId> {
        u32::try_from(self.server.load(Relaxed)).ok().map(ServerId)
    }

    pub(super) fn set_server(&self, server: ServerId) {
        self.server.store(u64::from(server.0), Relaxed);
    }

    /// A slot is waited for: of that server, or of any.
    pub(super) fn wait_for(&self, server: Option<ServerId>) {
        let number = server.map_or(NO_SERVER, |s| u64::from(s.0) | WAITED_FOR);
        self.server.store(number, Relaxed);
    }

    /// Why the session was ended from outside.
    pub(super) fn cut(&self) -> Option<CloseReason> {
        CloseReason::from_number(self.cut.load(Relaxed))
    }

    pub(super) fn end(&self, reason: CloseReason, task: &AbortHandle) {
        let first = self.cut.compare_exchange(0, reason as u8, Relaxed, Relaxed);
        if first.is_ok() {
            task.abort();
        }
    }

    /// The session has its server; idle timers start. Timeouts of zero never end it.
    pub(super) fn start_carrying(
        &self,
        stats: Arc<ServerStats>,
        forward: &Forward,
        ends: [Watched; 2],
        now: u32,
    ) {
        let client = (forward.client_timeout, forward.client_fin_timeout);
        let server = (forward.server_timeout, forward.server_fin_timeout);
        for (side, (timeout, fin_timeout)) in [(Side::Client, client), (Side::Server, server)] {
            let end = self.side(side);
            end.timeout.store(in_ms(timeout), Relaxed);
            end.fin_timeout.store(in_ms(fin_timeout), Relaxed);
            end.clear_at.store(now, Relaxed);
            self.touch(side, now);
        }
        // It is set once for each session; a second call would change nothing.
        let _ = self.carried.set(Carried {
            stats,
            ends,
            keepalive_set: AtomicBool::new(false),
        });
    }

    /// All was said towards that end: what is still to come from it has less time, as HAProxy has it. How long, if so.
    pub(super) fn half_closed(&self, towards: Side, now: u32) -> Option<u32> {
        let end = self.side(towards);
        let fin_timeout = end.fin_timeout.load(Relaxed);
        if fin_timeout == 0 {
            return None;
        }
        end.timeout.store(fin_timeout, Relaxed);
        self.touch(towards, now);
        Some(fin_timeout)
    }

    /// Bytes went to or came from that end.
    pub(super) fn touch(&self, side: Side, now: u32) {
        self.side(side).active_at.store(now, Relaxed);
    }

    /// Bytes came from that end.
    pub(super) fn count(&self, from: Side, bytes: usize, now: u32) {
        let end = self.side(from);
        end.bytes
            .store(end.bytes.load(Relaxed) + bytes as u64, Relaxed);
        end.active_at.store(now, Relaxed);
    }

    pub(super) fn bytes(&self, from: Side) -> u64 {
        self.side(from).bytes.load(Relaxed)
    }

    /// Adds what came since the last call to the server's counters.
    pub(super) fn settle_bytes(&self) {
        let Some(Carried { stats, .. }) = self.carried.get() else {
            return;
        };
        for (side, total) in [
            (Side::Client, &stats.bytes_in),
            (Side::Server, &stats.bytes_out),
        ] {
            let end = self.side(side);
            let bytes = end.bytes.load(Relaxed);
            let new = bytes - end.counted.swap(bytes, Relaxed);
            if new > 0 {
                total.fetch_add(new, Relaxed);
            }
        }
    }

    /// The shortest of its timeouts, in milliseconds.
    pub(super) fn shortest_timeout(&self) -> u32 {
        let timeouts = self.ends.iter().map(|end| end.timeout.load(Relaxed));
        timeouts.filter(|t| *t > 0).min().unwrap_or(u32::MAX)
    }

    /// When it is looked at next; a look for which something else was said is of no use any more.
    pub(super) fn look_at(&self, due: u32) {
        self.next_look.store(due, Relaxed);
    }

    /// Whether a look that was due then is still meant.
    pub(super) fn wants(&self, due: u32) -> bool {
        self.next_look.load(Relaxed) == due
    }

    /// Looks at both ends. How long until it is to be done again, in milliseconds, or why the session ends.
    ///
    /// The sockets are told here, and not when they are made, to ask an idle other side whether it is there: most
    /// sessions end before that, and it takes eight calls.
    pub(super) fn look(&self, now: u32) -> Result<u32, CloseReason> {
        let Some(carried) = self.carried.get() else {
            return Ok(FURTHEST);
        };
        if let Some(reason) = self.timed_out(now) {
            return Err(reason);
        }
        let first = !carried.keepalive_set.swap(true, Relaxed);
        let mut next = self.spread();
        for side in [Side::Client, Side::Server] {
            let (end, watched) = (self.side(side), &carried.ends[side as usize]);
            if first {
                sys::keep_alive(watched.socket, watched.keepalive);
            }
            if let Some(left) = end.left(now) {
                next = next.min(left);
            }
            if !watched.keepalive.is_zero() {
                next = next.min(in_ms(watched.keepalive));
                let owing = end.owes(watched, now).map_err(|()| match side {
                    Side::Client => CloseReason::ClientAbort,
                    Side::Server => CloseReason::ServerAbort,
                })?;
                if owing {
                    next = next.min(in_ms(watched.keepalive / 2));
                }
            }
        }
        Ok(next.max(1))
    }

    /// Sessions that began together are not looked at together for ever.
    fn spread(&self) -> u32 {
        FURTHEST / 2 + mix(self.id) as u32 % (FURTHEST / 2)
    }

    /// As HAProxy has it: an end is idle when nothing came from it *and* nothing could be sent to it.
    fn timed_out(&self, now: u32) -> Option<CloseReason> {
        let idle = |side: Side| self.side(side).left(now) == Some(0);
        match (idle(Side::Client), idle(Side::Server)) {
            (true, _) => Some(CloseReason::ClientTimeout),
            (_, true) => Some(CloseReason::ServerTimeout),
            _ => None,
        }
    }

    const fn side(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    pub(super) fn matches(&self, filter: &SessionFilter) -> bool {
        filter
            .client
            .is_none_or(|c| c.to_canonical() == self.client.ip())
            && (filter.server.is_none() || filter.server == self.server())
    }

    pub(super) fn info(&self) -> SessionInfo {
        SessionInfo {
            id: self.id,
            client: self.client,
            local: self.local,
            frontend: self.frontend.name.clone(),
            server: self.server(),
            started: self.started,
            bytes_in: self.bytes(Side::Client),
            bytes_out: self.bytes(Side::Server),
        }
    }
}

impl End {
    /// What is left until it has been idle too long, in milliseconds; `None`: it never is.
    fn left(&self, now: u32) -> Option<u32> {
        let timeout = self.timeout.load(Relaxed);
        let idle = now.wrapping_sub(self.active_at.load(Relaxed));
        (timeout > 0).then(|| timeout.saturating_sub(idle))
    }

    /// Whether it owes an answer. Asks the kernel only where something was said since it last owed none.
    ///
    /// Errors: it has answered nothing for twice the keepalive, as long as the kernel takes to find that an idle one is gone.
    fn owes(&self, watched: &Watched, now: u32) -> Result<bool, ()> {
        let said = self
            .active_at
            .load(Relaxed)
            .wrapping_sub(self.clear_at.load(Relaxed));
        if (said as i32) < 0 {
            return Ok(false);
        }
        match sys::silent_for(watched.socket) {
            Some(silent) if silent >= watched.keepalive * 2 => Err(()),
            Some(_) => Ok(true),
            None => {
                // A moment later, or what is said within this millisecond would be missed; too early only asks once more.
                self.clear_at.store(now.wrapping_add(1), Relaxed);
                Ok(false)
            }
        }
    }
}

/// Milliseconds, rounded up to 1; zero stays zero.
fn in_ms(timeout: Duration) -> u32 {
    let ms = timeout.as_millis().max(u128::from(!timeout.is_zero()));
    u32::try_from(ms).unwrap_or(u32::MAX).min(u32::MAX / 2)
}
