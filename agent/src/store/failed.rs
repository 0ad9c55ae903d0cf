//! A disk that has failed to write stays suspect until the machine is restarted.
//!
//! After a failed fsync the kernel takes the pages for clean: they read as good and were never written. Only a restart
//! of the machine shows what is there. So the failure is noted with the boot in which it was, in the data directory, as
//! best that disk can, and in memory (`/run`), which a broken disk does not touch and a restart clears.

use crate::sys::platform::process::{boot_id, runtime_dir};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const FILE: &str = "failed";

/// What failed since this machine was started, if anything did.
pub(super) fn in_this_boot(dir: &Path) -> Option<String> {
    let boot = boot_id()?;
    let found = places(dir).into_iter().find_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        let (noted, what) = text.split_once('\n')?;
        (noted == boot).then(|| what.trim().to_owned())
    });
    if found.is_none() {
        // Of an earlier boot: what the disk lost then, the log itself tells.
        fs::remove_file(dir.join(FILE)).ok();
    }
    found
}

/// A refusal of these loses nothing: it comes before anything is taken for written. The log store tells them in text.
const REFUSED: [(io::ErrorKind, &str); 3] = [
    (io::ErrorKind::StorageFull, "No space left"),
    (io::ErrorKind::QuotaExceeded, "quota exceeded"),
    (io::ErrorKind::OutOfMemory, "Cannot allocate memory"),
];

/// A write or its flush has failed. What a full disk or a machine without memory refuses is no such failure.
pub(super) fn note(dir: &Path, error: &io::Error) {
    let Some(boot) = boot_id() else { return };
    let told = error.to_string();
    if REFUSED
        .iter()
        .any(|(kind, words)| error.kind() == *kind || told.contains(words))
    {
        return;
    }
    for path in places(dir) {
        let noted = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| File::create(&path))
            .and_then(|mut file| {
                write!(file, "{boot}\n{error}")?;
                // It may be the disk that has just failed.
                file.sync_all()
            });
        if let Err(e) = noted {
            tracing::warn!(path = %path.display(), error = %e, "that the disk failed could not be noted here");
        }
    }
}

fn places(dir: &Path) -> Vec<PathBuf> {
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let name = format!(
        "failed-{:08x}",
        crc32fast::hash(whole.as_os_str().as_encoded_bytes())
    );
    std::iter::once(dir.join(FILE))
        .chain(runtime_dir().map(|run| run.join(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_known_until_the_machine_is_restarted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(in_this_boot(dir.path()), None);
        note(dir.path(), &io::Error::other("EIO: the disk is broken"));
        assert_eq!(
            in_this_boot(dir.path()).as_deref(),
            Some("EIO: the disk is broken")
        );
        // The disk has not kept the note, and memory has.
        let kept = fs::read_to_string(dir.path().join(FILE)).unwrap();
        fs::remove_file(dir.path().join(FILE)).unwrap();
        if runtime_dir().is_some() {
            assert!(in_this_boot(dir.path()).is_some());
        }
        for place in places(dir.path()).iter().skip(1) {
            fs::remove_file(place).ok();
        }
        // As it is found after a restart of the machine.
        let boot = boot_id().unwrap();
        fs::write(dir.path().join(FILE), kept.replace(&boot, "another")).unwrap();
        assert_eq!(in_this_boot(dir.path()), None);
        assert!(!dir.path().join(FILE).exists());
        note(dir.path(), &io::ErrorKind::StorageFull.into());
        assert_eq!(in_this_boot(dir.path()), None, "a full disk loses nothing");
        note(
            dir.path(),
            &io::Error::other("IO error: Cannot allocate memory (os error 12)"),
        );
        assert_eq!(in_this_boot(dir.path()), None, "nor does too little memory");
    }
}
