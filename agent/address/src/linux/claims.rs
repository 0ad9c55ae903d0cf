//! Other machines' claims of addresses that are held here: how often they are told, and whether they are yielded to.
//! Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::frames::{Claim, Mac};
use crate::types::{OnClaim, mac_words};

/// A claim of the same address is answered and told at most this often.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// Who yielded stays away for so long after the last claim.
const AWAY_FOR: Duration = Duration::from_secs(10);

/// What is known of claims.
#[derive(Debug, Default)]
pub(super) struct Claims {
    told: BTreeMap<IpAddr, Duration>,
    yielded: BTreeMap<IpAddr, Yielded>,
}

/// An address that was given up, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Yielded {
    pub(super) mac: Mac,
    last: Duration,
}

impl Claims {
    /// Takes note of a claim of an address that is held; whether it is told.
    pub(super) fn heard(&mut self, claim: Claim, on_claim: OnClaim, now: Duration) -> bool {
        let Claim { address, mac } = claim;
        if on_claim == OnClaim::Yield {
            self.yielded.insert(address, Yielded { mac, last: now });
        }
        self.told.retain(|_, at| now < *at + TOLD_EVERY);
        let is_new = !self.told.contains_key(&address);
        if is_new {
            self.told.insert(address, now);
        }
        is_new
    }

    /// Addresses that were yielded long enough ago to ask whether the other machine still has them.
    pub(super) fn due(&self, now: Duration) -> Vec<(IpAddr, Mac)> {
        let over = self
            .yielded
            .iter()
            .filter(|(_, y)| y.last + AWAY_FOR <= now);
        over.map(|(address, y)| (*address, y.mac)).collect()
    }

    /// Takes note of whether the other machine has answered.
    pub(super) fn asked(&mut self, address: IpAddr, still_there: bool, now: Duration) {
        if still_there {
            if let Some(yielded) = self.yielded.get_mut(&address) {
                yielded.last = now;
            }
        } else {
            self.yielded.remove(&address);
        }
    }

    /// Why this node stays away.
    pub(super) fn obstacle(&self) -> Option<String> {
        let (address, yielded) = self.yielded.iter().next()?;
        Some(format!(
            "another machine ({}) claims {address}, and this node yields (`on_claim` in agent.toml): take the address away there",
            mac_words(yielded.mac)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_told_once_a_second_and_yielded_to_for_10_s_after_the_last() {
        let ms = Duration::from_millis;
        let claim = |last| Claim {
            address: IpAddr::from([10, 0, 0, 100]),
            mac: [2, 0, 0, 0, 0, last],
        };
        let mut claims = Claims::default();
        assert!(claims.heard(claim(1), OnClaim::Defend, ms(0)));
        assert!(
            !claims.heard(claim(2), OnClaim::Defend, ms(900)),
            "the same address"
        );
        assert_eq!(claims.obstacle(), None);
        assert!(claims.heard(claim(3), OnClaim::Yield, ms(1000)));
        assert!(!claims.heard(claim(3), OnClaim::Yield, ms(1500)));
        assert!(
            claims
                .obstacle()
                .is_some_and(|o| o.contains("02:00:00:00:00:03"))
        );
        let (address, mac) = (claim(3).address, claim(3).mac);
        assert_eq!(claims.due(ms(11_499)), []);
        assert_eq!(claims.due(ms(11_500)), [(address, mac)]);
        claims.asked(address, true, ms(11_600));
        assert_eq!(claims.due(ms(21_599)), [], "it is still there");
        claims.asked(address, false, ms(21_700));
        assert_eq!((claims.obstacle(), claims.due(ms(40_000))), (None, vec![]));
    }
}
