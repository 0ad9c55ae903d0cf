//! What a log store must do, in bytes, so that another engine can replace sled.
//!
//! A [`Batch`] is atomic: after a crash all of it is there or nothing. What was reported durable
//! survives any crash. Reads see what was written at once, durable or not.

use ha_core::version::RecordVersion;
use std::io;
use std::ops::Range;

/// Single values that are kept beside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meta {
    Vote,
    /// Up to where the log was purged.
    Purged,
    /// Up to where the log is committed; may lag.
    Committed,
}

/// Changes that are made together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Entries by index, replacing what was there.
    pub put: Vec<(u64, Vec<u8>)>,
    /// Entries that go; done before `put`.
    pub remove: Option<Range<u64>>,
    /// Values that are set.
    pub meta: Vec<(Meta, Vec<u8>)>,
}

/// Called once, from any thread, when a batch is durable or has failed.
pub type Durable = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A snapshot as stored: what it covers, and its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredSnapshot {
    /// Encoded by the caller.
    pub header: Vec<u8>,
    /// Encoded by the caller.
    pub data: Vec<u8>,
}

/// The log, the vote and the newest snapshot of one node.
pub trait LogStore: Send + Sync + 'static {
    /// Entries with an index in `range`, in order.
    fn read(&self, range: Range<u64>) -> io::Result<Vec<Vec<u8>>>;
    /// The entry with the highest index.
    fn last(&self) -> io::Result<Option<Vec<u8>>>;
    /// One of the values beside the log, if it was written.
    fn meta(&self, key: Meta) -> io::Result<Option<Vec<u8>>>;
    /// Makes the changes visible now; calls `durable` later. `None`: durability may wait.
    fn write(&self, batch: Batch, durable: Option<Durable>) -> io::Result<()>;
    /// Replaces the snapshot; calls `durable` later, when it survives a crash.
    fn save_snapshot(&self, snapshot: StoredSnapshot, durable: Durable);
    /// The newest snapshot that was saved completely.
    fn load_snapshot(&self) -> io::Result<Option<StoredSnapshot>>;
    /// Notes the version at which the cluster writes from now on; calls `durable` later, when it survives a crash.
    fn note_active(&self, version: RecordVersion, durable: Durable);
    /// What was noted last.
    fn active(&self) -> io::Result<Option<RecordVersion>>;
}

/// The contract of [`LogStore`], for every implementation: call it from a test with a way to open
/// (and, after a drop, to open again) the same store.
#[doc(hidden)]
#[allow(clippy::unwrap_used, missing_docs)]
pub mod contract {
    use super::*;
    use std::sync::mpsc;

    fn flush(store: &dyn LogStore, batch: Batch) {
        let (tx, rx) = mpsc::channel();
        store
            .write(batch, Some(Box::new(move |r| tx.send(r).unwrap())))
            .unwrap();
        rx.recv().unwrap().unwrap();
    }

    pub fn holds(mut open: impl FnMut() -> Box<dyn LogStore>) {
        let s = open();
        assert_eq!(s.last().unwrap(), None);
        assert_eq!(s.read(0..u64::MAX).unwrap(), Vec::<Vec<u8>>::new());
        assert_eq!(s.meta(Meta::Vote).unwrap(), None);
        assert_eq!(s.load_snapshot().unwrap(), None);
        assert_eq!(s.active().unwrap(), None);

        flush(
            &*s,
            Batch {
                put: (0..300).map(|i| (i, vec![i as u8; 3])).collect(),
                meta: vec![(Meta::Vote, b"v1".to_vec())],
                ..Batch::default()
            },
        );
        assert_eq!(s.last().unwrap(), Some(vec![43; 3]), "299 as a byte");
        assert_eq!(
            s.read(254..258).unwrap(),
            [254u8, 255, 0, 1].map(|b| vec![b; 3]),
            "in order beyond one byte"
        );

        flush(
            &*s,
            Batch {
                remove: Some(200..u64::MAX),
                put: vec![(200, b"new".to_vec())],
                ..Batch::default()
            },
        );
        assert_eq!(
            s.read(199..u64::MAX).unwrap(),
            [vec![199; 3], b"new".to_vec()],
            "removal comes before put"
        );

        flush(
            &*s,
            Batch {
                remove: Some(0..100),
                meta: vec![(Meta::Purged, b"p".to_vec())],
                ..Batch::default()
            },
        );
        let (tx, rx) = mpsc::channel();
        let second = tx.clone();
        s.save_snapshot(
            StoredSnapshot {
                header: b"h1".to_vec(),
                data: vec![1; 100_000],
            },
            Box::new(move |r| tx.send(r).unwrap()),
        );
        rx.recv().unwrap().unwrap();
        s.save_snapshot(
            StoredSnapshot {
                header: b"h2".to_vec(),
                data: vec![2; 50],
            },
            Box::new(move |r| second.send(r).unwrap()),
        );
        rx.recv().unwrap().unwrap();
        for version in [1, 2] {
            let (tx, rx) = mpsc::channel();
            s.note_active(
                RecordVersion(version),
                Box::new(move |r| tx.send(r).unwrap()),
            );
            rx.recv().unwrap().unwrap();
            assert_eq!(s.active().unwrap(), Some(RecordVersion(version)));
        }
        drop(s);

        let s = open();
        assert_eq!(s.read(0..u64::MAX).unwrap().len(), 101, "survives closing");
        assert_eq!(
            (s.meta(Meta::Vote).unwrap(), s.meta(Meta::Purged).unwrap()),
            (Some(b"v1".to_vec()), Some(b"p".to_vec()))
        );
        assert_eq!(
            s.load_snapshot().unwrap(),
            Some(StoredSnapshot {
                header: b"h2".to_vec(),
                data: vec![2; 50]
            })
        );
        assert_eq!(s.active().unwrap(), Some(RecordVersion(2)));
    }
}

/// A store that forgets everything with its process, for tests of what stands above it.
#[cfg(test)]
pub(crate) mod memory {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    #[derive(Default)]
    pub(crate) struct MemoryStore(Mutex<Kept>);

    #[derive(Default)]
    struct Kept {
        entries: BTreeMap<u64, Vec<u8>>,
        meta: BTreeMap<Meta, Vec<u8>>,
        snapshot: Option<StoredSnapshot>,
        active: Option<RecordVersion>,
    }

    impl LogStore for MemoryStore {
        fn read(&self, range: Range<u64>) -> io::Result<Vec<Vec<u8>>> {
            let kept = self.0.lock().unwrap();
            Ok(kept.entries.range(range).map(|(_, e)| e.clone()).collect())
        }

        fn last(&self) -> io::Result<Option<Vec<u8>>> {
            let kept = self.0.lock().unwrap();
            Ok(kept.entries.last_key_value().map(|(_, e)| e.clone()))
        }

        fn meta(&self, key: Meta) -> io::Result<Option<Vec<u8>>> {
            Ok(self.0.lock().unwrap().meta.get(&key).cloned())
        }

        fn write(&self, batch: Batch, durable: Option<Durable>) -> io::Result<()> {
            let mut kept = self.0.lock().unwrap();
            if let Some(gone) = batch.remove {
                kept.entries.retain(|index, _| !gone.contains(index));
            }
            kept.entries.extend(batch.put);
            kept.meta.extend(batch.meta);
            drop(kept);
            if let Some(durable) = durable {
                durable(Ok(()));
            }
            Ok(())
        }

        fn save_snapshot(&self, snapshot: StoredSnapshot, durable: Durable) {
            self.0.lock().unwrap().snapshot = Some(snapshot);
            durable(Ok(()));
        }

        fn load_snapshot(&self) -> io::Result<Option<StoredSnapshot>> {
            Ok(self.0.lock().unwrap().snapshot.clone())
        }

        fn note_active(&self, version: RecordVersion, durable: Durable) {
            self.0.lock().unwrap().active = Some(version);
            durable(Ok(()));
        }

        fn active(&self) -> io::Result<Option<RecordVersion>> {
            Ok(self.0.lock().unwrap().active)
        }
    }
}
