//! Waiting on conditions: bounded, and at the bound it says what was waited
//! for and what was seen last. Nothing else in this crate sleeps and hopes.

use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(10);

/// Polls until `look` gives a value; panics at the bound with what it said last.
#[track_caller]
pub fn until<T>(what: &str, bound: Duration, look: impl FnMut() -> Result<T, String>) -> T {
    match try_until(bound, look) {
        Ok(value) => value,
        Err(seen) => panic!("waited {bound:?} for {what}; last seen: {seen}"),
    }
}

/// Polls until `look` gives a value; at the bound gives back what it said last.
pub fn try_until<T>(
    bound: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + bound;
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(seen) if Instant::now() >= deadline => return Err(seen),
            Err(_) => std::thread::sleep(EVERY),
        }
    }
}

/// Watches for the whole span that `look` stays true; panics at the first objection.
#[track_caller]
pub fn throughout(what: &str, span: Duration, mut look: impl FnMut() -> Result<(), String>) {
    let began = Instant::now();
    while began.elapsed() < span {
        if let Err(seen) = look() {
            panic!(
                "{what} must hold for {span:?} but after {:?}: {seen}",
                began.elapsed()
            );
        }
        std::thread::sleep(EVERY);
    }
}
