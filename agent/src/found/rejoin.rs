//! Comes back under a new id: the data of before were lost, exchanged, or are of an earlier generation.

use super::join::{As, let_in};
use super::switch;
use crate::config::AgentConfig;
use crate::error::Failure;
use crate::identity::{Identity, IdentityError};
use crate::sys::platform::files::lock;
use crate::sys::wall_now;
use ha_core::id::NodeId;
use ha_trust::token::Token;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What became of it.
pub struct Rejoined {
    /// Of the node, from now on.
    pub identity: Identity,
    /// The cluster's name.
    pub cluster: String,
    /// Where the data of before are.
    pub kept: PathBuf,
}

/// Asks any member to be let in, in the place of the member of the same name, and keeps what is in `data_dir` aside.
/// Until the member has agreed nothing is changed.
///
/// # Errors
/// An agent that runs here, what the member said, a disk that refuses.
pub async fn rejoin(
    config: &AgentConfig,
    address: &str,
    token: &Token,
    id: Option<NodeId>,
) -> Result<Rejoined, Failure> {
    check_stopped(&config.data_dir)?;
    Identity::make_directory(&config.data_dir)?;
    let staged = AgentConfig {
        data_dir: switch::stage(&config.data_dir)?,
        ..config.clone()
    };
    let (identity, cluster) = let_in(&staged, address, token, id, As::Member).await?;
    let kept = switch::commit(&config.data_dir, wall_now())?;
    Ok(Rejoined {
        identity,
        cluster,
        kept,
    })
}

/// No agent runs on what is there, if anything is.
///
/// # Errors
/// One does, or the disk refuses.
pub fn check_stopped(data_dir: &Path) -> Result<(), Failure> {
    match Identity::load(data_dir) {
        Ok(_) | Err(IdentityError::Damaged { .. } | IdentityError::Missing(_)) => {}
        Err(other) => return Err(other.into()),
    }
    // The lock of the log's own engine.
    match File::open(data_dir.join("log/db")).and_then(|file| lock(&file)) {
        Ok(false) => Err(format!(
            "{} is in use by another process: stop the agent first (`systemctl stop ha-agent`)",
            data_dir.display()
        )
        .into()),
        _ => Ok(()),
    }
}
