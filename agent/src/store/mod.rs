//! The log store on sled 0.34, used in the one way that is safe (`docs/design.md`, "Log store").
//!
//! ```text
//!   write --apply_batch--> sled (memory, its files)      visible at once
//!     |
//!     +--callback--> writer thread: drain queue, db.flush(), sync new files in `blobs`, sync `db`, call all back
//! ```
//!
//! sled mends a damaged file by cutting it off where the damage begins, and says nothing. So the writes
//! are counted, and how many of them were durable, with the index of the last entry, also stands in a
//! file of its own, `mark`: a log that has fewer, or ends before it, has lost what was acknowledged (an
//! entry, or a vote, which leaves no gap), and is refused.
//!
//! sled's `flush` alone is not durable on Linux: it calls `sync_file_range`, never `fsync`. And a page
//! of more than a quarter of a segment (128 KiB; a dozen entries share a page) it writes to a file of its
//! own in `blobs`, without a flush: we flush those too. Snapshots are plain files beside it.

mod blobs;
mod failed;
mod keys;
mod mark;
mod open_error;
mod sled_files;
mod snapshot;
mod writer;

pub use open_error::OpenError;

use crate::sys::platform::process::sync_directory;
use crate::written;
use blobs::Blobs;
use ha_core::id::NodeId;
use ha_core::version::RecordVersion;
use ha_node::log_store::{Batch, Durable, LogStore, Meta, StoredSnapshot};
use ha_record::ENTRY_MAX;
use keys::{WRITES, check_records, counted_writes, last_index, log_key, meta_key};
use mark::Mark;
use open_error::refusal;
use sled_files::{move_snapshots_aside, read_through, remove_torn_snapshots};
use snapshot::{read_snapshot, write_snapshot};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use writer::write_loop;

/// The key of the store's own id, in the log itself.
const STORE: &[u8] = b"s";
/// Batches whose callbacks may wait for the writer thread; more make the caller wait.
const QUEUE_MAX: usize = 4096;

/// A [`LogStore`] in one directory, which one process has at a time.
pub struct SledStore {
    tree: sled::Tree,
    queue: mpsc::SyncSender<Durable>,
    dir: PathBuf,
    mark: Arc<Mutex<Mark>>,
    /// How many there were; locked over a write, so that the log counts them in their order.
    writes: Mutex<u64>,
    _writer: Writer,
}

impl SledStore {
    /// Makes the store `id` in `dir`. Durable when it returns: from then on [`SledStore::open_known`] finds it, or
    /// knows that it was lost.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn create(dir: &Path, id: NodeId) -> Result<Self, OpenError> {
        let io_error = |error| OpenError::Io {
            path: dir.to_owned(),
            error,
        };
        let store = Self::open(dir)?;
        let known = store.id().map_err(io_error)?;
        if known.is_some_and(|known| known != id) || store.last().map_err(io_error)?.is_some() {
            return Err(OpenError::Forgotten {
                path: dir.to_owned(),
                found: "another log is here already".to_owned(),
            });
        }
        let named = store.tree.insert(STORE, id.0.as_bytes());
        named.map_err(|e| io_error(io::Error::other(e)))?;
        let (done, waiting) = mpsc::channel();
        let tell = Box::new(move |r| drop(done.send(r)));
        store
            .write(Batch::default(), Some(tell))
            .and_then(|()| waiting.recv().map_err(io::Error::other)?)
            .map_err(io_error)?;
        Ok(store)
    }

    /// Opens the store `id`, which was made here.
    ///
    /// # Errors
    /// See [`OpenError`]: one that is missing, or another, is not taken for an empty one.
    pub fn open_known(dir: &Path, id: NodeId) -> Result<Self, OpenError> {
        let forgotten = |found: &str| {
            Err(OpenError::Forgotten {
                path: dir.to_owned(),
                found: found.to_owned(),
            })
        };
        for file in ["log/db", "mark"] {
            if !dir.join(file).exists() {
                return forgotten(&format!("{} is missing", dir.join(file).display()));
            }
        }
        let store = Self::open(dir)?;
        let known = store.id().map_err(|error| OpenError::Io {
            path: dir.to_owned(),
            error,
        })?;
        match known {
            Some(known) if known == id => Ok(store),
            Some(known) => forgotten(&format!(
                "identity.json names the log {id}, and log/ is {known}"
            )),
            None => forgotten(&format!(
                "log/ is not the log {id} that identity.json names"
            )),
        }
    }

    fn id(&self) -> io::Result<Option<NodeId>> {
        let kept = self.tree.get(STORE).map_err(io::Error::other)?;
        Ok(kept.and_then(|bytes| NodeId::from_slice(&bytes)))
    }

    /// Opens the store in `dir`, or makes it.
    ///
    /// # Errors
    /// See [`OpenError`]; a damaged store is left as it is.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let io_error = |error| OpenError::Io {
            path: dir.to_owned(),
            error,
        };
        if let Some(found) = failed::in_this_boot(dir) {
            return Err(OpenError::Failed {
                path: dir.to_owned(),
                found,
            });
        }
        let sled_dir = dir.join("log");
        fs::create_dir_all(&sled_dir).map_err(io_error)?;
        remove_torn_snapshots(&sled_dir).map_err(io_error)?;
        read_through(&sled_dir.join("db")).map_err(io_error)?;
        let db = open_sled(&sled_dir).or_else(|e| match e {
            sled::Error::Corruption { .. } => {
                // sled's own index snapshots can be made again from its log; they are kept aside, not deleted.
                move_snapshots_aside(&sled_dir).map_err(sled::Error::Io)?;
                open_sled(&sled_dir)
            }
            other => Err(other),
        });
        let db = db.map_err(|e| refusal(dir, e))?;
        let tree = db.open_tree("raft").map_err(|e| refusal(dir, e))?;
        let damaged = |found: String| OpenError::Damaged {
            path: dir.to_owned(),
            found,
        };
        let last = check_records(&tree).map_err(damaged)?;
        let mark = Mark::open(dir).map_err(io_error)?;
        let writes = counted_writes(&tree).map_err(|e| damaged(e.to_string()))?;
        if last.map_or(0, |l| l + 1) < mark.sure.end {
            let found = format!(
                "the log ends at entry {}, but entry {} was acknowledged",
                last.map_or_else(|| "none".to_owned(), |l| l.to_string()),
                mark.sure.end - 1
            );
            return Err(damaged(found));
        }
        if writes < mark.sure.writes {
            let found = format!(
                "{} of {} acknowledged writes are missing at its end",
                mark.sure.writes - writes,
                mark.sure.writes
            );
            return Err(damaged(found));
        }
        let file = File::open(sled_dir.join("db")).map_err(io_error)?;
        file.sync_all().map_err(io_error)?;
        sync_directory(&sled_dir)
            .and_then(|()| sync_directory(dir))
            .map_err(io_error)?;
        let (queue, inbox) = mpsc::sync_channel(QUEUE_MAX);
        let mark = Arc::new(Mutex::new(mark));
        let (log, marked) = (tree.clone(), mark.clone());
        let blobs = Blobs::of(&sled_dir);
        let at = dir.to_owned();
        let write = move || {
            write_loop(&db, &file, blobs, &log, &marked, &inbox, &|e| {
                failed::note(&at, e);
            });
        };
        let writer = std::thread::Builder::new()
            .name("ha-log".to_owned())
            .spawn(write)
            .map_err(io_error)?;
        Ok(SledStore {
            tree,
            queue,
            dir: dir.to_owned(),
            mark,
            writes: Mutex::new(writes),
            _writer: Writer(Some(writer)),
        })
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        // Closing the queue ends the writer thread, which then lets go of sled's lock on the directory.
        let (closed, _) = mpsc::sync_channel(0);
        self.queue = closed;
    }
}

/// Waits for the writer thread, so that the store can be opened again right after it is dropped.
struct Writer(Option<std::thread::JoinHandle<()>>);
impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            thread.join().ok();
        }
    }
}

fn open_sled(dir: &Path) -> sled::Result<sled::Db> {
    // `flush_every_ms` stays on: sled gives space back only in that thread.
    sled::Config::new()
        .path(dir)
        .cache_capacity(16 << 20)
        .flush_every_ms(Some(500))
        .open()
}

fn lock(mark: &Mutex<Mark>) -> MutexGuard<'_, Mark> {
    mark.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LogStore for SledStore {
    fn read(&self, range: Range<u64>) -> io::Result<Vec<Vec<u8>>> {
        let keys = log_key(range.start)..log_key(range.end);
        self.tree
            .range(keys)
            .map(|kv| kv.map(|(_, v)| v.to_vec()).map_err(io::Error::other))
            .collect()
    }

    fn last(&self) -> io::Result<Option<Vec<u8>>> {
        let last = self
            .tree
            .scan_prefix(b"l")
            .next_back()
            .transpose()
            .map_err(io::Error::other)?;
        Ok(last.map(|(_, v)| v.to_vec()))
    }

    fn meta(&self, key: Meta) -> io::Result<Option<Vec<u8>>> {
        Ok(self
            .tree
            .get(meta_key(key))
            .map_err(io::Error::other)?
            .map(|v| v.to_vec()))
    }

    fn write(&self, batch: Batch, durable: Option<Durable>) -> io::Result<()> {
        let mut changes = sled::Batch::default();
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *writes + 1;
        if let Some(range) = batch.remove {
            // What is truncated at the end, or purged altogether, is no longer asked for.
            let last = last_index(&self.tree)?;
            if last.is_some_and(|l| range.contains(&l)) {
                lock(&self.mark).lower(range.start, number)?;
            }
            for key in self
                .tree
                .range(log_key(range.start)..log_key(range.end))
                .keys()
            {
                changes.remove(key.map_err(io::Error::other)?);
            }
        }
        for (index, bytes) in batch.put {
            // Whoever proposes is refused before; a peer's message is smaller.
            if bytes.len() > ENTRY_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!(
                        "log entry {index} has {} bytes, more than {ENTRY_MAX}",
                        bytes.len()
                    ),
                ));
            }
            changes.insert(&log_key(index), bytes);
        }
        for (key, bytes) in batch.meta {
            changes.insert(meta_key(key), bytes);
        }
        changes.insert(WRITES, &number.to_be_bytes());
        self.tree.apply_batch(changes).map_err(io::Error::other)?;
        *writes = number;
        drop(writes);
        match durable {
            Some(done) => self
                .queue
                .send(done)
                .map_err(|_| io::Error::other("the log's writer thread has ended")),
            None => Ok(()),
        }
    }

    fn save_snapshot(&self, snapshot: StoredSnapshot, durable: Durable) {
        let dir = self.dir.clone();
        // A thread of its own: a snapshot of megabytes must not make log entries wait.
        let spawned = std::thread::Builder::new()
            .name("ha-snapshot".to_owned())
            .spawn(move || durable(write_snapshot(&dir, &snapshot)));
        if let Err(e) = spawned {
            tracing::error!(error = %e, "no thread for writing a snapshot");
        }
    }

    fn load_snapshot(&self) -> io::Result<Option<StoredSnapshot>> {
        match fs::read(self.dir.join("snapshot")) {
            Ok(bytes) => read_snapshot(&bytes).map(Some).ok_or_else(|| {
                let path = self.dir.join("snapshot");
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("the snapshot {} is damaged: `ha-agent rejoin` keeps what is here aside and brings this node back under its name", path.display()),
                )
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn note_active(&self, version: RecordVersion, durable: Durable) {
        let dir = self.dir.clone();
        let spawned = std::thread::Builder::new()
            .name("ha-version".to_owned())
            .spawn(move || durable(written::note_active(&dir, version)));
        if let Err(e) = spawned {
            tracing::error!(error = %e, "no thread for writing the active version");
        }
    }

    fn active(&self) -> io::Result<Option<RecordVersion>> {
        written::active(&self.dir)
    }
}

#[cfg(test)]
mod tests;
