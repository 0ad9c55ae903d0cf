//! The log store on sled 0.34, used in the one way that is safe (`DESIGN.md` section 4).
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

use ha_node::consensus::codec::ENTRY_MAX;
use ha_node::consensus::log_store::{Batch, Durable, LogStore, Meta, StoredSnapshot};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use thiserror::Error;

/// The key of the number of writes, in the log itself.
const WRITES: &[u8] = b"w";
/// Batches whose callbacks may wait for the writer thread; more make the caller wait.
const QUEUE_MAX: usize = 4096;

/// Why a store could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{0} is in use by another process: is another ha-agent running with the same data_dir?"
    )]
    InUse(PathBuf),
    /// It is damaged.
    #[error(
        "the log store in {path} is damaged ({found}). If the other nodes have a majority: `ha-cli member remove` \
         this node there, move {path} away as a whole, then `ha-agent join` again. \
         If this was the only node: move {path} away, then `ha-agent restore` with a file of `ha-cli backup`"
    )]
    Damaged {
        /// The data directory.
        path: PathBuf,
        /// What sled said.
        found: String,
    },
    /// The disk refused.
    #[error("{path}: {error}")]
    Io {
        /// Its directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// See the module.
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
    /// Opens the store in `dir`, or makes it.
    ///
    /// # Errors
    /// See [`OpenError`]; a damaged store is left as it is.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let io_error = |error| OpenError::Io {
            path: dir.to_owned(),
            error,
        };
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
        sync_dir(&sled_dir)
            .and_then(|()| sync_dir(dir))
            .map_err(io_error)?;
        let (queue, inbox) = mpsc::sync_channel(QUEUE_MAX);
        let mark = Arc::new(Mutex::new(mark));
        let (log, marked) = (tree.clone(), mark.clone());
        let blobs = Blobs::of(&sled_dir);
        let write = move || write_loop(&db, &file, blobs, &log, &marked, &inbox);
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

fn refusal(dir: &Path, e: sled::Error) -> OpenError {
    match e {
        sled::Error::Io(e) if e.to_string().contains("lock") => OpenError::InUse(dir.to_owned()),
        sled::Error::Io(error) => OpenError::Io {
            path: dir.to_owned(),
            error,
        },
        other => OpenError::Damaged {
            path: dir.to_owned(),
            found: other.to_string(),
        },
    }
}

/// Reads everything once: an index that is missing between first and last, or a key that is none of ours, is damage.
/// The index of the last entry.
fn check_records(tree: &sled::Tree) -> Result<Option<u64>, String> {
    let mut last: Option<u64> = None;
    for item in tree.scan_prefix(b"l") {
        let (key, _) = item.map_err(|e| e.to_string())?;
        let index = index_of(&key).ok_or_else(|| format!("key {key:?} is not a log index"))?;
        if let Some(before) = last
            && before + 1 != index
        {
            return Err(format!(
                "log entries {} to {} are missing",
                before + 1,
                index - 1
            ));
        }
        last = Some(index);
    }
    Ok(last)
}

fn last_index(tree: &sled::Tree) -> io::Result<Option<u64>> {
    let last = tree
        .scan_prefix(b"l")
        .next_back()
        .transpose()
        .map_err(io::Error::other)?;
    Ok(last.and_then(|(key, _)| index_of(&key)))
}

fn counted_writes(tree: &sled::Tree) -> io::Result<u64> {
    let stored = tree.get(WRITES).map_err(io::Error::other)?;
    stored.map_or(Ok(0), |bytes| {
        bytes
            .as_ref()
            .try_into()
            .map(u64::from_be_bytes)
            .map_err(|_| io::Error::other("the number of writes is no number"))
    })
}

/// The number first: what is taken away after it was read makes the mark forget the end that goes with it.
fn durable_after_a_flush(tree: &sled::Tree) -> io::Result<Sure> {
    let writes = counted_writes(tree)?;
    Ok(Sure {
        writes,
        end: last_index(tree)?.map_or(0, |l| l + 1),
    })
}

/// Group commit: everything that was applied before a flush is durable after it.
///
/// What has failed once stays failed: the kernel reports a lost write one time only, and what comes after it would
/// stand on a hole.
fn write_loop(
    db: &sled::Db,
    file: &File,
    mut blobs: Blobs,
    tree: &sled::Tree,
    mark: &Mutex<Mark>,
    inbox: &mpsc::Receiver<Durable>,
) {
    let mut failed: Option<(io::ErrorKind, String)> = None;
    while let Ok(first) = inbox.recv() {
        let mut waiting = vec![first];
        waiting.extend(inbox.try_iter());
        if failed.is_none() {
            // The mark follows what is durable; a crash of the machine may leave an older one, which asks for less.
            let sure = durable_after_a_flush(tree);
            let flushed = db
                .flush()
                .map_err(io::Error::other)
                .and_then(|_| blobs.sync())
                .and_then(|()| file.sync_data());
            let flushed = flushed.and_then(|()| lock(mark).raise(sure?));
            failed = flushed.err().map(|e| (e.kind(), e.to_string()));
        }
        for done in waiting {
            done(
                failed
                    .clone()
                    .map_or(Ok(()), |(kind, text)| Err(io::Error::new(kind, text))),
            );
        }
    }
}

/// sled's files for large pages; each is written once.
struct Blobs {
    dir: PathBuf,
    /// What is known to be durable, with its length: one may be seen half written.
    synced: BTreeMap<OsString, u64>,
}

impl Blobs {
    /// Nothing in there is known to be durable yet.
    fn of(sled_dir: &Path) -> Blobs {
        Blobs {
            dir: sled_dir.join("blobs"),
            synced: BTreeMap::new(),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let listed = match fs::read_dir(&self.dir) {
            Ok(listed) => listed,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        let (mut there, mut is_new) = (BTreeMap::new(), false);
        for entry in listed {
            let entry = entry?;
            let name = entry.file_name();
            let synced = entry.metadata().map(|m| m.len()).and_then(|len| {
                if self.synced.get(&name) != Some(&len) {
                    File::open(entry.path())?.sync_all()?;
                    is_new = true;
                }
                Ok(len)
            });
            match synced {
                Ok(len) => drop(there.insert(name, len)),
                // sled removes those that it no longer needs, at any time.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        self.synced = there;
        if is_new { sync_dir(&self.dir) } else { Ok(()) }
    }
}

/// What was durable at some time.
#[derive(Clone, Copy, Default)]
struct Sure {
    /// One past the last entry.
    end: u64,
    /// How many batches were written, of whatever.
    writes: u64,
}

/// [`Sure`] in a file of 20 bytes with a checksum.
struct Mark {
    file: File,
    sure: Sure,
    /// The write that last took entries away: an end that was read before it is no longer asked for.
    lowered_at: u64,
}

impl Mark {
    fn open(dir: &Path) -> io::Result<Mark> {
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("mark"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let sure = Mark::read(&bytes).unwrap_or_else(|| {
            // Torn by a crash of the machine while it was written: it asks for nothing.
            if !bytes.is_empty() {
                tracing::warn!(
                    "the mark of the log is unreadable; what the log holds is taken as it is"
                );
            }
            Sure::default()
        });
        Ok(Mark {
            file,
            sure,
            lowered_at: 0,
        })
    }

    fn read(bytes: &[u8]) -> Option<Sure> {
        let (numbers, crc) = bytes.split_at_checked(16)?;
        let (end, writes) = numbers.split_at(8);
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
        (crc == crc32fast::hash(numbers).to_be_bytes()).then_some(Sure {
            end: number(end)?,
            writes: number(writes)?,
        })
    }

    fn raise(&mut self, to: Sure) -> io::Result<()> {
        let end = if to.writes < self.lowered_at {
            0
        } else {
            to.end
        };
        self.write(Sure {
            end: end.max(self.sure.end),
            writes: to.writes.max(self.sure.writes),
        })
    }

    /// Before entries are taken away: durably, so that a crash in between asks for less and not for more.
    fn lower(&mut self, end: u64, at: u64) -> io::Result<()> {
        self.lowered_at = at;
        if end < self.sure.end {
            self.write(Sure { end, ..self.sure })?;
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn write(&mut self, sure: Sure) -> io::Result<()> {
        let bytes = [sure.end.to_be_bytes(), sure.writes.to_be_bytes()].concat();
        self.file.seek(io::SeekFrom::Start(0))?;
        self.file
            .write_all(&[bytes.as_slice(), &crc32fast::hash(&bytes).to_be_bytes()].concat())?;
        self.sure = sure;
        Ok(())
    }
}

fn lock(mark: &Mutex<Mark>) -> MutexGuard<'_, Mark> {
    mark.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log_key(index: u64) -> [u8; 9] {
    let mut key = [b'l'; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

fn index_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(b"l")?.try_into().ok()?))
}

const fn meta_key(key: Meta) -> &'static [u8] {
    match key {
        Meta::Vote => b"m-vote",
        Meta::Purged => b"m-purged",
        Meta::Committed => b"m-committed",
    }
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
                    format!("the snapshot {} is damaged: remove this node from the cluster, move its data_dir away and join again", path.display()),
                )
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

const SNAPSHOT_MAGIC: &[u8; 8] = b"hasnap01";

/// Write, sync, rename, sync the directory: a crash leaves the old snapshot or the new one.
fn write_snapshot(dir: &Path, snapshot: &StoredSnapshot) -> io::Result<()> {
    let (new, path) = (dir.join("snapshot.new"), dir.join("snapshot"));
    let mut file = File::create(&new)?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&snapshot.header);
    crc.update(&snapshot.data);
    file.write_all(SNAPSHOT_MAGIC)?;
    file.write_all(&crc.finalize().to_be_bytes())?;
    file.write_all(&(snapshot.header.len() as u64).to_be_bytes())?;
    file.write_all(&snapshot.header)?;
    file.write_all(&snapshot.data)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    sync_dir(dir)
}

fn read_snapshot(bytes: &[u8]) -> Option<StoredSnapshot> {
    let rest = bytes.strip_prefix(SNAPSHOT_MAGIC)?;
    let (crc, rest) = rest.split_at_checked(4)?;
    let (length, rest) = rest.split_at_checked(8)?;
    let length = usize::try_from(u64::from_be_bytes(length.try_into().ok()?)).ok()?;
    let (header, data) = rest.split_at_checked(length)?;
    let mut found = crc32fast::Hasher::new();
    found.update(rest);
    (found.finalize().to_be_bytes() == crc).then(|| StoredSnapshot {
        header: header.to_vec(),
        data: data.to_vec(),
    })
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    // Windows cannot flush a directory; NTFS journals renames by itself.
    if cfg!(unix) {
        File::open(dir)?.sync_all()
    } else {
        Ok(())
    }
}

/// sled takes a read error for the end of the log and cuts off what follows: so everything is read before it looks.
fn read_through(file: &Path) -> io::Result<()> {
    match File::open(file) {
        Ok(mut file) => io::copy(&mut file, &mut io::sink()).map(drop),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// A torn `snap.*.generating` makes sled's `open` fail.
fn remove_torn_snapshots(dir: &Path) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if path.to_string_lossy().ends_with(".generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn move_snapshots_aside(dir: &Path) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name.starts_with("snap.") {
            fs::rename(&path, dir.join(format!("aside-{name}")))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes, and waits until it is durable.
    #[allow(clippy::unwrap_used, reason = "a panic fails the test that caused it")]
    fn put(store: &SledStore, batch: Batch) {
        let (tx, rx) = mpsc::channel();
        store
            .write(batch, Some(Box::new(move |r| tx.send(r).unwrap())))
            .unwrap();
        rx.recv().unwrap().unwrap();
    }

    #[test]
    fn sled_keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        ha_node::consensus::log_store::contract::holds(|| {
            Box::new(SledStore::open(dir.path()).unwrap())
        });
    }

    #[test]
    fn a_damaged_snapshot_is_refused_with_instructions() {
        let dir = tempfile::tempdir().unwrap();
        let snapshot = StoredSnapshot {
            header: b"head".to_vec(),
            data: vec![7; 1000],
        };
        write_snapshot(dir.path(), &snapshot).unwrap();
        let good = fs::read(dir.path().join("snapshot")).unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        for at in [0, 9, 13, 21, 30, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            fs::write(dir.path().join("snapshot"), bad).unwrap();
            assert!(
                store
                    .load_snapshot()
                    .unwrap_err()
                    .to_string()
                    .contains("join again"),
                "byte {at}"
            );
        }
        fs::write(dir.path().join("snapshot"), good).unwrap();
        assert_eq!(store.load_snapshot().unwrap(), Some(snapshot));
    }

    /// Damage anywhere in the log's file is refused, or has hurt nothing that was acknowledged.
    #[test]
    fn no_damage_loses_what_was_acknowledged_in_silence() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        for i in 0..40u64 {
            put(
                &store,
                Batch {
                    put: vec![(i, format!("entry {i}").repeat(20).into_bytes())],
                    ..Batch::default()
                },
            );
        }
        // To vote twice in one term would be worse than to lose an entry.
        put(
            &store,
            Batch {
                meta: vec![(Meta::Vote, b"before".to_vec())],
                ..Batch::default()
            },
        );
        put(
            &store,
            Batch {
                meta: vec![(Meta::Vote, b"after".to_vec())],
                ..Batch::default()
            },
        );
        drop(store);
        let file = dir.path().join("log/db");
        let good = fs::read(&file).unwrap();
        let used = good.iter().rposition(|b| *b != 0).unwrap();
        let (mut refused, mut unhurt) = (0, 0);
        // All over, and densely at the end: what was cut off there leaves no gap.
        for at in (0..=used)
            .step_by((used / 60).max(1))
            .chain(used.saturating_sub(100)..=used)
        {
            let copy = tempfile::tempdir().unwrap();
            copy_dir(dir.path(), copy.path());
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            fs::write(copy.path().join("log/db"), bad).unwrap();
            match SledStore::open(copy.path()) {
                Err(e) => {
                    assert!(e.to_string().contains("join` again"), "{e}");
                    refused += 1;
                }
                Ok(store) => {
                    assert_eq!(
                        store.read(0..u64::MAX).unwrap().len(),
                        40,
                        "byte {at} of {used}"
                    );
                    assert_eq!(
                        store.meta(Meta::Vote).unwrap().as_deref(),
                        Some(b"after".as_slice()),
                        "byte {at} of {used}"
                    );
                    unhurt += 1;
                }
            }
        }
        assert!(refused > 10, "{refused} refused, {unhurt} unhurt");
    }

    fn copy_dir(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                fs::create_dir_all(&target).unwrap();
                copy_dir(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    /// Large pages go to files of their own, which sled does not flush.
    #[test]
    fn pages_in_files_of_their_own_are_flushed_too() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::open(dir.path()).unwrap();
        for i in 0..40u64 {
            put(
                &store,
                Batch {
                    put: vec![(i, vec![i as u8; 12 << 10])],
                    ..Batch::default()
                },
            );
        }
        let blobs = dir.path().join("log/blobs");
        assert!(
            fs::read_dir(&blobs).unwrap().count() > 0,
            "sled writes no such files any more: is the flush still needed?"
        );
        let mut seen = Blobs::of(&dir.path().join("log"));
        seen.sync().unwrap();
        assert_eq!(seen.synced.len(), fs::read_dir(&blobs).unwrap().count());
        // The largest that there may be: a backup that is restored.
        put(
            &store,
            Batch {
                put: vec![(40, vec![7; ENTRY_MAX])],
                ..Batch::default()
            },
        );
        drop(store);
        let entries = SledStore::open(dir.path())
            .unwrap()
            .read(0..u64::MAX)
            .unwrap();
        assert_eq!((entries.len(), entries[40].len()), (41, ENTRY_MAX));
    }

    #[test]
    fn a_truncated_and_a_purged_log_open_again() {
        let dir = tempfile::tempdir().unwrap();
        let entries = |r: Range<u64>| r.map(|i| (i, vec![1])).collect();
        let store = SledStore::open(dir.path()).unwrap();
        put(
            &store,
            Batch {
                put: entries(0..20),
                ..Batch::default()
            },
        );
        put(
            &store,
            Batch {
                remove: Some(12..u64::MAX),
                ..Batch::default()
            },
        );
        drop(store);
        let store = SledStore::open(dir.path()).unwrap();
        assert_eq!(store.read(0..u64::MAX).unwrap().len(), 12);
        put(
            &store,
            Batch {
                remove: Some(0..12),
                ..Batch::default()
            },
        );
        drop(store);
        assert_eq!(SledStore::open(dir.path()).unwrap().last().unwrap(), None);
    }

    /// The writer thread has read where the log ends, and entries are taken away before it says so.
    #[test]
    fn the_mark_does_not_ask_for_what_was_taken_away_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let mut mark = Mark::open(dir.path()).unwrap();
        mark.raise(Sure { end: 20, writes: 5 }).unwrap();
        mark.lower(12, 7).unwrap();
        mark.raise(Sure { end: 20, writes: 6 }).unwrap();
        assert_eq!((mark.sure.end, mark.sure.writes), (12, 6));
        mark.raise(Sure { end: 13, writes: 7 }).unwrap();
        let read = Mark::open(dir.path()).unwrap().sure;
        assert_eq!((read.end, read.writes), (13, 7));
    }

    #[test]
    fn a_store_in_use_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let _first = SledStore::open(dir.path()).unwrap();
        let second = SledStore::open(dir.path()).err().unwrap();
        assert!(matches!(second, OpenError::InUse(_)), "{second}");
    }
}
