//! Who this node is, which cannot be changed later: written once by `init` or `join`, read at every start.

use crate::sys::platform;
use crate::sys::platform::files::check_own_directory;
use ha_core::id::NodeId;
use ha_core::model::Timing;
use ha_trust::keyring::write_private;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// The content of `identity.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Format of this file.
    pub format: u32,
    pub node_id: NodeId,
    pub cluster_id: NodeId,
    /// Its log, which was made when this was written: a log that is not there, or another, has forgotten its votes.
    pub store: NodeId,
    /// The cluster's timers, as a word.
    pub timing: String,
    /// How long a voter stays promised, in milliseconds.
    pub promise_ms: u64,
    /// Of the cluster when this was written: grows with each recovery by one node alone.
    #[serde(default = "first_generation")]
    pub generation: u64,
    /// Why this node must not serve any more, once it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outdated: Option<String>,
}

const fn first_generation() -> u64 {
    1
}

/// Why there is no identity.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// Nothing was made here yet.
    #[error(
        "{0} holds no node: run `ha-agent init` for the first node of a cluster, or `ha-agent join ADDRESS` for any other"
    )]
    Missing(PathBuf),
    /// Something is here already.
    #[error(
        "{path} already holds node {id}: it is founded or has joined. Start it with `ha-agent run`, or name another data_dir"
    )]
    Taken { path: PathBuf, id: NodeId },
    /// An `init` or `join` was cut short.
    #[error(
        "{0} holds a log but no identity: an earlier init or join did not finish. Move the directory away and try again"
    )]
    Unfinished(PathBuf),
    /// It cannot be read.
    #[error(
        "{path}: {found}: restore the file from a backup, or run `ha-agent rejoin` here: it brings this node back under its name"
    )]
    Damaged { path: PathBuf, found: String },
    /// The disk refused to read or write.
    #[error("{path}: {error}")]
    Io {
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl Identity {
    pub fn new(
        node_id: NodeId,
        cluster_id: NodeId,
        store: NodeId,
        timing: Timing,
        promise: Duration,
    ) -> Self {
        Identity {
            format: 1,
            node_id,
            cluster_id,
            store,
            timing: timing.word().to_owned(),
            promise_ms: u64::try_from(promise.as_millis()).unwrap_or(u64::MAX),
            generation: first_generation(),
            outdated: None,
        }
    }

    /// The identity in `data_dir`.
    pub fn load(data_dir: &Path) -> Result<Identity, IdentityError> {
        let path = file(data_dir);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::Missing(data_dir.to_owned()));
            }
            Err(error) => return Err(IdentityError::Io { path, error }),
        };
        let identity: Identity =
            serde_json::from_str(&text).map_err(|e| IdentityError::Damaged {
                path: path.clone(),
                found: e.to_string(),
            })?;
        if identity.format != 1 || Timing::from_word(&identity.timing).is_none() {
            return Err(IdentityError::Damaged {
                path,
                found: format!(
                    "format {} or timing {:?} is not known to this version",
                    identity.format, identity.timing
                ),
            });
        }
        Ok(identity)
    }

    /// Makes sure that nothing was made in `data_dir` yet.
    pub fn check_unclaimed(data_dir: &Path) -> Result<(), IdentityError> {
        match Self::load(data_dir) {
            Ok(found) => {
                return Err(IdentityError::Taken {
                    path: data_dir.to_owned(),
                    id: found.node_id,
                });
            }
            Err(IdentityError::Missing(_)) => {}
            Err(other) => return Err(other),
        }
        if data_dir.exists() {
            check_own_directory(data_dir).map_err(|error| IdentityError::Io {
                path: data_dir.to_owned(),
                error,
            })?;
        }
        if data_dir.join("log").exists() {
            return Err(IdentityError::Unfinished(data_dir.to_owned()));
        }
        Ok(())
    }

    /// The same, and makes the directory.
    pub fn claim(data_dir: &Path) -> Result<(), IdentityError> {
        Self::check_unclaimed(data_dir)?;
        Self::make_directory(data_dir)
    }

    /// Makes the directory, if it is not there, and makes sure that it is nobody else's.
    pub fn make_directory(data_dir: &Path) -> Result<(), IdentityError> {
        let io_error = |error| IdentityError::Io {
            path: data_dir.to_owned(),
            error,
        };
        fs::create_dir_all(data_dir).map_err(io_error)?;
        check_own_directory(data_dir).map_err(io_error)?;
        platform::process::let_through(data_dir).map_err(io_error)?;
        Ok(())
    }

    /// Writes it: complete and durable, or not at all.
    pub fn save(&self, data_dir: &Path) -> Result<(), IdentityError> {
        let path = file(data_dir);
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other);
        text.and_then(|text| write_private(&path, text.as_bytes()))
            .map_err(|error| IdentityError::Io {
                path: path.clone(),
                error,
            })
    }

    pub fn timing(&self) -> Timing {
        Timing::from_word(&self.timing).unwrap_or_default()
    }

    /// How long a voter stays promised.
    pub const fn promise(&self) -> Duration {
        Duration::from_millis(self.promise_ms)
    }
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("identity.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Identity::load(dir.path()),
            Err(IdentityError::Missing(_))
        ));
        Identity::claim(dir.path()).unwrap();
        let id = Identity::new(
            NodeId::from_random(1),
            NodeId::from_random(2),
            NodeId::from_random(3),
            Timing::Fast,
            Duration::from_millis(160),
        );
        id.save(dir.path()).unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), id);
        assert!(matches!(
            Identity::claim(dir.path()),
            Err(IdentityError::Taken { .. })
        ));
        fs::write(dir.path().join("identity.json"), "{").unwrap();
        assert!(matches!(
            Identity::load(dir.path()),
            Err(IdentityError::Damaged { .. })
        ));
    }

    #[test]
    fn a_log_without_identity_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("log")).unwrap();
        assert!(matches!(
            Identity::claim(dir.path()),
            Err(IdentityError::Unfinished(_))
        ));
    }
}
