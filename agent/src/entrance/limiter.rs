//! How often something may happen per address: bounded in what it remembers, time as an argument.

use ha_core::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Addresses that are remembered; above it all are forgotten, which lets a few too many through.
const ADDRESSES_MAX: usize = 4096;

/// What counts as one address: of IPv6 the network of 64 bits, for each machine may take any address in its own.
pub fn share_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(a) => IpAddr::from((u128::from(a) & (u128::MAX << 64)).to_be_bytes()),
        v4 => v4,
    }
}

/// At most so many per window and address (see [`share_of`]).
#[derive(Debug)]
pub struct Limiter {
    max: u32,
    window: Duration,
    seen: BTreeMap<IpAddr, (Instant, u32)>,
}

impl Limiter {
    /// At most `max` in each `window`.
    pub fn new(max: u32, window: Duration) -> Self {
        Limiter {
            max,
            window,
            seen: BTreeMap::new(),
        }
    }

    /// Whether `address` has used up its share at `now`.
    pub fn is_over(&self, now: Instant, address: IpAddr) -> bool {
        self.seen
            .get(&share_of(address))
            .is_some_and(|(since, count)| {
                *count >= self.max && now.saturating_since(*since) < self.window
            })
    }

    /// Counts one more from that address.
    pub fn note(&mut self, now: Instant, address: IpAddr) {
        if self.seen.len() >= ADDRESSES_MAX {
            let window = self.window;
            self.seen
                .retain(|_, (since, _)| now.saturating_since(*since) < window);
            if self.seen.len() >= ADDRESSES_MAX {
                self.seen.clear();
            }
        }
        let (since, count) = self.seen.entry(share_of(address)).or_insert((now, 0));
        if now.saturating_since(*since) >= self.window {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
    }

    /// One that was noted is not counted after all.
    pub fn take_back(&mut self, address: IpAddr) {
        if let Some((_, count)) = self.seen.get_mut(&share_of(address)) {
            *count = count.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::from(Duration::from_secs(s))
    }

    #[test]
    fn each_address_has_its_share_and_gets_it_again() {
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut limiter = Limiter::new(3, Duration::from_secs(10));
        for i in 0..3 {
            assert!(!limiter.is_over(at(i), one));
            limiter.note(at(i), one);
        }
        assert!(limiter.is_over(at(9), one) && !limiter.is_over(at(9), two));
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        assert!(
            limiter.is_over(at(9), mapped),
            "the same address, written otherwise"
        );
        assert!(!limiter.is_over(at(10), one));
        limiter.note(at(10), one);
        assert!(!limiter.is_over(at(10), one), "a new window begins at one");
        limiter.note(at(10), one);
        limiter.note(at(10), one);
        limiter.take_back(one);
        assert!(!limiter.is_over(at(10), one));
    }

    #[test]
    fn a_machine_does_not_get_more_by_taking_more_addresses() {
        let at_home = |n: u128| IpAddr::from((0xfd00_u128 << 112 | n).to_be_bytes());
        let mut limiter = Limiter::new(3, Duration::from_secs(10));
        for n in 1..=3 {
            limiter.note(at(0), at_home(n));
        }
        assert!(limiter.is_over(at(1), at_home(99)) && !limiter.is_over(at(1), at_home(1 << 64)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut limiter = Limiter::new(1, Duration::from_secs(10));
        for i in 0..ADDRESSES_MAX as u32 * 3 {
            limiter.note(at(u64::from(i) / 1000), IpAddr::from(i.to_be_bytes()));
            assert!(limiter.seen.len() <= ADDRESSES_MAX);
        }
    }
}
