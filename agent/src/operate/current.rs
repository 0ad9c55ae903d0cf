//! Whether an answer is what is, or may be old: who leads as far as it knows may have been replaced meanwhile.
//!
//! ```text
//!   lease valid now, own term applied ------> it is
//!   else a quorum, asked within CONFIRMED ---> it is
//!   else it does not lead any more ----------> ask again, elsewhere
//!   else it may be old: since when, and why
//! ```

use super::{Operations, RequestError};
use ha_core::controller::{Controller, RaftRole};
use ha_node::consensus::ProposeError;
use ha_proto::control as pb;
use std::time::Duration;

/// How long a quorum may take to say that this node still leads; a follower waits for a second for the answer.
const CONFIRMED_WITHIN: Duration = Duration::from_millis(500);

impl Operations {
    /// `None`: what this node has applied at the end of this call is at least as new as anything that was answered to
    /// anybody before it.
    ///
    /// # Errors
    /// Another node leads.
    pub(super) async fn may_be_old(&self) -> Result<Option<pb::MayBeOld>, RequestError> {
        let clock = self.outside.clock.clone();
        let is_current = self.driver.ask(move |c| c.is_current(clock.now())).await;
        if is_current == Some(true) {
            return Ok(None);
        }
        match self.consensus.confirm(CONFIRMED_WITHIN).await {
            Ok(()) => Ok(None),
            Err(ProposeError::NotLeader(_)) => Err(self.no_leader().await),
            Err(_) => Ok(Some(self.old().await)),
        }
    }

    /// Since when, and why.
    async fn old(&self) -> pb::MayBeOld {
        let now = self.outside.clock.now();
        let last = self.driver.ask(Controller::last_in_touch).await;
        let cut_off = self.cut_off_since(now, last.unwrap_or(now), true);
        pb::MayBeOld {
            why: cut_off.words,
            since_ms: cut_off.since.0,
        }
    }

    /// The same for `status`, which every node answers: who does not lead says so there anyway.
    pub(super) async fn status_may_be_old(&self) -> Option<pb::MayBeOld> {
        if self.consensus.news().leader != Some(self.member.id) {
            return None;
        }
        match self.may_be_old().await {
            Ok(old) => old,
            Err(_) => {
                let leads = self.driver.ask(|c| c.raft().role == RaftRole::Leader).await;
                if leads == Some(true) {
                    return Some(self.old().await);
                }
                None
            }
        }
    }
}
