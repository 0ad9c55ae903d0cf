//! How far ahead the terms may be that members speak of: no member brings them to their end, and none keeps a node out
//! that was away while they rose.
//!
//! A term that elections can have reached ([`TERM_AHEAD_MAX`](super::plausible::TERM_AHEAD_MAX) above what this node knows) is believed at once. One that
//! is further ahead is believed after it has been heard of for as long as terms need to get there at [`TERM_STEP`] a
//! second: so nobody makes this node go faster, and whoever leads gets through to a node that knows little.

use super::plausible::{Implausible, Plausible};
use ha_core::id::NodeId;
use ha_core::time::Instant;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Terms that may pass in a second beside those of elections: 2^64 take more than a century.
pub const TERM_STEP: u64 = 1 << 32;
/// Who has not been heard for so long begins anew.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// One clock for all members: who alone speaks of far terms makes it no faster by being several.
#[derive(Debug, Default)]
pub struct Terms(Mutex<Heard>);

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// Since when, and when last, terms were spoken of that are too far ahead.
    refused: Option<(Instant, Instant)>,
    /// When one of those was believed last.
    believed: Option<Instant>,
}

impl Heard {
    /// How far ahead a term may be now, beside what elections can have reached.
    fn reach(&self, now: Instant) -> u64 {
        let since = self.refused.map_or(now, |(since, _)| since);
        let since = self.believed.map_or(since, |at| since.max(at));
        TERM_STEP.saturating_mul(now.saturating_since(since).as_secs())
    }
}

impl Terms {
    /// Whether `from` can mean that, to a node that knows `term`.
    ///
    /// # Errors
    /// It cannot, or not yet.
    pub fn believe(
        &self,
        now: Instant,
        from: NodeId,
        term: u64,
        said: &impl Plausible,
    ) -> Result<(), Implausible> {
        let Err(why) = said.check(from, term) else {
            return Ok(());
        };
        if !matches!(why, Implausible::Term(..)) {
            return Err(why);
        }
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.refused = heard
            .refused
            .filter(|(_, last)| now.saturating_since(*last) < FORGOTTEN_AFTER)
            .map_or(Some((now, now)), |(since, _)| Some((since, now)));
        let further = term.saturating_add(heard.reach(now));
        said.check(from, further).map_err(|_| why)?;
        *heard = Heard {
            refused: None,
            believed: Some(now),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::plausible::TERM_AHEAD_MAX;
    use super::*;
    use ha_record::peer::VoteRequest;
    use ha_record::vote::Vote;

    const FAR: u64 = TERM_AHEAD_MAX + 3 * TERM_STEP;

    fn says(terms: &Terms, seconds: u64, known: u64, term: u64) -> bool {
        let (now, from) = (
            Instant::from(Duration::from_secs(1000 + seconds)),
            NodeId::from_random(1),
        );
        let vote = Vote {
            term,
            node: from,
            committed: false,
        };
        let asks = VoteRequest {
            vote,
            last: None,
            transfer: false,
        };
        terms.believe(now, from, known, &asks).is_ok()
    }

    #[test]
    fn who_was_away_follows_once_it_has_been_told_for_long_enough() {
        let terms = Terms::default();
        assert!(says(&terms, 0, 7, 7 + TERM_AHEAD_MAX));
        for seconds in 0..3 {
            assert!(!says(&terms, seconds, 7, 7 + FAR));
        }
        assert!(says(&terms, 3, 7, 7 + FAR));
        // And what is near to that at once.
        assert!(says(&terms, 3, 7 + FAR, 8 + FAR));
    }

    #[test]
    fn nobody_brings_terms_to_their_end() {
        let (terms, mut known) = (Terms::default(), 0);
        for seconds in 0..100_000 {
            // Whatever there is room for, and the end of all terms.
            assert!(!says(&terms, seconds, known, u64::MAX - 1));
            let reached = (0..2000).rev().map(|steps| known + steps * TERM_STEP);
            known = reached
                .take(if seconds % 1000 == 999 { 2000 } else { 0 })
                .find(|term| says(&terms, seconds, known, *term))
                .unwrap_or(known);
            assert!(known <= (seconds + 1) * TERM_STEP, "{seconds}: {known}");
        }
        assert!(known > 90_000 * TERM_STEP);
        assert!(!says(&terms, 200_000, u64::MAX - 5, u64::MAX));
    }
}
