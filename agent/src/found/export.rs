//! A backup that needs no quorum: of a stopped node, by what its own log says.

use super::recover::Stopped;
use crate::error::Failure;
use crate::sys::wall_now;
use ha_core::state::Facts;
use ha_record::backup::Backup;
use ha_trust::passphrase;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes it, encrypted, to a new file; how many bindings are in it.
///
/// # Errors
/// A file that is there already, a passphrase that is too short, a disk that refuses. Then there is no file.
pub fn export(stopped: &Stopped, file: &Path, passphrase: &str) -> Result<usize, Failure> {
    let state = &stopped.disk.state;
    let backup = Backup {
        made: wall_now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        promise_ms: stopped.identity.promise_ms,
        seal: stopped.seal(),
        facts: Facts::clone(&state.facts),
        bindings: state.stick.clone(),
    };
    let locked = passphrase::lock(passphrase, &backup.to_bytes()?)?;
    let said = |e: io::Error| format!("{}: {e}", file.display());
    let mut written = File::create_new(file).map_err(said)?;
    let done = written.write_all(&locked).and_then(|()| written.sync_all());
    if let Err(e) = done {
        fs::remove_file(file).ok();
        return Err(said(e).into());
    }
    Ok(state.stick.table().len())
}
