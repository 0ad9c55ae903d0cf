//! The files in which sled keeps large pages, which its own flush forgets.

use crate::sys::platform::process::sync_directory;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// sled's files for large pages; each is written once.
pub(super) struct Blobs {
    dir: PathBuf,
    /// What is known to be durable, with its length: one may be seen half written.
    pub(super) synced: BTreeMap<OsString, u64>,
}

impl Blobs {
    /// Nothing in there is known to be durable yet.
    pub(super) fn of(sled_dir: &Path) -> Blobs {
        Blobs {
            dir: sled_dir.join("blobs"),
            synced: BTreeMap::new(),
        }
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
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
        if is_new {
            sync_directory(&self.dir)
        } else {
            Ok(())
        }
    }
}
