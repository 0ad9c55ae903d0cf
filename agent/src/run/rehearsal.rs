//! Only in builds for tests of upgrades: whoever leads keeps giving the command of the next version, until it was
//! applied. Before that version is active it is refused.

use crate::outside::Consensus;
use ha_core::command::{Command, Stamped};
use ha_node::outside::Clock;
use std::sync::Arc;
use std::time::Duration;

/// Names the text that is rehearsed; without it nothing is.
const TEXT: &str = "HA_REHEARSE";
const EVERY: Duration = Duration::from_millis(500);

/// Goes on as long as the agent.
pub(super) async fn keep(consensus: Consensus, clock: Arc<dyn Clock>) {
    let Ok(text) = std::env::var(TEXT) else {
        return;
    };
    loop {
        clock.sleep(EVERY).await;
        if consensus.news().leader != Some(consensus.me())
            || consensus.read().facts.rehearsal == text
        {
            continue;
        }
        let stamped = Stamped {
            at: clock.wall(),
            by: String::new(),
            command: Command::Rehearse { text: text.clone() },
            request: None,
        };
        if let Err(error) = consensus.propose(stamped).await {
            tracing::info!(%error, "not rehearsed");
        }
    }
}
