//! Puts other contents into a data directory, and keeps those of before beside them: whole, or not at all.
//!
//! ```text
//!   stage: DIR/next-node is filled, durably           until here everything is as it was
//!   commit: DIR/switch.json is written                from here on every command goes on with it:
//!     1. DIR/log, identity.json, ... -> DIR/before-TIME
//!     2. switch.json says so
//!     3. DIR/next-node/* -> DIR
//!     4. switch.json goes
//! ```
//!
//! Inside the directory, because it may be a mount, or stand where nobody else may make another one.

use crate::sys::platform;
use ha_core::time::Timestamp;
use ha_trust::keyring::write_private;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const NEXT: &str = "next-node";
const NOTE: &str = "switch.json";
/// Held by who is at it.
const LOCK: &str = "switch.lock";

/// What belongs to one node in a data directory. That a disk has failed belongs to the disk.
const OWN: [&str; 7] = [
    "identity.json",
    "keyring.json",
    "version.json",
    "mark",
    "snapshot",
    "snapshot.new",
    "log",
];

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// Where the contents of before go.
    before: String,
    /// They are all there.
    kept: bool,
}

/// An empty directory to be filled. What an earlier try left there goes.
///
/// # Errors
/// The disk refuses.
pub fn stage(data_dir: &Path) -> io::Result<PathBuf> {
    let next = data_dir.join(NEXT);
    match fs::remove_dir_all(&next) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::create_dir(&next)?;
    Ok(next)
}

/// What was staged takes the place of what is there, which is kept in the directory that this returns.
///
/// # Errors
/// The disk refuses. Then [`finish`] goes on where it ended.
pub fn commit(data_dir: &Path, now: Timestamp) -> io::Result<PathBuf> {
    platform::process::sync_directory(&data_dir.join(NEXT))?;
    let stamp: String = now
        .to_string()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let note = Note {
        before: format!("before-{stamp}"),
        kept: false,
    };
    note.write(data_dir)?;
    let kept = finish(data_dir)?;
    kept.ok_or_else(|| io::Error::other("another process has ended it"))
}

/// Ends what was committed and cut short, if anything was; where the contents of before are then.
///
/// # Errors
/// The disk refuses, or another process is at it.
pub fn finish(data_dir: &Path) -> io::Result<Option<PathBuf>> {
    finish_within(data_dir, &mut || true)
}

/// The same for as long as `goes_on` says so before each step: for tests of what is cut short.
fn finish_within(
    data_dir: &Path,
    goes_on: &mut dyn FnMut() -> bool,
) -> io::Result<Option<PathBuf>> {
    let path = data_dir.join(NOTE);
    if !path.exists() {
        return Ok(None);
    }
    let lock_path = data_dir.join(LOCK);
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)?;
    if !platform::files::lock(&lock)? {
        let what = format!(
            "{}: another process puts contents in there",
            data_dir.display()
        );
        return Err(io::Error::new(io::ErrorKind::WouldBlock, what));
    }
    if !path.exists() {
        // That other process has just ended it.
        return Ok(None);
    }
    let mut note = Note::read(&path)?;
    let (before, next) = (data_dir.join(&note.before), data_dir.join(NEXT));
    let mut cut_short = || match goes_on() {
        true => Ok(()),
        false => Err(io::Error::from(io::ErrorKind::Interrupted)),
    };
    if !note.kept {
        fs::create_dir_all(&before)?;
        for name in OWN {
            cut_short()?;
            move_over(&data_dir.join(name), &before.join(name))?;
        }
        platform::process::sync_directory(&before)?;
        platform::process::sync_directory(data_dir)?;
        note.kept = true;
        cut_short()?;
        note.write(data_dir)?;
    }
    for name in OWN {
        cut_short()?;
        move_over(&next.join(name), &data_dir.join(name))?;
    }
    platform::process::sync_directory(data_dir)?;
    cut_short()?;
    match fs::remove_dir_all(&next) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    cut_short()?;
    // Where nothing was before, nothing is kept.
    fs::remove_dir(&before).ok();
    fs::remove_file(&path)?;
    fs::remove_file(&lock_path)?;
    platform::process::sync_directory(data_dir)?;
    Ok(Some(before))
}

/// What is not there was never there, or is over already.
fn move_over(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Note {
    fn read(path: &Path) -> io::Result<Note> {
        let wrong = |e: serde_json::Error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}: {e}", path.display()),
            )
        };
        let note: Note = serde_json::from_str(&fs::read_to_string(path)?).map_err(wrong)?;
        // Nothing but what `commit` writes.
        let plain = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !note.before.starts_with("before-") || !plain(&note.before) {
            let what = format!(
                "{}: {:?} is no directory of ours",
                path.display(),
                note.before
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(note)
    }

    fn write(&self, data_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_string(self).map_err(io::Error::other)?;
        write_private(&data_dir.join(NOTE), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const NOW: Timestamp = Timestamp(1_800_000_000_123);

    fn write(dir: &Path, files: &[&str], text: &str) {
        for file in files {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn files(dir: &Path) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![dir.to_owned()];
        while let Some(at) = open.pop() {
            for entry in fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(dir).unwrap().display().to_string();
                    found.insert(name, fs::read_to_string(path).unwrap());
                }
            }
        }
        found
    }

    /// With a snapshot in the old contents and none in the new ones, or the other way round.
    fn made(old: &[&str], new: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), old, "old");
        write(dir.path(), &["failed"], "of the disk");
        let next = stage(dir.path()).unwrap();
        write(&next, new, "new");
        dir
    }

    const OLD: [&str; 4] = ["identity.json", "log/db", "mark", "snapshot"];
    const NEW: [&str; 4] = ["identity.json", "log/db", "mark", "keyring.json"];

    fn after(old: &[&str], new: &[&str], kept: &str) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = new
            .iter()
            .map(|f| ((*f).to_owned(), "new".to_owned()))
            .collect();
        all.extend(
            old.iter()
                .map(|f| (format!("{kept}/{f}"), "old".to_owned())),
        );
        all.insert("failed".to_owned(), "of the disk".to_owned());
        all
    }

    #[test]
    fn wherever_it_is_cut_short_everything_is_as_before_or_the_next_run_ends_it() {
        for (old, new) in [(OLD, NEW), (NEW, OLD)] {
            let mut cuts = 0;
            loop {
                let dir = made(&old, &new);
                let note = Note {
                    before: "before-1".into(),
                    kept: false,
                };
                note.write(dir.path()).unwrap();
                let mut left = cuts;
                let cut = finish_within(dir.path(), &mut || {
                    left -= 1;
                    left >= 0
                });
                let ended = cut.is_ok();
                // Cut short a second time, one step later.
                if !ended {
                    let mut left = 1;
                    drop(finish_within(dir.path(), &mut || {
                        left -= 1;
                        left >= 0
                    }));
                }
                finish(dir.path()).unwrap();
                assert_eq!(
                    files(dir.path()),
                    after(&old, &new, "before-1"),
                    "after {cuts} steps"
                );
                assert_eq!(finish(dir.path()).unwrap(), None);
                if ended {
                    break;
                }
                cuts += 1;
            }
            assert!(cuts > 15, "{cuts}");
        }
    }

    #[test]
    fn what_was_staged_and_not_committed_changes_nothing_and_makes_room() {
        let dir = made(&OLD, &NEW);
        assert_eq!(finish(dir.path()).unwrap(), None);
        let again = stage(dir.path()).unwrap();
        assert_eq!(files(&again).len(), 0);
        write(&again, &NEW, "new");
        let kept = commit(dir.path(), NOW).unwrap();
        let name = kept.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(name, "before-20270115T080000123Z");
        assert_eq!(files(dir.path()), after(&OLD, &NEW, &name));
    }

    #[test]
    fn a_note_that_names_another_place_is_refused() {
        let dir = made(&OLD, &NEW);
        for wrong in ["before-../../x", "log", ""] {
            let note = Note {
                before: wrong.into(),
                kept: false,
            };
            note.write(dir.path()).unwrap();
            assert!(finish(dir.path()).is_err(), "{wrong}");
        }
    }
}
