//! The event log: what happened in the cluster. Replicated, bounded, searchable.

mod bound;
mod what;

pub use what::{Target, TrustChange, What};

use crate::time::Timestamp;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;

/// Entries that are kept; the oldest go first.
pub const EVENTS_MAX: usize = 2000;

/// Bytes of what others wrote into one event; what is longer is cut, and ends in ` ...`.
pub const TEXT_MAX: usize = 2000;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// The newest [`EVENTS_MAX`] events, in chunks that readers share: one more copies a chunk of pointers at most.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EventLog {
    next: u64,
    /// Oldest first; all but the last are full, and of the first some may be forgotten.
    chunks: VecDeque<Arc<Vec<Arc<EventRecord>>>>,
    /// Of the first chunk.
    forgotten: usize,
    len: usize,
}

/// Events in one chunk: about as many as there are chunks.
const CHUNK: usize = 50;

/// By what is in them: chunks may be cut elsewhere in one that was read from a snapshot.
impl PartialEq for EventLog {
    fn eq(&self, other: &Self) -> bool {
        self.next == other.next && self.kept().eq(other.kept())
    }
}

impl Eq for EventLog {}

impl EventLog {
    /// Adds one event and forgets the oldest above the bound.
    pub fn add(&mut self, at: Timestamp, what: What, by: &str) {
        self.next += 1;
        self.push(EventRecord {
            seq: self.next,
            at,
            by: by.to_owned(),
            what: what.bounded(TEXT_MAX),
        });
        self.forget(self.len.saturating_sub(EVENTS_MAX));
    }

    /// A log whose newest event had the number `last`, with those that are kept.
    pub fn of(last: u64, kept: impl IntoIterator<Item = EventRecord>) -> Self {
        let mut log = EventLog {
            next: last,
            ..EventLog::default()
        };
        kept.into_iter().for_each(|event| log.push(event));
        log
    }

    fn push(&mut self, event: EventRecord) {
        if self.chunks.back().is_none_or(|chunk| chunk.len() >= CHUNK) {
            self.chunks.push_back(Arc::new(Vec::with_capacity(CHUNK)));
        }
        if let Some(last) = self.chunks.back_mut() {
            Arc::make_mut(last).push(Arc::new(event));
            self.len += 1;
        }
    }

    fn forget(&mut self, oldest: usize) {
        self.len -= oldest;
        self.forgotten += oldest;
        while let Some(first) = self.chunks.front()
            && first.len() <= self.forgotten
        {
            self.forgotten -= first.len();
            self.chunks.pop_front();
        }
    }

    /// Those that are kept, oldest first.
    pub fn kept(&self) -> impl Iterator<Item = &EventRecord> {
        let all = self.chunks.iter().flat_map(|chunk| chunk.iter());
        all.skip(self.forgotten).map(Arc::as_ref)
    }

    /// How many are kept.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether none is kept.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Events after `seq`, oldest first.
    pub fn after(&self, seq: u64) -> impl Iterator<Item = &EventRecord> {
        self.kept().filter(move |e| e.seq > seq)
    }

    /// Forgets the older half, for where there is little room. False when there is nothing left to forget.
    pub fn forget_half(&mut self) -> bool {
        let half = self.len.div_ceil(2);
        self.forget(half);
        half > 0
    }

    /// The number of the newest event; 0 when there is none.
    pub const fn last_seq(&self) -> u64 {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(n: u64) -> What {
        What::Note {
            kind: "test".into(),
            text: n.to_string(),
        }
    }

    #[test]
    fn the_newest_are_kept_and_a_reader_keeps_what_it_saw() {
        let mut log = EventLog::default();
        let mut seen = log.clone();
        for n in 1..=3 * EVENTS_MAX as u64 + 7 {
            if n == 2100 {
                seen = log.clone();
            }
            log.add(Timestamp(n), note(n), "");
            assert_eq!(log.len(), log.kept().count());
        }
        let kept: Vec<u64> = log.kept().map(|e| e.seq).collect();
        assert_eq!(
            (kept.len(), kept[0]),
            (EVENTS_MAX, 2 * EVENTS_MAX as u64 + 8)
        );
        assert!(kept.is_sorted());
        let seen: Vec<u64> = seen.kept().map(|e| e.seq).collect();
        assert_eq!((seen.len(), seen[0], seen[1999]), (EVENTS_MAX, 100, 2099));
        let again = EventLog::of(log.last_seq(), log.kept().cloned());
        assert_eq!(again, log);
    }

    #[test]
    fn one_more_event_shares_the_others_with_readers() {
        let mut log = EventLog::default();
        (0..EVENTS_MAX as u64).for_each(|n| log.add(Timestamp(n), note(n), ""));
        let seen = log.clone();
        log.add(Timestamp(9999), note(9999), "");
        let shared = seen
            .chunks
            .iter()
            .filter(|c| log.chunks.iter().any(|d| Arc::ptr_eq(c, d)));
        assert!(shared.count() + 1 >= EVENTS_MAX / CHUNK);
        assert!(
            seen.kept()
                .skip(1)
                .zip(log.kept())
                .all(|(a, b)| std::ptr::eq(a, b))
        );
    }

    #[test]
    fn half_of_them_can_be_forgotten() {
        let mut log = EventLog::default();
        (1..=101).for_each(|n| log.add(Timestamp(n), note(n), ""));
        assert!(log.forget_half());
        assert_eq!(log.kept().next().map(|e| e.seq), Some(52));
        while log.forget_half() {}
        assert!(log.is_empty() && log.kept().next().is_none());
        log.add(Timestamp(1), note(1), "");
        assert_eq!(log.kept().map(|e| e.seq).collect::<Vec<_>>(), [102]);
    }
}
