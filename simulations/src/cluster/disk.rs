//! A disk with a durable and a volatile half. What was written is seen at once; a loss of power takes back
//! what was not flushed, all of it or its younger part: batches reach the disk in order, each whole or not.

use super::planted::Planted;
use super::scheduler::{self, WORLD};
use super::story;
use ha_core::version::RecordVersion;
use ha_node::log_store::{Batch, Durable, LogStore, Meta, StoredSnapshot};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Clone, Default)]
struct Image {
    log: BTreeMap<u64, Vec<u8>>,
    meta: BTreeMap<Meta, Vec<u8>>,
    snapshot: Option<StoredSnapshot>,
    active: Option<RecordVersion>,
}

enum Write {
    Batch(Batch),
    Snapshot(StoredSnapshot),
    Active(RecordVersion),
}

#[derive(Default)]
struct State {
    seen: Image,
    durable: Image,
    /// Seen and not durable yet, oldest first.
    pending: VecDeque<Write>,
    /// Batches that have ever been written, and of these, become durable or lost.
    written: u64,
    settled: u64,
    /// Counts losses of power: a flush that was under way then does not end.
    losses: u64,
    slow: Duration,
    trouble: Option<Trouble>,
    /// Times that the end of the log was taken back.
    truncations: u64,
}

/// What can be wrong with it beside slowness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// What is written fails, and nothing of it is there.
    Full,
    /// What is read fails.
    Unreadable,
}

/// The disk of one node.
#[derive(Clone, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
    planted: Planted,
}

impl Write {
    fn mark(&self) {
        match self {
            Write::Batch(batch) => {
                let range = batch.remove.clone().unwrap_or_default();
                story::mark(&[
                    b"batch",
                    &range.start.to_le_bytes(),
                    &range.end.to_le_bytes(),
                ]);
                batch
                    .put
                    .iter()
                    .for_each(|(index, entry)| story::mark(&[&index.to_le_bytes(), entry]));
                batch
                    .meta
                    .iter()
                    .for_each(|(key, value)| story::mark(&[&[*key as u8], value]));
            }
            Write::Snapshot(snapshot) => {
                story::mark(&[b"snapshot", &snapshot.header, &snapshot.data])
            }
            Write::Active(version) => story::mark(&[b"active", &version.0.to_le_bytes()]),
        }
    }
}

impl Image {
    fn take(&mut self, write: &Write) {
        match write {
            Write::Batch(batch) => {
                if let Some(Range { start, end }) = batch.remove {
                    self.log.retain(|index, _| *index < start || *index >= end);
                }
                self.log.extend(batch.put.iter().cloned());
                self.meta.extend(batch.meta.iter().cloned());
            }
            Write::Snapshot(snapshot) => self.snapshot = Some(snapshot.clone()),
            Write::Active(version) => self.active = Some(*version),
        }
    }
}

impl Disk {
    pub fn new(planted: Planted) -> Self {
        Disk {
            state: Arc::default(),
            planted,
        }
    }

    /// The power goes: some of what was not flushed is lost. How many batches.
    pub fn lose_power(&self) -> u64 {
        let mut s = self.lock();
        let kept = scheduler::below(s.pending.len() as u64 + 1);
        let lost = s.pending.len() as u64 - kept;
        for _ in 0..kept {
            let State {
                durable, pending, ..
            } = &mut *s;
            pending.pop_front().iter().for_each(|w| durable.take(w));
        }
        s.pending.clear();
        s.settled = s.written;
        s.losses += 1;
        s.seen = s.durable.clone();
        lost
    }

    /// Each flush takes so much longer from now on.
    pub fn slow_down(&self, by: Duration) {
        self.lock().slow = by;
    }

    /// What is wrong with it from now on.
    pub fn break_down(&self, trouble: Option<Trouble>) {
        self.lock().trouble = trouble;
    }

    /// Times that the end of the log was taken back.
    pub fn truncations(&self) -> u64 {
        self.lock().truncations
    }

    /// # Errors
    /// It is in that trouble.
    fn works(&self, unless: Trouble) -> io::Result<()> {
        if self.lock().trouble != Some(unless) {
            return Ok(());
        }
        Err(match unless {
            Trouble::Full => io::ErrorKind::StorageFull.into(),
            Trouble::Unreadable => io::Error::other("the disk cannot be read"),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it seen now and durable later, with everything before it.
    fn put(&self, write: Write, durable: Option<Durable>) {
        write.mark();
        let (number, losses, takes) = {
            let mut s = self.lock();
            if let Write::Batch(Batch {
                remove: Some(range),
                ..
            }) = &write
                && range.end == u64::MAX
                && s.seen
                    .log
                    .last_key_value()
                    .is_some_and(|(last, _)| range.contains(last))
            {
                s.truncations += 1;
            }
            s.seen.take(&write);
            s.pending.push_back(write);
            s.written += 1;
            (s.written, s.losses, s.slow)
        };
        let Some(durable) = durable else { return };
        if self.planted == Planted::AcknowledgesBeforeFlush {
            return durable(Ok(()));
        }
        let disk = self.clone();
        // The disk's own work: it goes on while the process is paused, and ends with the power.
        let node = scheduler::current();
        let takes = takes + Duration::from_micros(scheduler::between(500, 4000));
        scheduler::spawn_on(WORLD, async move {
            tokio::time::sleep(takes).await;
            if disk.flush(number, losses) {
                // Who waits for it is the node: its tasks run, or do not.
                scheduler::spawn_on(node, async move { durable(Ok(())) });
            }
        });
    }

    fn flush(&self, upto: u64, losses: u64) -> bool {
        let mut s = self.lock();
        if s.losses != losses {
            return false;
        }
        while s.settled < upto {
            let State {
                durable,
                pending,
                settled,
                ..
            } = &mut *s;
            pending.pop_front().iter().for_each(|w| durable.take(w));
            *settled += 1;
        }
        true
    }
}

impl LogStore for Disk {
    fn read(&self, range: Range<u64>) -> io::Result<Vec<Vec<u8>>> {
        self.works(Trouble::Unreadable)?;
        Ok(self
            .lock()
            .seen
            .log
            .range(range)
            .map(|(_, e)| e.clone())
            .collect())
    }

    fn last(&self) -> io::Result<Option<Vec<u8>>> {
        self.works(Trouble::Unreadable)?;
        Ok(self
            .lock()
            .seen
            .log
            .last_key_value()
            .map(|(_, e)| e.clone()))
    }

    fn meta(&self, key: Meta) -> io::Result<Option<Vec<u8>>> {
        self.works(Trouble::Unreadable)?;
        Ok(self.lock().seen.meta.get(&key).cloned())
    }

    fn write(&self, batch: Batch, durable: Option<Durable>) -> io::Result<()> {
        self.works(Trouble::Full)?;
        self.put(Write::Batch(batch), durable);
        Ok(())
    }

    fn save_snapshot(&self, snapshot: StoredSnapshot, durable: Durable) {
        match self.works(Trouble::Full) {
            Ok(()) => self.put(Write::Snapshot(snapshot), Some(durable)),
            Err(full) => durable(Err(full)),
        }
    }

    fn load_snapshot(&self) -> io::Result<Option<StoredSnapshot>> {
        self.works(Trouble::Unreadable)?;
        Ok(self.lock().seen.snapshot.clone())
    }

    fn note_active(&self, version: RecordVersion, durable: Durable) {
        match self.works(Trouble::Full) {
            Ok(()) => self.put(Write::Active(version), Some(durable)),
            Err(full) => durable(Err(full)),
        }
    }

    fn active(&self) -> io::Result<Option<RecordVersion>> {
        self.works(Trouble::Unreadable)?;
        Ok(self.lock().seen.active)
    }
}
