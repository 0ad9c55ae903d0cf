//! Whether this node hears a majority, and what every command says when it does not.

use super::{Operations, RequestError};
use ha_core::controller::{Controller, RaftRole};
use ha_core::time::{Instant, Timestamp};
use std::collections::BTreeSet;

/// Promises after which nobody is being elected any more: asking again does not help.
const LASTING: u32 = 10;

/// This node and a majority do not hear each other.
pub(crate) struct CutOff {
    /// When they last did.
    pub since: Timestamp,
    /// What is so, and what would help.
    pub words: String,
    /// For longer than an election takes.
    pub is_lasting: bool,
}

/// How many voters must be up again, as a sentence.
pub(crate) fn majority_needed(voters: usize) -> String {
    format!("a majority of the {voters} voters must be running and reach each other")
}

impl Operations {
    /// `None` while this node leads and is promised to, or hears who leads.
    pub(crate) async fn cut_off(&self) -> Option<CutOff> {
        let now = self.outside.clock.now();
        let lately = move |c: &Controller| {
            let leads = c.raft().role == RaftRole::Leader;
            c.is_out_of_touch(now).then(|| (c.last_in_touch(), leads))
        };
        let (last, leads) = self.driver.ask(lately).await.flatten()?;
        Some(self.cut_off_since(now, last, leads))
    }

    pub(super) fn cut_off_since(&self, now: Instant, last: Instant, leads: bool) -> CutOff {
        let lasts = now.saturating_since(last);
        let me = &self.member.name;
        let what = if leads {
            format!("no majority answers {me}")
        } else {
            format!("{me} hears no leader")
        };
        let wall = self.outside.clock.wall();
        CutOff {
            since: Timestamp(
                wall.0
                    .saturating_sub(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX)),
            ),
            words: format!(
                "there is no majority: {what} (for {} s): {}",
                lasts.as_secs().max(1),
                majority_needed(self.voters())
            ),
            is_lasting: lasts > self.consensus.promise_length() * LASTING,
        }
    }

    /// Why nobody does what was asked for. Nothing was done.
    pub(crate) async fn no_leader(&self) -> RequestError {
        match self.cut_off().await {
            Some(cut_off) => cut_off.into(),
            None => RequestError::unavailable(format!(
                "there is no leader at the moment: {}; try again",
                majority_needed(self.voters())
            )),
        }
    }

    pub(super) fn voters(&self) -> usize {
        let voters = self.consensus.news().voters;
        voters.iter().flatten().collect::<BTreeSet<_>>().len()
    }
}

impl From<CutOff> for RequestError {
    fn from(cut_off: CutOff) -> Self {
        if cut_off.is_lasting {
            RequestError::cut_off(cut_off.words)
        } else {
            RequestError::unavailable(cut_off.words)
        }
    }
}
