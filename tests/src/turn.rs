//! Whose turn it is on this machine: a test that measures real time, or keeps every processor busy, runs alone;
//! tests that wait run beside others.
//!
//! It is a lock on a file, so it holds between processes too. Tests that wait are not held up by one that would like
//! to be alone: that one waits until none of them is left.

use std::fs::File;
use std::time::{Duration, Instant};

use crate::sys::{self, Lock};

const LOCK: &str = "/tmp/ha-tests.lock";
/// Longer than everything else that may have been started here takes.
const BOUND: Duration = Duration::from_secs(1800);

/// How a test shares the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It measures, or would disturb everybody: nobody else who takes a turn is there.
    Alone,
    /// It waits on conditions, with bounds that a busy machine keeps.
    BesideOthers,
}

/// A turn that was taken; it ends when this is dropped, or with the process.
#[derive(Debug)]
pub struct Taken {
    _lock: File,
}

impl Turn {
    /// Waits for the turn; panics after half an hour.
    pub fn take(self) -> Taken {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(LOCK)
            .expect("lock file opens");
        let lock = match self {
            Turn::Alone => Lock::Exclusive,
            Turn::BesideOthers => Lock::Shared,
        };
        let began = Instant::now();
        let mut said = false;
        while sys::try_lock(&file, lock).is_err() {
            assert!(
                began.elapsed() < BOUND,
                "waited {BOUND:?} for {LOCK}: another run holds it"
            );
            if !said && began.elapsed() > Duration::from_secs(1) {
                said = true;
                eprintln!("waiting for other end-to-end tests on this machine ({LOCK})");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Taken { _lock: file }
    }
}
