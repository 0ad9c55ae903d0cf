//! Which version wrote a data directory last: one that cannot read it says which can.

use ha_node::consensus::codec::FORMAT;
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
    /// The format of its records.
    format: u8,
}

/// Whether this version reads what the last one wrote.
///
/// # Errors
/// The other version by name, or a file that cannot be read.
pub fn check(data_dir: &Path) -> Result<(), String> {
    let path = data_dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(format!("{}: {e}", path.display())),
    };
    match serde_json::from_str::<Written>(&text) {
        Ok(last) if last.format != FORMAT => Err(format!(
            "{} was last run by ha-agent {}, which writes records of format {}; this is ha-agent {}, which reads format {FORMAT}. \
             Nothing was changed: run ha-agent {} on this node, or remove the node from the cluster and join it again with an empty data_dir",
            data_dir.display(),
            last.version,
            last.format,
            env!("CARGO_PKG_VERSION"),
            last.version
        )),
        // The records say their format themselves.
        Ok(_) | Err(_) => Ok(()),
    }
}

/// This version has written there.
///
/// # Errors
/// The disk refuses.
pub fn note(data_dir: &Path) -> io::Result<()> {
    let written = Written {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: FORMAT,
    };
    write_private(
        &data_dir.join(FILE),
        serde_json::to_string(&written)
            .map_err(io::Error::other)?
            .as_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_another_format_names_the_version_that_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path()).unwrap();
        note(dir.path()).unwrap();
        check(dir.path()).unwrap();
        let newer = Written {
            version: "9.1.2".to_owned(),
            format: FORMAT + 1,
        };
        fs::write(
            dir.path().join(FILE),
            serde_json::to_string(&newer).unwrap(),
        )
        .unwrap();
        let refused = check(dir.path()).unwrap_err();
        assert!(
            refused.contains("run ha-agent 9.1.2 on this node"),
            "{refused}"
        );
    }
}
