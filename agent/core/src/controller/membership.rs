//! Learners become voters, and a membership that stayed joint is brought to its end.

use super::{Action, Controller};
use crate::id::NodeId;
use crate::time::Instant;
use std::time::Duration;

/// A learner that lacks no more entries than this is made a voter.
const CAUGHT_UP_WITHIN: u64 = 64;
/// Between two tries to promote the same learner.
const PROMOTE_AGAIN: Duration = Duration::from_secs(2);
/// A membership that is joint for longer is brought to its end.
const JOINT_MAX: Duration = Duration::from_secs(2);

impl Controller {
    pub(super) fn promote_learner(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let [voters] = self.raft.voters.as_slice() else {
            return;
        };
        if voters.len() >= self.settings.voters_max {
            return;
        }
        let caught_up = |n: &&NodeId| {
            self.raft
                .matched
                .get(n)
                .is_some_and(|m| *m > 0 && m + CAUGHT_UP_WITHIN >= self.raft.last_log)
        };
        let promises = |n: &&NodeId| {
            self.hold
                .heard(**n)
                .is_some_and(|at| now.saturating_since(at) < self.settings.lease)
        };
        let known = |n: &&NodeId| self.facts.members.contains_key(n);
        let Some(learner) = self
            .raft
            .learners
            .iter()
            .filter(known)
            .filter(promises)
            .find(caught_up)
            .copied()
        else {
            return;
        };
        if self
            .promote_asked
            .is_none_or(|(n, at)| n != learner || now.saturating_since(at) > PROMOTE_AGAIN)
        {
            self.promote_asked = Some((learner, now));
            actions.push(Action::Promote(learner));
        }
    }

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
