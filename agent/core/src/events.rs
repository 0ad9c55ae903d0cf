//! The event log: what happened in the cluster. Replicated, bounded, searchable.

mod bound;
mod what;

pub use what::{Target, TrustChange, What};

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Entries that are kept; the oldest go first.
pub const EVENTS_MAX: usize = 2000;

/// Bytes of the text of one event; what is longer is cut, and ends in ` ...`.
pub const TEXT_MAX: usize = 2000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Grows by one with each event of the cluster.
    pub seq: u64,
    /// When, by the clock of whoever proposed it.
    pub at: Timestamp,
    /// Who caused it; empty for the cluster itself.
    pub by: String,
    /// Its kind and its line for people are made of this.
    pub what: What,
}

/// The newest [`EVENTS_MAX`] events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLog {
    next: u64,
    kept: VecDeque<EventRecord>,
}

impl EventLog {
    /// Adds one event and forgets the oldest above the bound.
    pub fn add(&mut self, at: Timestamp, what: What, by: &str) {
        self.next += 1;
        self.kept.push_back(EventRecord {
            seq: self.next,
            at,
            by: by.to_owned(),
            what: what.bounded(TEXT_MAX),
        });
        while self.kept.len() > EVENTS_MAX {
            self.kept.pop_front();
        }
    }

    /// A log whose newest event had the number `last`, with those that are kept.
    pub const fn of(last: u64, kept: VecDeque<EventRecord>) -> Self {
        EventLog { next: last, kept }
    }

    /// Those that are kept, oldest first.
    pub const fn kept(&self) -> &VecDeque<EventRecord> {
        &self.kept
    }

    /// Events after `seq`, oldest first.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &EventRecord> {
        self.kept.iter().filter(move |e| e.seq > seq)
    }

    /// Forgets the older half, for where there is little room. False when there is nothing left to forget.
    pub fn forget_half(&mut self) -> bool {
        let half = self.kept.len().div_ceil(2);
        self.kept.drain(..half);
        half > 0
    }

    /// The number of the newest event; 0 when there is none.
    pub const fn last_seq(&self) -> u64 {
        self.next
    }
}
