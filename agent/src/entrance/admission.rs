//! Counts who is inside and whose handshakes failed, by address.

use super::limiter::{Limiter, share_of};
use ha_core::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Connections of one address without a certificate that counts; a member's address is exempt until that is known.
const OPEN_PER_ADDRESS: u32 = 16;
/// The same of all addresses together.
const OPEN_MAX: u32 = 256;
/// Handshakes that may fail from one address in [`FAILURES_WINDOW`]; then it is not listened to until that is over.
const FAILURES_MAX: u32 = 20;
const FAILURES_WINDOW: Duration = Duration::from_secs(10);
/// Handshakes of one address that show nothing, in [`FAILURES_WINDOW`]: each costs as much as a good one.
const STRANGERS_MAX: u32 = 100;

/// Counts who is inside and who failed.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    open: BTreeMap<IpAddr, u32>,
    failures: Limiter,
    strangers: Limiter,
}

impl Default for ConnectionLimiter {
    fn default() -> Self {
        ConnectionLimiter {
            open: BTreeMap::new(),
            failures: Limiter::new(FAILURES_MAX, FAILURES_WINDOW),
            strangers: Limiter::new(STRANGERS_MAX, FAILURES_WINDOW),
        }
    }
}

impl ConnectionLimiter {
    /// `None`: not now.
    pub(super) fn admit(
        this: &Arc<Mutex<ConnectionLimiter>>,
        now: Instant,
        from: IpAddr,
        familiar: bool,
    ) -> Option<Pass> {
        // Whoever shares a member's address does not shut that member out.
        if familiar {
            return Some(Pass(None));
        }
        let over =
            |d: &ConnectionLimiter| d.failures.is_over(now, from) || d.strangers.is_over(now, from);
        if over(&lock(this)) {
            None
        } else {
            ConnectionLimiter::count(this, from)
        }
    }

    /// For who has shown nothing that counts: from now on it is counted, wherever it comes from. `None`: no room.
    pub(super) fn keep(
        this: &Arc<Mutex<ConnectionLimiter>>,
        now: Instant,
        from: IpAddr,
        pass: Pass,
    ) -> Option<Pass> {
        lock(this).strangers.note(now, from);
        if pass.0.is_some() {
            Some(pass)
        } else {
            ConnectionLimiter::count(this, from)
        }
    }

    fn count(this: &Arc<Mutex<ConnectionLimiter>>, from: IpAddr) -> Option<Pass> {
        let from = share_of(from);
        let mut limiter = lock(this);
        let inside = limiter.open.get(&from).copied().unwrap_or(0);
        if inside >= OPEN_PER_ADDRESS || limiter.open.values().sum::<u32>() >= OPEN_MAX {
            return None;
        }
        *limiter.open.entry(from).or_default() += 1;
        Some(Pass(Some((this.clone(), from))))
    }

    pub(super) fn failed(&mut self, now: Instant, from: IpAddr, familiar: bool, why: &str) {
        tracing::debug!(%from, why, "a handshake failed");
        let was_over = self.failures.is_over(now, from);
        self.failures.note(now, from);
        if was_over || !self.failures.is_over(now, from) {
            return;
        }
        if familiar {
            tracing::warn!(%from, why, "{FAILURES_MAX} handshakes from a member's address have failed within {FAILURES_WINDOW:?}");
        } else {
            tracing::warn!(%from, why, "{FAILURES_MAX} handshakes from there have failed: it is not listened to for {FAILURES_WINDOW:?}");
        }
    }
}

/// Held while a counted visitor is inside.
#[derive(Debug)]
pub(super) struct Pass(Option<(Arc<Mutex<ConnectionLimiter>>, IpAddr)>);

impl Drop for Pass {
    fn drop(&mut self) {
        let Some((limiter, from)) = self.0.take() else {
            return;
        };
        let mut limiter = lock(&limiter);
        if let Some(count) = limiter.open.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                limiter.open.remove(&from);
            }
        }
    }
}

pub(super) fn lock(limiter: &Mutex<ConnectionLimiter>) -> MutexGuard<'_, ConnectionLimiter> {
    limiter.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_counted_and_members_are_not() {
        let limiter: Arc<Mutex<ConnectionLimiter>> = Arc::default();
        let (stranger, now) = (
            IpAddr::from([10, 0, 0, 1]),
            Instant::from(Duration::from_secs(100)),
        );
        let passes: Vec<Pass> = (0..OPEN_PER_ADDRESS)
            .map(|_| ConnectionLimiter::admit(&limiter, now, stranger, false).unwrap())
            .collect();
        assert!(ConnectionLimiter::admit(&limiter, now, stranger, false).is_none());
        assert!(
            ConnectionLimiter::admit(&limiter, now, stranger, true).is_some(),
            "a member of that address still comes in"
        );
        assert!(
            ConnectionLimiter::admit(&limiter, now, IpAddr::from([10, 0, 0, 2]), false).is_some()
        );
        drop(passes);
        assert!(ConnectionLimiter::admit(&limiter, now, stranger, false).is_some());
        assert!(lock(&limiter).open.is_empty(), "who left is not remembered");
    }

    #[test]
    fn who_fails_again_and_again_is_not_listened_to_for_a_while() {
        let limiter: Arc<Mutex<ConnectionLimiter>> = Arc::default();
        let (stranger, now) = (
            IpAddr::from([10, 0, 0, 1]),
            Instant::from(Duration::from_secs(100)),
        );
        for _ in 0..FAILURES_MAX {
            assert!(ConnectionLimiter::admit(&limiter, now, stranger, false).is_some());
            lock(&limiter).failed(now, stranger, false, "a test");
        }
        assert!(ConnectionLimiter::admit(&limiter, now, stranger, false).is_none());
        assert!(
            ConnectionLimiter::admit(&limiter, now + FAILURES_WINDOW, stranger, false).is_some()
        );
    }

    /// Who shares a member's address, and who shows what does not count any more, is counted after the handshake.
    #[test]
    fn who_shows_nothing_that_counts_is_counted_wherever_it_comes_from() {
        let limiter: Arc<Mutex<ConnectionLimiter>> = Arc::default();
        let (shared, now) = (
            IpAddr::from([10, 0, 0, 1]),
            Instant::from(Duration::from_secs(100)),
        );
        let enter = || {
            ConnectionLimiter::keep(
                &limiter,
                now,
                shared,
                ConnectionLimiter::admit(&limiter, now, shared, true).unwrap(),
            )
        };
        let inside: Vec<Pass> = (0..OPEN_PER_ADDRESS).map(|_| enter().unwrap()).collect();
        assert!(enter().is_none(), "no room for more of them");
        assert!(
            ConnectionLimiter::admit(&limiter, now, shared, true).is_some(),
            "the member itself comes in"
        );
        drop(inside);
        // Good handshakes that show nothing are not free either.
        let elsewhere = IpAddr::from([10, 0, 0, 2]);
        for _ in 0..STRANGERS_MAX {
            let pass = ConnectionLimiter::admit(&limiter, now, elsewhere, false).unwrap();
            drop(ConnectionLimiter::keep(&limiter, now, elsewhere, pass).unwrap());
        }
        assert!(ConnectionLimiter::admit(&limiter, now, elsewhere, false).is_none());
        assert!(
            ConnectionLimiter::admit(&limiter, now + FAILURES_WINDOW, elsewhere, false).is_some()
        );
    }
}
