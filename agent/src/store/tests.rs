//! The contract of the store, crashes and damage.

use super::mark::Sure;
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
    ha_node::log_store::contract::holds(|| Box::new(SledStore::open(dir.path()).unwrap()));
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
                .contains("ha-agent rejoin"),
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
                assert!(e.to_string().contains("ha-agent rejoin"), "{e}");
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

/// A node without its log has forgotten its votes: whatever of it is gone, it does not begin anew in silence.
#[test]
fn a_store_that_was_lost_is_not_taken_for_an_empty_one() {
    let (mine, other) = (NodeId::from_random(1), NodeId::from_random(2));
    let dir = tempfile::tempdir().unwrap();
    drop(SledStore::create(dir.path(), mine).unwrap());
    let store = SledStore::open_known(dir.path(), mine).unwrap();
    let vote = Batch {
        meta: vec![(Meta::Vote, b"vote".to_vec())],
        ..Batch::default()
    };
    put(&store, vote);
    drop(store);
    type Lose = fn(&Path) -> io::Result<()>;
    let log: Lose = |dir| fs::remove_dir_all(dir.join("log"));
    let mark: Lose = |dir| fs::remove_file(dir.join("mark"));
    let both: Lose =
        |dir| fs::remove_dir_all(dir.join("log")).and(fs::remove_file(dir.join("mark")));
    let empty: Lose = |dir| {
        fs::remove_dir_all(dir.join("log")).and(fs::remove_file(dir.join("mark")))?;
        drop(SledStore::open(dir).map_err(io::Error::other)?);
        Ok(())
    };
    for (lose, named) in [
        (log, "log/db"),
        (mark, "mark"),
        (both, "log/db"),
        (empty, "not the log"),
    ] {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        lose(copy.path()).unwrap();
        let refused = SledStore::open_known(copy.path(), mine)
            .err()
            .unwrap()
            .to_string();
        for part in [named, "ha-agent rejoin"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
    assert!(SledStore::open_known(dir.path(), other).is_err(), "another");
    assert!(SledStore::create(dir.path(), other).is_err(), "nor renamed");
    let kept = SledStore::open_known(dir.path(), mine).unwrap();
    assert_eq!(
        kept.meta(Meta::Vote).unwrap().as_deref(),
        Some(b"vote".as_slice())
    );
}

/// What was not written may read as good until the machine is restarted.
#[test]
fn after_a_failed_flush_nothing_is_opened_in_the_same_boot() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    // Its blobs cannot be listed: a flush that fails.
    fs::remove_dir_all(dir.path().join("log/blobs")).ok();
    fs::write(dir.path().join("log/blobs"), b"no directory").unwrap();
    let (tx, rx) = mpsc::channel();
    let tell = Box::new(move |r| tx.send(r).unwrap());
    store.write(Batch::default(), Some(tell)).unwrap();
    rx.recv().unwrap().unwrap_err();
    drop(store);
    fs::remove_file(dir.path().join("log/blobs")).unwrap();
    let refused = SledStore::open(dir.path()).err().unwrap().to_string();
    for part in ["since this machine was started", "restart the machine"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    let note = dir.path().join("failed");
    let of_this_boot = fs::read_to_string(&note).unwrap();
    fs::write(&note, format!("another boot\n{of_this_boot}")).unwrap();
    SledStore::open(dir.path()).unwrap();
}
