//! What a backup of a cluster holds: what is agreed, and what opens the authority's key. Nothing of any one node.

use crate::bytes::{In, Out};
use crate::form::Form;
use crate::{RecordError, decode, encode};
use ha_core::state::Facts;
use ha_core::stick::StickIndex;
use ha_core::time::Timestamp;
use ha_core::version::{CURRENT, RecordVersion};
use std::time::Duration;

/// The content of a backup, before it is locked with a passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// When it was made.
    pub made: Timestamp,
    /// The version of the agent that made it, for people.
    pub version: String,
    /// How long a voter stays promised, in milliseconds.
    pub promise_ms: u64,
    /// Opens the authority's key.
    pub seal: [u8; 32],
    pub facts: Facts,
    /// Which client belongs to which server, as far as that was taken along.
    pub bindings: StickIndex,
}

structs! {
    Backup {
        made: Timestamp,
        version: String,
        promise_ms: u64,
        seal: [u8; 32],
        facts: Facts,
        bindings: StickIndex,
    }
}

impl Backup {
    /// As it is stored, before it is encrypted: at the version that was active.
    ///
    /// # Errors
    /// None in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RecordError> {
        encode(self.facts.active_version.max(RecordVersion(1)), self)
    }

    /// Reads it, of whatever version this program reads.
    ///
    /// # Errors
    /// A newer version, or bytes that mean nothing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Backup, RecordError> {
        let backup: Backup = decode(CURRENT, bytes)?;
        if backup.facts.trust.signing().is_none() || backup.facts.config_version == 0 {
            return Err(RecordError::Malformed(
                "the backup holds no authority or no configuration",
            ));
        }
        Ok(backup)
    }

    /// How long a voter stays promised.
    pub const fn promise(&self) -> Duration {
        Duration::from_millis(self.promise_ms)
    }
}
