//! The lease as the proxy sees it: an instant until which connections may be served.
//!
//! Owns the instant. Who may set it is the driver's business; that sessions end when it has passed is
//! the workers'. Nobody has to call [`Gate::close`] for the gate to be closed: time alone closes it.

use crate::time::Instant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Open until an instant of boot time. Reading it is one atomic load.
///
/// A lease that ran out and is got again is a new one: call [`Gate::close`] in between, so that no session
/// of the old one can slip through.
#[derive(Debug, Default)]
pub struct Gate {
    until: AtomicU64,
    closings: AtomicU64,
    /// The end of the newest lease, also after a close.
    lease_end: AtomicU64,
    sessions: Arc<AtomicU64>,
}

impl Gate {
    pub fn new() -> Gate {
        Gate {
            until: AtomicU64::new(0),
            closings: AtomicU64::new(0),
            lease_end: AtomicU64::new(0),
            sessions: Arc::default(),
        }
    }

    /// Lets sessions in until `until`, or until it is closed.
    pub fn open(&self, until: Instant) {
        self.until.store(until.0, Ordering::SeqCst);
        if until > Instant::ZERO {
            self.lease_end.store(until.0, Ordering::SeqCst);
        }
    }

    /// Serve nobody from now on: no accept, and all sessions are reset.
    pub fn close(&self) {
        self.closings.fetch_add(1, Ordering::SeqCst);
        self.open(Instant::ZERO);
    }

    /// Whether the newest lease has run out, closed in time or not: from then on another node may answer.
    pub fn has_lapsed(&self, now: Instant) -> bool {
        now.0 >= self.lease_end.load(Ordering::SeqCst)
    }

    /// How often it was closed by [`Gate::close`]: tells of a close that was followed by an open at once.
    pub fn closings(&self) -> u64 {
        self.closings.load(Ordering::SeqCst)
    }

    /// Sessions inside. One that ends is not counted any more right before its sockets close.
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Ordering::SeqCst)
    }

    /// Where sessions are counted.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.sessions.clone()
    }

    /// Whether connections may be served at `now`.
    pub fn is_open(&self, now: Instant) -> bool {
        now < self.until()
    }

    /// Whether it was closed by [`Gate::close`], or never opened: time alone does not bring this about.
    pub fn is_shut(&self) -> bool {
        self.until() == Instant::ZERO
    }

    /// Whether a lease until then would be the present one, and no shorter: who waits for its end need not be told.
    pub fn would_go_on(&self, until: Instant) -> bool {
        !self.is_shut() && self.until() <= until
    }

    /// What is left of the lease at `now`; zero when closed.
    pub fn left(&self, now: Instant) -> Duration {
        self.until() - now
    }

    fn until(&self) -> Instant {
        Instant(self.until.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_alone_closes_the_gate() {
        let gate = Gate::new();
        assert!(!gate.is_open(Instant::ZERO));
        gate.open(Instant(10));
        assert_eq!(
            (gate.is_open(Instant(9)), gate.is_open(Instant(10))),
            (true, false)
        );
        assert_eq!(gate.left(Instant(4)), Duration::from_nanos(6));
        gate.close();
        assert!(!gate.is_open(Instant(9)));
    }
}
