//! The first entries of a cluster.

use crate::consensus::types::Runtime;
use crate::consensus::{Consensus, ProposeError};
use crate::outside::Clock;
use ha_core::command::{Command, Stamped};
use std::time::Duration;

/// Before a proposal is made again.
const AGAIN: Duration = Duration::from_millis(10);

/// Makes the cluster and writes its first entries, in this order.
///
/// # Errors
/// A disk that refuses, or a command that contradicts those before it.
pub async fn write_first<R: Runtime>(
    clock: &dyn Clock,
    consensus: &Consensus<R>,
    listen: String,
    by: &str,
    commands: impl IntoIterator<Item = Command>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    consensus.found(listen).await?;
    for command in commands {
        loop {
            let stamped = Stamped {
                at: clock.wall(),
                by: by.to_owned(),
                command: command.clone(),
                request: None,
            };
            match consensus.propose(stamped).await {
                Ok(Ok(_)) => break,
                Ok(Err(rejection)) => return Err(rejection.into()),
                Err(
                    ended @ (ProposeError::Ended(_)
                    | ProposeError::TooLarge(_)
                    | ProposeError::NotYet(_)),
                ) => {
                    return Err(ended.into());
                }
                // It has not elected itself yet.
                Err(_) => clock.sleep(AGAIN).await,
            }
        }
    }
    Ok(())
}
