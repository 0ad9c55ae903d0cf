//! The files of the log's database, before it is opened.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// sled takes a read error for the end of the log and cuts off what follows: so everything is read before it looks.
pub(super) fn read_through(file: &Path) -> io::Result<()> {
    match File::open(file) {
        Ok(mut file) => io::copy(&mut file, &mut io::sink()).map(drop),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// A torn `snap.*.generating` makes sled's `open` fail.
pub(super) fn remove_torn_snapshots(dir: &Path) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if path.to_string_lossy().ends_with(".generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

pub(super) fn move_snapshots_aside(dir: &Path) -> io::Result<()> {
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
