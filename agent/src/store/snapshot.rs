//! The newest snapshot, a plain file with a checksum.

use crate::sys::platform::process::sync_directory;
use ha_node::log_store::StoredSnapshot;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

const SNAPSHOT_MAGIC: &[u8; 8] = b"hasnap01";

/// Write, sync, rename, sync the directory: a crash leaves the old snapshot or the new one.
pub(super) fn write_snapshot(dir: &Path, snapshot: &StoredSnapshot) -> io::Result<()> {
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
    sync_directory(dir)
}

pub(super) fn read_snapshot(bytes: &[u8]) -> Option<StoredSnapshot> {
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
