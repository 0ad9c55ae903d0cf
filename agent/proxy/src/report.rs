//! What the proxy tells the driver, and how often. The channel is bounded; what does not fit is dropped.

use super::settings::Clock;
use ha_core::id::ServerId;
use ha_core::time::Instant;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc;

/// News from the data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyEvent {
    /// A client's connect to that server failed or took too long. One for each failure.
    ConnectFailed { server: ServerId },
    /// A connect worked again after one or more had failed.
    ConnectWorked { server: ServerId },
    /// Newcomers are being reset for lack of room. At most once a second.
    Shedding {
        /// Resets since the last such event.
        shed: u64,
        sessions: u64,
    },
    /// Nobody had to be reset for a second.
    Recovered,
    /// A listener cannot be opened; tried again every 20 ms, told once a second.
    BindFailed {
        address: SocketAddr,
        /// What the kernel said.
        error: String,
    },
    /// A worker ended although nobody asked it to; its part of the traffic is not served.
    WorkerEnded { worker: usize },
}

/// Sends events and keeps the ones that repeat rare.
#[derive(Debug)]
pub(super) struct EventSender {
    events: mpsc::Sender<ProxyEvent>,
    clock: Clock,
    shed: AtomicU64,
    told: AtomicU64,
    told_at: AtomicU64,
    last_shed_at: AtomicU64,
    shedding: AtomicBool,
}

const EVERY: Duration = Duration::from_secs(1);

impl EventSender {
    pub(super) fn new(events: mpsc::Sender<ProxyEvent>, clock: Clock) -> EventSender {
        let zero = || AtomicU64::new(0);
        EventSender {
            events,
            clock,
            shed: zero(),
            told: zero(),
            told_at: zero(),
            last_shed_at: zero(),
            shedding: AtomicBool::new(false),
        }
    }

    pub(super) fn send(&self, event: ProxyEvent) {
        tracing::trace!(?event, "proxy event");
        // A full channel means that the driver is behind; counters have the whole truth.
        let _ = self.events.try_send(event);
    }

    /// Newcomers reset so far.
    pub(super) fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    /// Newcomers were reset for lack of room within the last second or so.
    pub(super) fn is_shedding(&self) -> bool {
        self.shedding.load(Relaxed)
    }

    /// A newcomer was reset for lack of room.
    pub(super) fn note_shed(&self, sessions: u64) {
        let now = (self.clock.now)();
        self.shed.fetch_add(1, Relaxed);
        self.last_shed_at.store(now.0, Relaxed);
        let first = !self.shedding.swap(true, Relaxed);
        let told_at = self.told_at.load(Relaxed);
        let due = first || now - Instant(told_at) >= EVERY;
        if due
            && self
                .told_at
                .compare_exchange(told_at, now.0, Relaxed, Relaxed)
                .is_ok()
        {
            let all = self.shed();
            let shed = all - self.told.swap(all, Relaxed).min(all);
            tracing::warn!(
                shed,
                sessions,
                "new connections are reset: too many sessions or too few file descriptors"
            );
            self.send(ProxyEvent::Shedding { shed, sessions });
        }
    }

    /// Says so when shedding is over. To be called now and then.
    pub(super) fn settle(&self) {
        if self.shedding.load(Relaxed)
            && (self.clock.now)() - Instant(self.last_shed_at.load(Relaxed)) >= EVERY
        {
            self.shedding.store(false, Relaxed);
            tracing::info!("new connections are accepted again");
            self.send(ProxyEvent::Recovered);
        }
    }
}
