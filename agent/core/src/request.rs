//! What keeps a change that is asked for twice from being made twice: requests have ids, the state remembers what it
//! answered, and who asks goes on asking by one rule.
//!
//! ```text
//!   ha-cli, the simulated operators --Asking--> the same id at each attempt, and how long ago the first was
//!   state::apply --Answers--> new: carried out, its answer kept
//!                             answered before: that answer again, nothing is done
//!                             perhaps forgotten: refused
//! ```

use crate::command::{Answer, Rejection};
use crate::time::{Instant, Timestamp};
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Answers that are remembered; the oldest go first.
pub const ANSWERS_MAX: usize = 4096;
/// For how long one is remembered, by the stamps of commands.
pub const ANSWERS_KEPT: Duration = Duration::from_secs(600);
/// Clocks of nodes that lead one after the other differ by at most this, where it is about what was forgotten.
const SKEW: Duration = Duration::from_secs(10);

/// Tells a request from every other, and is the same in all attempts at it: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RequestId(pub [u8; 16]);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RequestId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let is_one = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let bits = u128::from_str_radix(text, 16).ok().filter(|_| is_one);
        bits.map(|bits| RequestId(bits.to_be_bytes()))
            .ok_or_else(|| format!("found {text:?}; a request has 32 hexadecimal digits"))
    }
}

/// As a command carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    pub id: RequestId,
    /// When it was asked for the first time, by the clock of who proposes it.
    pub asked: Timestamp,
}

/// What was answered to one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answered {
    pub id: RequestId,
    /// The stamp of its command.
    pub at: Timestamp,
    /// A refusal is one too: an attempt that comes later must not be carried out after all.
    pub answer: Answer,
}

/// The newest answers, at most [`ANSWERS_MAX`] and about [`ANSWERS_KEPT`] old.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Answers {
    forgotten: Timestamp,
    kept: VecDeque<Arc<Answered>>,
}

impl Answers {
    /// As they were kept: the stamp of the newest that was forgotten, then those that are there, oldest first.
    pub fn of(forgotten: Timestamp, kept: impl IntoIterator<Item = Answered>) -> Self {
        let mut kept: VecDeque<_> = kept.into_iter().map(Arc::new).collect();
        kept.drain(..kept.len().saturating_sub(ANSWERS_MAX));
        Answers { forgotten, kept }
    }

    /// The stamp of the newest that was forgotten.
    pub const fn forgotten(&self) -> Timestamp {
        self.forgotten
    }

    /// What is remembered, the oldest first.
    pub fn kept(&self) -> impl ExactSizeIterator<Item = &Answered> {
        self.kept.iter().map(|a| &**a)
    }

    /// What was answered to that request at an earlier attempt, or that nobody knows any more; `None`: it is new. `at`:
    /// the stamp of this attempt.
    pub fn to(&self, request: Request, at: Timestamp) -> Option<Answer> {
        // Those that are asked for again are among the newest.
        let known = self.kept.iter().rev().find(|a| a.id == request.id);
        if let Some(known) = known {
            return Some(known.answer.clone());
        }
        // The first attempt cannot have been answered before.
        let again = request.asked < at;
        let perhaps_forgotten = again && request.asked <= self.forgotten + SKEW;
        (perhaps_forgotten && self.forgotten != Timestamp::default())
            .then_some(Err(Rejection::AskedTooLongAgo))
    }

    /// Keeps an answer, and forgets what is too old or too much.
    pub(crate) fn remember(&mut self, id: RequestId, at: Timestamp, answer: Answer) {
        self.kept.push_back(Arc::new(Answered { id, at, answer }));
        let is_old = |a: &Arc<Answered>| a.at + ANSWERS_KEPT < at;
        while self.kept.len() > ANSWERS_MAX || self.kept.front().is_some_and(is_old) {
            let Some(gone) = self.kept.pop_front() else {
                break;
            };
            // A stamp of a clock that was fast for a moment would make everybody's retries look old.
            self.forgotten = self.forgotten.max(gone.at.min(at));
        }
    }
}

/// One request as somebody makes it, attempt after attempt.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    id: RequestId,
    began: Instant,
    until: Instant,
    in_doubt: bool,
}

/// What came of an attempt that brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Whoever was asked says that it did nothing, and could not.
    NothingDone,
    /// Nobody knows whether it was carried out.
    Unknown,
}

/// What follows an attempt that brought no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, at whoever may lead.
    Again,
    /// No more: it was not carried out, and will not be.
    NotDone,
    /// No more: it may have been carried out, or still be.
    InDoubt,
}

impl Asking {
    /// Begins to ask, for so long.
    pub fn new(id: RequestId, now: Instant, patience: Duration) -> Self {
        Asking {
            id,
            began: now,
            until: now + patience,
            in_doubt: false,
        }
    }

    /// Which request it is.
    pub const fn id(&self) -> RequestId {
        self.id
    }

    /// How long ago its first attempt was made: goes with each attempt.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_since(self.began)
    }

    /// An attempt brought no answer.
    pub fn on_silence(&mut self, now: Instant, silence: Silence) -> Next {
        self.in_doubt |= silence == Silence::Unknown;
        match (now < self.until, self.in_doubt) {
            (true, _) => Next::Again,
            (false, true) => Next::InDoubt,
            (false, false) => Next::NotDone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Outcome;

    fn id(n: u64) -> RequestId {
        RequestId(u128::from(n).to_be_bytes())
    }

    fn again(n: u64, asked: u64) -> Request {
        Request {
            id: id(n),
            asked: Timestamp(asked),
        }
    }

    #[test]
    fn an_id_survives_its_text_and_nothing_else_is_one() {
        for bits in [0, 1, u128::MAX] {
            let id = RequestId(bits.to_be_bytes());
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let signed = format!("+{}", "0".repeat(31));
        for text in ["", "12", signed.as_str(), &"g".repeat(32), &"0".repeat(33)] {
            assert!(text.parse::<RequestId>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_is_that_of_the_first_attempt_while_it_is_kept_and_then_a_refusal() {
        let mut answers = Answers::default();
        let base = 1_000_000_000;
        answers.remember(id(1), Timestamp(base), Ok(Outcome::Configured(7)));
        let first = Some(Ok(Outcome::Configured(7)));
        assert_eq!(answers.to(again(1, base - 5), Timestamp(base + 900)), first);
        let later = base + ANSWERS_KEPT.as_millis() as u64 + 1;
        answers.remember(id(2), Timestamp(later), Ok(Outcome::Done));
        assert_eq!(answers.kept().count(), 1, "the first is too old");
        assert_eq!(
            answers.to(again(1, base - 5), Timestamp(later + 1)),
            Some(Err(Rejection::AskedTooLongAgo))
        );
        assert_eq!(answers.to(again(3, later), Timestamp(later + 500)), None);
    }

    #[test]
    fn too_many_at_once_make_retries_a_refusal_and_new_requests_go_on() {
        let mut answers = Answers::default();
        for n in 0..=ANSWERS_MAX as u64 {
            answers.remember(id(n), Timestamp(1_000_000 + n), Ok(Outcome::Done));
        }
        assert_eq!(answers.kept().count(), ANSWERS_MAX);
        let now = Timestamp(1_010_000);
        let forgotten = Some(Err(Rejection::AskedTooLongAgo));
        assert_eq!(answers.to(again(0, 999_990), now), forgotten);
        assert_eq!(answers.to(again(99_999, now.0), now), None, "it is new");
    }

    /// The stamp of such a clock makes others forgotten early; what is in doubt then is refused, and nothing else.
    #[test]
    fn a_clock_that_is_fast_for_a_moment_stops_nobody_for_long() {
        let (base, day) = (1_000_000_000, 86_400_000);
        let mut answers = Answers::default();
        answers.remember(id(1), Timestamp(base), Ok(Outcome::Done));
        answers.remember(id(2), Timestamp(base + day), Ok(Outcome::Done));
        assert_eq!(answers.forgotten(), Timestamp(base));
        for n in 3..=ANSWERS_MAX as u64 + 3 {
            answers.remember(id(n), Timestamp(base + n), Ok(Outcome::Done));
        }
        let now = base + 60_000;
        assert!(answers.forgotten().0 < base + 10_000);
        assert_eq!(
            answers.to(again(99_999, now - 3000), Timestamp(now)),
            None,
            "a retry that began after all that is carried out"
        );
    }

    #[test]
    fn who_asks_knows_whether_it_may_have_been_done() {
        let (second, patience) = (Duration::from_secs(1), Duration::from_secs(3));
        let mut asking = Asking::new(id(1), Instant(0), patience);
        let later = |n: u32| Instant(0) + second * n;
        assert_eq!(
            asking.on_silence(later(1), Silence::NothingDone),
            Next::Again
        );
        let mut untouched = asking;
        assert_eq!(
            untouched.on_silence(later(3), Silence::NothingDone),
            Next::NotDone
        );
        assert_eq!(asking.on_silence(later(2), Silence::Unknown), Next::Again);
        assert_eq!(
            asking.on_silence(later(4), Silence::NothingDone),
            Next::InDoubt,
            "of an earlier attempt nobody knows"
        );
        assert_eq!(asking.age(later(4)), second * 4);
    }
}
