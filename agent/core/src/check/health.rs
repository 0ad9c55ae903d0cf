//! The health of one server: HAProxy's state machine, exactly (its `check.c`; `docs/semantics.md`, "Health").
//!
//! One integer `0..rise+fall-1`. Up when it is at least `rise`. A pass while up, and a failure
//! while down, go straight to the end of the scale: that is why "3 of 3" has to be in a row.

use crate::model::Check;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Where one server stands on its scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ServerHealth {
    level: u16,
    rise: u16,
    fall: u16,
}

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CheckResult {
    /// The connect succeeded (`L4OK`).
    Passed,
    /// Refused or unreachable (`L4CON`).
    Refused,
    /// No answer in time (`L4TOUT`).
    TimedOut,
    /// Real traffic failed to connect as often as `observe` allows.
    Observed,
}

impl CheckResult {
    /// The word that HAProxy shows as `check_status`.
    pub const fn word(self) -> &'static str {
        match self {
            CheckResult::Passed => "L4OK",
            CheckResult::Refused => "L4CON",
            CheckResult::TimedOut => "L4TOUT",
            CheckResult::Observed => "L4CON (observed)",
        }
    }
}

/// The news of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Transition {
    /// It can be used from now on.
    WentUp,
    /// It cannot be used from now on.
    WentDown,
}

impl ServerHealth {
    /// HAProxy's `init-state up`: up, but one failure away from down. What a server starts with.
    pub fn starting(check: &Check) -> Self {
        Self {
            level: check.rise,
            rise: check.rise,
            fall: check.fall,
        }
    }

    /// At the end of the scale: what a new leader takes over from the replicated state.
    pub fn settled(check: &Check, up: bool) -> Self {
        Self {
            level: if up { check.rise + check.fall - 1 } else { 0 },
            rise: check.rise,
            fall: check.fall,
        }
    }

    /// Whether it is usable.
    pub const fn is_up(&self) -> bool {
        self.level >= self.rise
    }

    /// Takes the news of one check and says whether it changed anything.
    pub fn record(&mut self, result: CheckResult) -> Option<Transition> {
        let was_up = self.is_up();
        if result == CheckResult::Passed {
            self.level = (self.level + 1).min(self.top());
            if self.is_up() {
                self.level = self.top();
            }
        } else {
            self.level = self.level.saturating_sub(1);
            if !self.is_up() {
                self.level = 0;
            }
        }
        match (was_up, self.is_up()) {
            (false, true) => Some(Transition::WentUp),
            (true, false) => Some(Transition::WentDown),
            _ => None,
        }
    }

    /// How long until the next check.
    pub fn interval(&self, check: &Check) -> Duration {
        if self.level == self.top() {
            check.inter
        } else if self.level == 0 {
            check.downinter
        } else {
            check.fastinter
        }
    }

    const fn top(&self) -> u16 {
        self.rise + self.fall - 1
    }
}

impl fmt::Display for ServerHealth {
    /// HAProxy's words: `UP`, `UP 2/3`, `DOWN`, `DOWN 1/2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.level == self.top() {
            f.write_str("UP")
        } else if self.is_up() {
            write!(f, "UP {}/{}", self.level - self.rise + 1, self.fall)
        } else if self.level > 0 {
            write!(f, "DOWN {}/{}", self.level, self.rise)
        } else {
            f.write_str("DOWN")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{CheckClose, Kind};

    fn check(rise: u16, fall: u16) -> Check {
        let s = Duration::from_secs;
        Check {
            kind: Kind::Tcp {
                port: None,
                close: CheckClose::Rst,
            },
            inter: s(10),
            fastinter: s(1),
            downinter: s(5),
            timeout: s(2),
            rise,
            fall,
        }
    }

    /// `+` passes, `-` fails; the words after each.
    fn story(mut h: ServerHealth, news: &str) -> Vec<String> {
        news.chars()
            .map(|c| {
                h.record(if c == '+' {
                    CheckResult::Passed
                } else {
                    CheckResult::Refused
                });
                h.to_string()
            })
            .collect()
    }

    #[test]
    fn it_goes_down_after_fall_failures_in_a_row_and_up_after_rise_passes() {
        let h = ServerHealth::settled(&check(2, 3), true);
        assert_eq!(
            story(h, "---++"),
            ["UP 2/3", "UP 1/3", "DOWN", "DOWN 1/2", "UP"]
        );
    }

    #[test]
    fn one_pass_restores_full_health_and_one_failure_restarts_the_climb() {
        let h = ServerHealth::settled(&check(3, 3), true);
        assert_eq!(
            story(h, "--+---++-+"),
            [
                "UP 2/3", "UP 1/3", "UP", "UP 2/3", "UP 1/3", "DOWN", "DOWN 1/3", "DOWN 2/3",
                "DOWN", "DOWN 1/3"
            ]
        );
    }

    #[test]
    fn a_starting_server_is_up_until_its_first_failure() {
        let h = ServerHealth::starting(&check(2, 3));
        assert!(h.is_up());
        assert_eq!(story(h, "-"), ["DOWN"]);
        assert_eq!(story(h, "+"), ["UP"]);
    }

    #[test]
    fn the_interval_follows_the_state() {
        let c = check(2, 3);
        let mut h = ServerHealth::settled(&c, true);
        assert_eq!(h.interval(&c), c.inter);
        h.record(CheckResult::TimedOut);
        assert_eq!(h.interval(&c), c.fastinter);
        h.record(CheckResult::TimedOut);
        assert_eq!(h.record(CheckResult::TimedOut), Some(Transition::WentDown));
        assert_eq!(h.interval(&c), c.downinter);
        assert_eq!(h.record(CheckResult::Passed), None);
        assert_eq!(h.interval(&c), c.fastinter);
        assert_eq!(h.record(CheckResult::Passed), Some(Transition::WentUp));
    }
}
