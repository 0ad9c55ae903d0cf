//! How a command ends: its exit code, and for a failure what went wrong and what to do about it.
//!
//! Scripts rely on the codes, so they are listed in `--help` from the same table.

use std::io;
use std::process::ExitCode;

use serde::Serialize;

/// The exit codes, as [`HELP`] lists them for operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// Something that is not foreseen here.
    Unexpected = 1,
    /// The command line is wrong, or a file that it names cannot be read.
    Usage = 2,
    /// A deadline was hit: a drain cut sessions, or a `--wait` ran out.
    Deadline = 3,
    /// The cluster refused, for example to drain the last usable server.
    Refused = 4,
    /// Ctrl-C while waiting, an answer of "no", or a drain that was taken back.
    Cancelled = 5,
    /// No agent answered at any of the addresses.
    Unreachable = 6,
    /// The target, client or version does not exist.
    NotFound = 7,
    /// The configuration file is wrong; nothing was changed.
    Invalid = 8,
    /// The agent that was asked hears no majority: nothing was changed, and what it shows may be old.
    NoMajority = 9,
    /// `status --check`: clients are served, and somebody should look at it.
    Degraded = 101,
    /// `status --check`: clients are not served.
    NoService = 102,
}

impl Exit {
    /// What the process ends with.
    pub fn code(self) -> u8 {
        match self {
            // As monitoring programs have it.
            Exit::Degraded => 1,
            Exit::NoService => 2,
            other => other as u8,
        }
    }
}

/// The table of exit codes that ends `--help`.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  something unexpected (demo: something that it shows is not so)
  2  usage: wrong arguments, or a file that cannot be read
  3  deadline hit: a drain cut sessions, or a --wait ran out
  4  refused by the cluster, for example draining the last usable server
  5  cancelled: Ctrl-C while waiting, or the drain was taken back
  6  no agent reachable
  7  not found: target, client or version
  8  invalid configuration (apply, diff)
  9  no majority: the agent that was asked is cut off, or none has confirmed that it leads; what it shows may be old
status --check: 0 well, 1 degraded, 2 no service, 6 and 9 as above";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Why a command did not do what was asked, and what the operator can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The code that the process ends with.
    pub exit: Exit,
    /// What happened, in one sentence.
    pub message: String,
    /// What to do now; may be empty.
    pub remedy: String,
    /// The reader of our output went away: end without a word.
    pub quiet: bool,
    /// Nothing was done, and it is when the operator says that it is meant.
    pub confirm: bool,
}

impl Failure {
    /// A failure that ends with this code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure {
            exit,
            message: message.into(),
            remedy: String::new(),
            quiet: false,
            confirm: false,
        }
    }

    /// Nobody could answer: that may pass, as when a leader is elected.
    pub fn may_pass(&self) -> bool {
        matches!(self.exit, Exit::Unreachable | Exit::NoMajority)
    }

    /// Adds what the operator can do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

/// Failing to write output: a closed pipe (`ha-cli events | head`) is a normal end.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let closed = error.kind() == io::ErrorKind::BrokenPipe;
        Failure {
            exit: if closed { Exit::Done } else { Exit::Unexpected },
            message: format!("cannot write: {error}"),
            remedy: String::new(),
            quiet: closed,
            confirm: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_in_the_help() {
        for code in 0..=9 {
            assert!(
                HELP.lines()
                    .any(|line| line.starts_with(&format!("  {code}  "))),
                "{code}"
            );
        }
    }

    #[test]
    fn a_closed_pipe_is_a_normal_and_quiet_end() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit, failure.quiet), (Exit::Done, true));
    }
}
