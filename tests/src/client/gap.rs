//! The client that measures: a new connection every few milliseconds, each with
//! a bound of its own, none waiting for another.
//!
//! The *gap* is the longest time between the starts of two consecutive
//! successes; the *stall* is the same between their ends, and so also sees
//! answers that came, but late. The client's own pauses are known too, so that
//! a busy test machine is not taken for a fault.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::attempt::{Attempt, Outcome, Pending};
use crate::netns::Machine;
use crate::{sys, wait};

/// Asks again and again, in a thread in its machine's namespace, until finished or dropped.
pub struct GapClient {
    stop: Arc<AtomicBool>,
    history: Arc<Mutex<History>>,
    thread: Option<JoinHandle<()>>,
}

/// How a gap client asks.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A new connection so often.
    pub every: Duration,
    /// Each fails after so long.
    pub bound: Duration,
}

impl Default for Pace {
    /// A connection every 5 ms, each bounded to 1 s.
    fn default() -> Pace {
        Pace {
            every: Duration::from_millis(5),
            bound: Duration::from_secs(1),
        }
    }
}

/// All attempts of a gap client.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Finished attempts, in the order of their ends.
    pub attempts: Vec<Attempt>,
    /// The longest time for which the client itself did not run.
    pub own_pause: Duration,
}

/// What a client noticed over a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Longest time between the starts of two consecutive successes.
    pub gap: Duration,
    /// Longest time between the ends of two consecutive successes.
    pub stall: Duration,
    pub failed: usize,
    /// Attempts that got their answer.
    pub answered: usize,
}

impl GapClient {
    /// A connection every 5 ms, each bounded to 1 s.
    pub fn start(machine: &Machine, to: SocketAddr) -> GapClient {
        GapClient::start_with(machine, None, to, Pace::default())
    }

    /// With a source address and a pace of one's own.
    pub fn start_with(
        machine: &Machine,
        source: Option<IpAddr>,
        to: SocketAddr,
        pace: Pace,
    ) -> GapClient {
        let stop = Arc::new(AtomicBool::new(false));
        let history = Arc::new(Mutex::new(History::default()));
        let namespace = machine.namespace().to_owned();
        let thread = std::thread::spawn({
            let (stop, history) = (stop.clone(), history.clone());
            move || {
                sys::enter_netns(&namespace).expect("the client's namespace is there");
                ask(source, to, pace, &stop, &history);
            }
        });
        GapClient {
            stop,
            history,
            thread: Some(thread),
        }
    }

    pub fn history(&self) -> History {
        self.history.lock().expect("client does not panic").clone()
    }

    /// Waits until so many attempts that began from now on have succeeded one after the other.
    #[track_caller]
    pub fn wait_for_service(&self, in_a_row: usize, bound: Duration) {
        let asked = Instant::now();
        wait::until(&format!("{in_a_row} answers in a row"), bound, || {
            let history = self.history.lock().expect("client does not panic");
            let since = history
                .attempts
                .iter()
                .rev()
                .take_while(|attempt| attempt.started >= asked);
            let good = since
                .take_while(|attempt| matches!(attempt.outcome, Outcome::Answered(_)))
                .count();
            let last = history.attempts.last().map(|attempt| &attempt.outcome);
            if good >= in_a_row {
                Ok(())
            } else {
                Err(format!("{good} in a row, the last was {last:?}"))
            }
        });
    }

    /// Stops asking, lets the open attempts end, and gives everything.
    pub fn finish(mut self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("client does not panic");
        }
        self.history()
    }
}

impl Drop for GapClient {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl History {
    /// What was noticed over the whole time.
    pub fn gap(&self) -> Gap {
        measure(self.attempts.iter())
    }

    /// What was noticed by attempts that began in a span; the gap counts from the last success before it.
    pub fn gap_between(&self, from: Instant, to: Instant) -> Gap {
        let ok = |attempt: &&Attempt| matches!(attempt.outcome, Outcome::Answered(_));
        let before = self
            .attempts
            .iter()
            .filter(ok)
            .filter(|a| a.started < from)
            .max_by_key(|a| a.started);
        let within = self
            .attempts
            .iter()
            .filter(|a| a.started >= from && a.started <= to);
        measure(before.into_iter().chain(within))
    }

    /// From the start of the first failed attempt to the start of the last; zero when none failed.
    pub fn trouble(&self) -> Duration {
        let failed = || {
            self.attempts
                .iter()
                .filter(|a| !matches!(a.outcome, Outcome::Answered(_)))
                .map(|a| a.started)
        };
        failed()
            .max()
            .zip(failed().min())
            .map_or(Duration::ZERO, |(last, first)| last - first)
    }

    /// How many answers each server gave.
    pub fn servers(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for attempt in &self.attempts {
            if let Outcome::Answered(server) = &attempt.outcome {
                *count.entry(server.clone()).or_default() += 1;
            }
        }
        count
    }

    /// How many attempts failed, by how.
    pub fn failures(&self) -> BTreeMap<Outcome, usize> {
        let mut count = BTreeMap::new();
        for attempt in self
            .attempts
            .iter()
            .filter(|a| !matches!(a.outcome, Outcome::Answered(_)))
        {
            *count.entry(attempt.outcome.clone()).or_default() += 1;
        }
        count
    }

    /// The servers that answered attempts begun at or after an instant.
    pub fn servers_since(&self, from: Instant) -> BTreeMap<String, usize> {
        let attempts = self
            .attempts
            .iter()
            .filter(|a| a.started >= from)
            .cloned()
            .collect();
        History {
            attempts,
            own_pause: self.own_pause,
        }
        .servers()
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gap {
            gap,
            stall,
            failed,
            answered,
        } = self.gap();
        write!(
            f,
            "{answered} answered {:?}, {failed} failed {:?}, ",
            self.servers(),
            self.failures()
        )?;
        write!(
            f,
            "gap {gap:?}, stall {stall:?}, client's own longest pause {:?}",
            self.own_pause
        )
    }
}

fn measure<'a>(attempts: impl Iterator<Item = &'a Attempt>) -> Gap {
    let (good, bad): (Vec<_>, Vec<_>) =
        attempts.partition(|a| matches!(a.outcome, Outcome::Answered(_)));
    let mut starts: Vec<_> = good.iter().map(|attempt| attempt.started).collect();
    let mut ends: Vec<_> = good.iter().map(|attempt| attempt.ended).collect();
    Gap {
        gap: longest(&mut starts),
        stall: longest(&mut ends),
        failed: bad.len(),
        answered: good.len(),
    }
}

fn longest(instants: &mut [Instant]) -> Duration {
    instants.sort_unstable();
    instants
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(Duration::MAX)
}

fn ask(
    source: Option<IpAddr>,
    to: SocketAddr,
    pace: Pace,
    stop: &AtomicBool,
    history: &Mutex<History>,
) {
    let mut pending: Vec<Pending> = vec![];
    let mut next = Instant::now();
    let mut ran = next;
    loop {
        let now = Instant::now();
        let pause = now - ran;
        let stopping = stop.load(Ordering::Relaxed);
        if stopping && pending.is_empty() {
            return;
        }
        let mut ended = vec![];
        if !stopping && now >= next {
            next = (next + pace.every).max(now);
            match Pending::start(to, source, now) {
                Ok(attempt) => pending.push(attempt),
                Err(outcome) => ended.push(Attempt {
                    started: now,
                    ended: now,
                    outcome,
                }),
            }
        }
        let first_bound = pending.first().map(|attempt| attempt.started + pace.bound);
        let wake = first_bound
            .into_iter()
            .chain((!stopping).then_some(next))
            .min()
            .unwrap_or(now);
        let ready = poll(&pending, wake.saturating_duration_since(now));
        ran = Instant::now();
        let mut at = 0;
        pending.retain_mut(|attempt| {
            let outcome = ready[at].then(|| attempt.advance()).flatten();
            let late = ran - attempt.started >= pace.bound;
            at += 1;
            let outcome = outcome.or(late.then(|| attempt.late()));
            ended.extend(outcome.clone().map(|outcome| Attempt {
                started: attempt.started,
                ended: ran,
                outcome,
            }));
            outcome.is_none()
        });
        let overslept = ran.saturating_duration_since(wake.max(now));
        let mut history = history
            .lock()
            .expect("readers do not panic while they hold it");
        history.own_pause = history.own_pause.max(pause).max(overslept);
        history.attempts.extend(ended);
    }
}

fn poll(pending: &[Pending], wait: Duration) -> Vec<bool> {
    let mut polled: Vec<_> = pending.iter().map(Pending::interest).collect();
    let wait = libc::timespec {
        tv_sec: wait.as_secs() as i64,
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    // SAFETY: the list and its length belong together; no signal mask.
    unsafe {
        libc::ppoll(
            polled.as_mut_ptr(),
            polled.len() as u64,
            &raw const wait,
            std::ptr::null(),
        )
    };
    polled.iter().map(|entry| entry.revents != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_between_starts_and_the_stall_between_ends() {
        let origin = Instant::now();
        let at = |ms| origin + Duration::from_millis(ms);
        let good = |start, end| Attempt {
            started: at(start),
            ended: at(end),
            outcome: Outcome::Answered("a".into()),
        };
        let bad = |start, end| Attempt {
            started: at(start),
            ended: at(end),
            outcome: Outcome::TimedOut,
        };
        let history = History {
            attempts: vec![good(0, 1), bad(10, 1010), good(20, 900), good(40, 901)],
            ..History::default()
        };
        let gap = history.gap();
        assert_eq!(
            (gap.gap, gap.stall),
            (Duration::from_millis(20), Duration::from_millis(899))
        );
        assert_eq!((gap.failed, gap.answered), (1, 3));
        assert_eq!(
            history.gap_between(at(10), at(30)).gap,
            Duration::from_millis(20)
        );
    }

    #[test]
    fn without_two_answers_the_gap_has_no_end() {
        assert_eq!(History::default().gap().gap, Duration::MAX);
    }
}
