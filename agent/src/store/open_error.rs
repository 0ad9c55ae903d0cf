//! Why a store could not be opened, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a store could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{0} is in use by another process: is another ha-agent running with the same data_dir?"
    )]
    InUse(PathBuf),
    /// What it has cannot be read as it was written.
    #[error(
        "the log store in {path} is damaged ({found}). If the other nodes have a majority: `ha-agent rejoin` here keeps \
         what is there aside and brings this node back under its name. \
         If this was the only node: move {path} away, then `ha-agent restore` with a file of `ha-cli backup`"
    )]
    Damaged {
        /// The data directory, which is left as it is.
        path: PathBuf,
        found: String,
    },
    /// What this node had voted for and acknowledged is gone.
    #[error(
        "the log of this node is gone: {found}. It has forgotten how it voted and what it acknowledged, so it must not \
         take part under its id ({path}). Nothing was changed. If the other nodes have a majority: `ha-agent rejoin` here \
         keeps what is there aside and brings this node back under its name. If you have the missing files: put them \
         back, all of the same moment"
    )]
    Forgotten {
        /// The data directory, which is left as it is.
        path: PathBuf,
        /// What is missing, or another.
        found: String,
    },
    /// The disk has lost a write since this machine was started.
    #[error(
        "a write to {path} failed since this machine was started ({found}): what was never written still reads as good \
         until the machine is restarted. Nothing was changed. Look at the disk (`dmesg`), restart the machine, then \
         start the agent: it finds out whether anything is missing. If the disk is broken: `ha-agent rejoin` with a \
         data_dir on a good disk"
    )]
    Failed {
        /// The data directory, which is left as it is.
        path: PathBuf,
        /// What the system said.
        found: String,
    },
    /// The disk refused to read or write.
    #[error("{path}: {error}")]
    Io {
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

pub(super) fn refusal(dir: &Path, e: sled::Error) -> OpenError {
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
