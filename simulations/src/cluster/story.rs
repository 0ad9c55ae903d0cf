//! What happens in a run: one line each, hashed always, printed when somebody reads along. What the product
//! logs is part of it; an ERROR of the product's is a violation. Every packet, every write and everything that
//! is done to the address is in the hash too.

use super::scheduler::world_now;
use std::cell::RefCell;
use std::fmt::{Debug, Write as _};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Where a [`fnv`] begins.
pub const FNV: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: goes on from `hash` with these bytes.
pub fn fnv<'a>(hash: u64, bytes: impl IntoIterator<Item = &'a u8>) -> u64 {
    bytes.into_iter().fold(hash, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[derive(Default)]
struct Pages {
    hash: u64,
    lines: u64,
    aloud: bool,
    errors: Vec<String>,
}

thread_local! {
    static PAGES: RefCell<Pages> = RefCell::new(Pages::default());
}

/// Begins a new story on this thread.
pub fn begin(aloud: bool) {
    PAGES.set(Pages {
        hash: FNV,
        aloud,
        ..Pages::default()
    });
}

/// Adds a line to the story of the run, with the time of the world.
pub fn note(what: &str) {
    let at = world_now();
    PAGES.with_borrow_mut(|p| {
        p.hash = fnv(p.hash, at.to_le_bytes().iter().chain(what.as_bytes()));
        p.lines += 1;
        if p.aloud {
            println!("{:>10.3} s  {what}", at as f64 / 1e9);
        }
    });
}

/// Something small happened: in the hash with its time and its bytes, and not in what is read.
pub fn mark(what: &[&[u8]]) {
    let at = world_now().to_le_bytes();
    PAGES.with_borrow_mut(|p| {
        p.hash = what
            .iter()
            .fold(fnv(p.hash, &at), |hash, part| fnv(hash, *part))
    });
}

/// The hash of all lines and marks, and how many lines there were.
pub fn hash() -> (u64, u64) {
    PAGES.with_borrow(|p| (p.hash, p.lines))
}

/// What the product logged as ERROR since last asked.
pub fn errors() -> Vec<String> {
    PAGES.with_borrow_mut(|p| std::mem::take(&mut p.errors))
}

/// Makes the product's log part of the story.
pub struct Log;

struct Line {
    text: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?} "),
            name => write!(self.text, "{name}={value:?} "),
        };
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The library says loudly what it can live with; it is asked for failure otherwise.
        *metadata.level() <= Level::INFO && metadata.target().starts_with("ha_")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line {
            text: format!(
                "node-{} {}: ",
                super::scheduler::current(),
                event.metadata().level()
            ),
        };
        event.record(&mut line);
        note(line.text.trim_end());
        if *event.metadata().level() == Level::ERROR {
            PAGES.with_borrow_mut(|p| p.errors.push(line.text));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
