//! What a backup of a cluster holds: what is agreed, and what opens the authority's key. Nothing of any one node.

use ha_core::state::Facts;
use ha_core::time::Timestamp;
use ha_node::consensus::codec::{decode, encode};
use serde::{Deserialize, Serialize};
use std::io;
use std::time::Duration;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// When it was made.
    pub made: Timestamp,
    /// The version of the agent that made it.
    pub version: String,
    /// How long a voter stays promised, in milliseconds.
    pub promise_ms: u64,
    /// Opens the authority's key.
    pub seal: [u8; 32],
    /// What was agreed.
    pub facts: Facts,
}

impl Backup {
    /// As it is stored, before it is encrypted.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        encode(self)
    }

    /// Reads it.
    ///
    /// # Errors
    /// Another format, or bytes that mean nothing.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Backup> {
        let backup: Backup = decode(bytes)?;
        if backup.facts.trust.signing().is_none() || backup.facts.config_version == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it holds no authority or no configuration",
            ));
        }
        Ok(backup)
    }

    /// How long a voter stays promised.
    pub const fn promise(&self) -> Duration {
        Duration::from_millis(self.promise_ms)
    }
}
