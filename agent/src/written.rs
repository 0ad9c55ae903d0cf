//! `version.json`: which ha-agent ran last on a data directory, and at which version its cluster writes. The latter is
//! there before anything of that version is applied, so that a program which does not speak it refuses to start.

use ha_core::version::{CURRENT, RecordVersion, Speaks};
use ha_trust::keyring::write_private;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::Path;

const FILE: &str = "version.json";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    /// The version of `ha-agent`.
    version: String,
    /// The active version of the cluster; none before there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    active: Option<u32>,
    /// Before 0.2 there was one format for everything, and no active version.
    #[serde(default, skip_serializing)]
    format: Option<u32>,
}

/// Whether this program may run on what is there.
///
/// # Errors
/// What is there, what this program speaks, and what to do; or a file that cannot be read.
pub fn check(data_dir: &Path) -> Result<(), String> {
    check_for(data_dir, CURRENT)
}

fn check_for(data_dir: &Path, speaks: Speaks) -> Result<(), String> {
    let Some(last) = read(data_dir).map_err(|e| e.to_string())? else {
        return Ok(());
    };
    let (dir, this) = (data_dir.display(), env!("CARGO_PKG_VERSION"));
    if last.format.is_some() {
        return Err(format!(
            "{dir} was last run by ha-agent {}, whose data ha-agent {this} does not read. Nothing was changed. \
             Either run ha-agent {} here, or found the cluster anew: keep cluster.toml, stop all agents, \
             empty each data_dir, then `ha-agent init` on one node and `ha-agent join` on the others",
            last.version, last.version
        ));
    }
    match last.active.map(RecordVersion) {
        Some(active) if !speaks.contains(active) => Err(format!(
            "the cluster of {dir} writes version {active}, and this ha-agent {this} speaks {speaks}. Nothing was changed. \
             ha-agent {} ran here last and speaks it: install that one or a newer one. \
             There is no way back for a cluster; a node that must run ha-agent {this} joins another with an empty data_dir",
            last.version
        )),
        _ => Ok(()),
    }
}

/// This program runs there now.
///
/// # Errors
/// The disk refuses.
pub fn note(data_dir: &Path) -> io::Result<()> {
    let active = active(data_dir)?;
    write(data_dir, active)
}

/// The version at which the cluster writes, as far as this node knew.
///
/// # Errors
/// A file that cannot be read.
pub fn active(data_dir: &Path) -> io::Result<Option<RecordVersion>> {
    Ok(read(data_dir)?.and_then(|w| w.active).map(RecordVersion))
}

/// From now on the cluster writes at that version. Durable when it returns.
///
/// # Errors
/// The disk refuses.
pub fn note_active(data_dir: &Path, version: RecordVersion) -> io::Result<()> {
    write(data_dir, Some(version))
}

fn write(data_dir: &Path, active: Option<RecordVersion>) -> io::Result<()> {
    let written = Written {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        active: active.map(|v| v.0),
        format: None,
    };
    let text = serde_json::to_string(&written).map_err(io::Error::other)?;
    write_private(&data_dir.join(FILE), text.as_bytes())
}

fn read(data_dir: &Path) -> io::Result<Option<Written>> {
    let path = data_dir.join(FILE);
    let wrong = |found: String| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{}: {found}: move this file away; the log says its version, too",
                path.display()
            ),
        )
    };
    match fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| wrong(e.to_string())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(wrong(e.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaks(min: u32, max: u32) -> Speaks {
        Speaks {
            min: RecordVersion(min),
            max: RecordVersion(max),
        }
    }

    #[test]
    fn a_program_that_does_not_speak_the_active_version_is_refused_with_words() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path()).unwrap();
        note(dir.path()).unwrap();
        assert_eq!(active(dir.path()).unwrap(), None);
        check_for(dir.path(), speaks(1, 1)).unwrap();
        note_active(dir.path(), RecordVersion(2)).unwrap();
        // The next start keeps it.
        note(dir.path()).unwrap();
        assert_eq!(active(dir.path()).unwrap(), Some(RecordVersion(2)));
        check_for(dir.path(), speaks(1, 2)).unwrap();
        check_for(dir.path(), speaks(2, 3)).unwrap();
        for (too_old_or_new, words) in [
            (speaks(1, 1), "version 1."),
            (speaks(3, 4), "versions 3 to 4."),
        ] {
            let refused = check_for(dir.path(), too_old_or_new).unwrap_err();
            for part in ["writes version 2", words, "install that one"] {
                assert!(refused.contains(part), "{part}: {refused}");
            }
        }
    }

    #[test]
    fn data_of_before_0_2_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let before = r#"{"version":"0.1.0","format":4}"#;
        fs::write(dir.path().join(FILE), before).unwrap();
        let refused = check(dir.path()).unwrap_err();
        assert!(
            refused.contains("run ha-agent 0.1.0 here") && refused.contains("ha-agent init"),
            "{refused}"
        );
        assert_eq!(
            fs::read_to_string(dir.path().join(FILE)).unwrap(),
            before,
            "nothing was changed"
        );
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(check(dir.path()).unwrap_err().contains("version.json"));
    }
}
