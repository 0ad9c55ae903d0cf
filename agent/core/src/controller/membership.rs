//! A membership that stayed joint is brought to its end.

use super::{Action, Controller};
use crate::time::Instant;
use std::time::Duration;

/// A membership that is joint for longer is brought to its end.
const JOINT_MAX: Duration = Duration::from_secs(2);

impl Controller {
    /// A change that this node began takes a few milliseconds from joint to done; one that an earlier leader
    /// began would stay joint for ever, and no further change would be allowed.
    pub(super) fn settle_membership(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.raft.voters.len() < 2 || self.raft.applied_term != self.raft.term {
            self.joint_since = None;
            return;
        }
        let since = *self.joint_since.get_or_insert(now);
        if now.saturating_since(since) < JOINT_MAX {
            return;
        }
        self.joint_since = Some(now);
        // Who holds must not be who goes: a change that would take this node out is undone, and its operator, who
        // was told that it failed, may begin it again.
        let forward = self
            .raft
            .voters
            .last()
            .is_some_and(|target| target.contains(&self.settings.me));
        actions.push(Action::SettleMembership { forward });
    }
}
