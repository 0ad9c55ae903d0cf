//! Who is let in, by address until there is a certificate: how many at a time, and whose handshakes failed.
//!
//! ```text
//!   a stranger's address --> handshake --+--> shows nothing that counts: a stranger, few and not for long
//!   a member's address ----> handshake --+--> a member, an operator: by its certificate
//! ```
//!
//! Each of these has seats of its own, so none of them takes another's.

use super::limiter::{Limiter, share_of};
use super::seats::{self, Seated, Shared, Whose, make_room, seats};
use ha_core::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Handshakes of strangers' addresses at a time: of one, of all.
pub const HANDSHAKES: (usize, usize) = (16, 128);
/// The same of members' addresses: every program on a member's machine has that, so it proves nothing.
pub const MEMBERS_HANDSHAKES: (usize, usize) = (32, 256);
/// Connections without a certificate that counts: of one address, of all.
pub const STRANGERS: (usize, usize) = (16, 256);
/// Connections with one: of one member or operator, of all.
pub const KNOWN: (usize, usize) = (32, 512);
/// Handshakes that may fail from one address in [`FAILURES_WINDOW`]; then it is not listened to until that is over.
pub const FAILURES_MAX: u32 = 20;
/// The time in which [`FAILURES_MAX`] are counted.
pub const FAILURES_WINDOW: Duration = Duration::from_secs(10);
/// Handshakes of one address that show nothing, in [`FAILURES_WINDOW`]: each costs as much as a good one.
pub const STRANGERS_MAX: u32 = 100;

/// Handshakes of one member's address at a time on the threads that keep the lease: each takes about a millisecond of
/// one of them, and a member makes two.
pub const PREFERRED_MAX: u32 = 8;

/// A seat, and what tells its holder to leave.
pub(super) type Pass = (Seated, oneshot::Receiver<()>);

/// Counts who is inside and who failed.
#[derive(Debug)]
pub(super) struct ConnectionLimiter {
    failures: Limiter,
    strangers: Limiter,
    handshakes: Shared,
    members_handshakes: Shared,
    unknown: Shared,
    known: Shared,
    /// Handshakes of members' addresses on the threads that keep the lease.
    preferred: BTreeMap<IpAddr, u32>,
}

impl Default for ConnectionLimiter {
    fn default() -> Self {
        let of = |(each, all)| seats(each, all);
        ConnectionLimiter {
            failures: Limiter::new(FAILURES_MAX, FAILURES_WINDOW),
            strangers: Limiter::new(STRANGERS_MAX, FAILURES_WINDOW),
            handshakes: of(HANDSHAKES),
            members_handshakes: of(MEMBERS_HANDSHAKES),
            unknown: of(STRANGERS),
            known: of(KNOWN),
            preferred: BTreeMap::new(),
        }
    }
}

impl ConnectionLimiter {
    /// For a handshake; `familiar`: from a member's address. The oldest that is under way there makes room. `None`:
    /// not now.
    pub(super) fn admit(&self, now: Instant, from: IpAddr, familiar: bool) -> Option<Pass> {
        let whose = Whose::Address(share_of(from));
        // Whoever shares a member's address does not shut that member out.
        if familiar {
            return seats::take(&self.members_handshakes, whose);
        }
        let over = self.failures.is_over(now, from) || self.strangers.is_over(now, from);
        if over {
            return None;
        }
        seats::take(&self.handshakes, whose)
    }

    /// For who has shown nothing that counts, wherever it comes from. `None`: no room.
    pub(super) fn keep(&mut self, now: Instant, from: IpAddr) -> Option<Pass> {
        self.strangers.note(now, from);
        seats::take(&self.unknown, Whose::Address(share_of(from)))
    }

    /// For who has shown who it is. `None`: all its connections are busy.
    pub(super) fn welcome(&self, whose: Whose) -> Option<Pass> {
        seats::take(&self.known, whose)
    }

    /// The system gives no more files: whoever has shown nothing yet goes, the oldest first.
    pub(super) fn make_room(&self) -> bool {
        [&self.unknown, &self.handshakes, &self.members_handshakes]
            .into_iter()
            .any(make_room)
    }

    /// For a member's address: whether one more handshake is made on the threads that keep the lease. `None`: that
    /// would be too many, so it is made where those of strangers are.
    pub(super) fn prefer(this: &Arc<Mutex<ConnectionLimiter>>, from: IpAddr) -> Option<Preferred> {
        let mut limiter = lock(this);
        let under_way = limiter.preferred.entry(from).or_default();
        if *under_way >= PREFERRED_MAX {
            return None;
        }
        *under_way += 1;
        Some(Preferred(this.clone(), from))
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

/// Held for a handshake on the threads that keep the lease.
pub(super) struct Preferred(Arc<Mutex<ConnectionLimiter>>, IpAddr);

impl Drop for Preferred {
    fn drop(&mut self) {
        let mut limiter = lock(&self.0);
        if let Some(under_way) = limiter.preferred.get_mut(&self.1) {
            *under_way -= 1;
            if *under_way == 0 {
                limiter.preferred.remove(&self.1);
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

    fn now() -> Instant {
        Instant::from(Duration::from_secs(100))
    }

    fn address(i: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, i])
    }

    fn must_leave(told: &mut oneshot::Receiver<()>) -> bool {
        told.try_recv().is_ok()
    }

    /// Whoever may run a program on a member's machine could open thousands.
    #[test]
    fn handshakes_from_a_members_address_are_counted_too() {
        let limiter = ConnectionLimiter::default();
        let mut passes: Vec<Pass> = (0..MEMBERS_HANDSHAKES.0)
            .map(|_| limiter.admit(now(), address(1), true).unwrap())
            .collect();
        assert!(passes.iter_mut().all(|(_, told)| !must_leave(told)));
        let _newest = limiter.admit(now(), address(1), true).unwrap();
        assert!(must_leave(&mut passes[0].1), "the oldest makes room");
        assert!(!must_leave(&mut passes[1].1));
        let _other = limiter.admit(now(), address(2), true).unwrap();
        assert!(!must_leave(&mut passes[1].1), "another member's are others");
    }

    #[test]
    fn what_strangers_open_is_not_what_others_need() {
        let mut limiter = ConnectionLimiter::default();
        let mut member = limiter.welcome(Whose::User("alice".into())).unwrap();
        let mut knocks = limiter.admit(now(), address(1), true).unwrap();
        let mut strangers = Vec::new();
        for i in 0..=255 {
            for _ in 0..2 * STRANGERS.0 {
                strangers.extend(limiter.keep(now(), address(i)));
                strangers.extend(limiter.admit(now(), address(i), false));
            }
        }
        assert!(!must_leave(&mut member.1) && !must_leave(&mut knocks.1));
        let inside = strangers
            .iter_mut()
            .filter_map(|(_, told)| (!must_leave(told)).then_some(()))
            .count();
        assert_eq!(inside, STRANGERS.1 + HANDSHAKES.1);
    }

    /// 255 connections that asked nothing once kept everybody else out for a minute.
    #[test]
    fn strangers_who_ask_nothing_lock_nobody_out() {
        let mut limiter = ConnectionLimiter::default();
        let mut idle = Vec::new();
        for i in 0..STRANGERS.1 {
            idle.push(
                limiter
                    .keep(now(), address((i / STRANGERS.0) as u8))
                    .unwrap(),
            );
        }
        let mut joins = limiter.keep(now(), address(200)).expect("a joiner");
        assert!(must_leave(&mut idle[0].1) && !must_leave(&mut idle[1].1));
        let _asks = joins.0.visit().asks();
        for i in 0..2 * STRANGERS.1 {
            idle.extend(limiter.keep(now(), address((i % 100) as u8)));
        }
        assert!(!must_leave(&mut joins.1), "it is being answered");
    }

    #[test]
    fn without_files_who_has_shown_nothing_goes() {
        let mut limiter = ConnectionLimiter::default();
        assert!(!limiter.make_room());
        let mut known = limiter.welcome(Whose::User("alice".into())).unwrap();
        let mut member = limiter.admit(now(), address(1), true).unwrap();
        let mut stranger = limiter.keep(now(), address(2)).unwrap();
        assert!(limiter.make_room());
        assert!(must_leave(&mut stranger.1) && !must_leave(&mut member.1));
        assert!(limiter.make_room() && must_leave(&mut member.1));
        assert!(!limiter.make_room() && !must_leave(&mut known.1));
    }

    #[test]
    fn who_fails_again_and_again_is_not_listened_to_for_a_while() {
        let mut limiter = ConnectionLimiter::default();
        for _ in 0..FAILURES_MAX {
            assert!(limiter.admit(now(), address(1), false).is_some());
            limiter.failed(now(), address(1), false, "a test");
        }
        assert!(limiter.admit(now(), address(1), false).is_none());
        assert!(limiter.admit(now(), address(1), true).is_some(), "a member");
        let later = now() + FAILURES_WINDOW;
        assert!(limiter.admit(later, address(1), false).is_some());
    }

    /// Good handshakes that show nothing are not free either.
    #[test]
    fn strangers_have_so_many_handshakes_and_then_wait() {
        let mut limiter = ConnectionLimiter::default();
        for _ in 0..STRANGERS_MAX {
            assert!(limiter.admit(now(), address(1), false).is_some());
            assert!(limiter.keep(now(), address(1)).is_some());
        }
        assert!(limiter.admit(now(), address(1), false).is_none());
        let later = now() + FAILURES_WINDOW;
        assert!(limiter.admit(later, address(1), false).is_some());
    }

    #[test]
    fn a_members_address_has_few_handshakes_where_the_lease_is_kept() {
        let limiter: Arc<Mutex<ConnectionLimiter>> = Arc::default();
        let (one, two) = (address(1), address(2));
        let prefer = |from| ConnectionLimiter::prefer(&limiter, from);
        let inside: Vec<Preferred> = (0..PREFERRED_MAX).map(|_| prefer(one).unwrap()).collect();
        assert!(prefer(one).is_none());
        assert!(prefer(two).is_some(), "another member is not held up by it");
        drop(inside);
        assert!(prefer(one).is_some());
        assert!(lock(&limiter).preferred.is_empty());
    }
}
