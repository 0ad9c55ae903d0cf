//! When each session of a worker is looked at next. What is not due is not touched, however many sessions there are.
//!
//! A ring of buckets, one for each [`TICK`]; a session is in the bucket of its next look. Sessions that end are not
//! searched for: who looks finds that they are gone. So no look is further away than [`FURTHEST`].

/// Milliseconds that a bucket covers.
pub(super) const TICK: u32 = 100;
const BUCKETS: usize = 256;
/// The longest that a session is not looked at, in milliseconds.
pub(super) const FURTHEST: u32 = (BUCKETS as u32 - 2) * TICK;

/// A session that is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Its place in the table.
    pub(super) place: u32,
    /// When, in the worker's milliseconds.
    pub(super) due: u32,
    /// Its id: the place may be another's by then.
    pub(super) id: u64,
}

#[derive(Debug)]
pub(super) struct Wheel {
    buckets: Vec<Vec<Look>>,
    at: usize,
    /// The time of the bucket at `at`, in the worker's milliseconds.
    turned: u32,
    /// Due, and left over from turns in which too many were.
    ready: Vec<Look>,
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel {
            buckets: vec![Vec::new(); BUCKETS],
            at: 0,
            turned: 0,
            ready: Vec::new(),
        }
    }
}

impl Wheel {
    /// Has that look come up when it is due, or up to a tick later; one that is too far away comes up at [`FURTHEST`].
    pub(super) fn put(&mut self, look: Look) {
        // One that is due already, or was before the wheel turned last, is in the next bucket. Time wraps.
        let away = (look.due.wrapping_sub(self.turned) as i32).clamp(1, FURTHEST as i32);
        let ticks = (away as u32).div_ceil(TICK) as usize;
        self.buckets[(self.at + ticks) % BUCKETS].push(look);
    }

    /// Takes out what is due at `now`, at most so many; the rest comes with the next call.
    pub(super) fn take_due(&mut self, now: u32, most: usize) -> Vec<Look> {
        let passed = (now.wrapping_sub(self.turned) / TICK) as usize;
        for _ in 0..passed.min(BUCKETS) {
            self.at = (self.at + 1) % BUCKETS;
            self.ready.append(&mut self.buckets[self.at]);
        }
        self.turned = self.turned.wrapping_add(passed as u32 * TICK);
        // Whoever has waited longest comes first, or a busy wheel would never look at some.
        let later = self.ready.split_off(most.min(self.ready.len()));
        std::mem::replace(&mut self.ready, later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_comes_up_when_it_is_due_and_never_more_than_a_tick_later() {
        // The wheel begins shortly before the worker's time wraps.
        let begin = u32::MAX - 20_000;
        let mut wheel = Wheel::default();
        wheel.take_due(begin, 1);
        let begin = wheel.turned;
        let due: Vec<u32> = (0..FURTHEST).step_by(37).collect();
        for (place, away) in due.iter().enumerate() {
            wheel.put(Look {
                place: place as u32,
                due: begin.wrapping_add(*away),
                id: 1,
            });
        }
        let mut seen = 0;
        for passed in (0..FURTHEST + 2 * TICK).step_by(5) {
            let now = begin.wrapping_add(passed);
            for look in wheel.take_due(now, usize::MAX) {
                let late = now.wrapping_sub(look.due);
                assert!(late <= TICK, "{late} ms late");
                seen += 1;
            }
        }
        assert_eq!(seen, due.len());
    }

    #[test]
    fn what_was_left_over_comes_before_what_is_due_later() {
        let mut wheel = Wheel::default();
        for place in 0..4 {
            let due = (place + 1) * TICK;
            wheel.put(Look { place, due, id: 1 });
        }
        let mut places = |now: u32| -> Vec<u32> {
            let due = wheel.take_due(now, 1);
            due.iter().map(|look| look.place).collect()
        };
        let seen = [2, 3, 4, 4].map(|ticks| places(ticks * TICK));
        assert_eq!(seen, [[0], [1], [2], [3]]);
    }

    #[test]
    fn of_a_hundred_thousand_idle_sessions_few_are_touched_in_a_tick() {
        const SESSIONS: u32 = 100_000;
        let mut wheel = Wheel::default();
        let next = |place: u32, now: u32| Look {
            place,
            due: now
                + FURTHEST / 2
                + ha_core::balance::mix(u64::from(place)) as u32 % (FURTHEST / 2),
            id: u64::from(place),
        };
        (0..SESSIONS).for_each(|place| wheel.put(next(place, 0)));
        let (mut most, mut all) = (0, 0);
        for now in (TICK..=60_000).step_by(TICK as usize) {
            let due = wheel.take_due(now, usize::MAX);
            (most, all) = (most.max(due.len()), all + due.len());
            due.iter().for_each(|look| wheel.put(next(look.place, now)));
        }
        assert!(most < 2500, "{most} of {SESSIONS} in one tick");
        // A walk every 100 ms would have touched each of them 600 times in this minute.
        let each = all as f64 / f64::from(SESSIONS);
        assert!((2.0..6.0).contains(&each), "{each} looks at each");
    }

    #[test]
    fn what_is_too_much_for_one_turn_is_left_for_the_next() {
        let mut wheel = Wheel::default();
        for place in 0..10 {
            wheel.put(Look {
                place,
                due: 50,
                id: 1,
            });
        }
        let turns: Vec<usize> = [100, 101, 102, 103]
            .map(|now| wheel.take_due(now, 4).len())
            .to_vec();
        assert_eq!(turns, [4, 4, 2, 0]);
    }

    #[test]
    fn after_a_long_stop_everything_is_due_once() {
        let mut wheel = Wheel::default();
        for place in 0..1000 {
            wheel.put(Look {
                place,
                due: place * 20,
                id: 1,
            });
        }
        assert_eq!(wheel.take_due(10 * FURTHEST, usize::MAX).len(), 1000);
        assert!(wheel.take_due(20 * FURTHEST, usize::MAX).is_empty());
    }
}
