//! The event log: what happened in the cluster, for people. Replicated, bounded, searchable.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Entries that are kept; the oldest go first.
pub const EVENTS_MAX: usize = 2000;

/// Bytes of one text; what is longer is cut.
pub const TEXT_MAX: usize = 2000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Grows by one with each event of the cluster.
    pub seq: u64,
    /// When, by the clock of whoever proposed it.
    pub at: Timestamp,
    /// A word to filter by: `config`, `admin`, `health`, `holder`, `member`.
    pub kind: String,
    /// One line.
    pub text: String,
    /// Who caused it; empty for the cluster itself.
    pub by: String,
}

/// The newest [`EVENTS_MAX`] events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLog {
    next: u64,
    kept: VecDeque<EventRecord>,
}

impl EventLog {
    /// Adds one event and forgets the oldest above the bound.
    pub fn add(&mut self, at: Timestamp, kind: &str, mut text: String, by: &str) {
        if text.len() > TEXT_MAX {
            let end = (0..=TEXT_MAX)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or(0);
            text.truncate(end);
            text.push_str(" ...");
        }
        self.next += 1;
        self.kept.push_back(EventRecord {
            seq: self.next,
            at,
            kind: kind.to_owned(),
            text,
            by: by.to_owned(),
        });
        while self.kept.len() > EVENTS_MAX {
            self.kept.pop_front();
        }
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
