//! Whether what this node has applied is what the cluster has agreed on, without asking anybody.

use super::Controller;
use crate::time::Instant;

impl Controller {
    /// Whether this node leads, a quorum is promised to it at `now`, and it has applied an entry of its own term: then
    /// nobody else can have been elected, so nothing has been agreed on that it does not know.
    ///
    /// Not for a leader that does not vote any more: who votes alone elects itself without a message, and no promise of
    /// its keeps it from that. Holds for a witness too. While leadership is handed over nobody is promised any more.
    pub fn is_current(&self, now: Instant) -> bool {
        let until = self.hold.until(&self.raft.voters, self.settings.lease);
        self.leads()
            && self.hold.term() == self.raft.term
            && self.raft.applied_term == self.raft.term
            && self.raft.votes_throughout(self.settings.me)
            && self.handover.is_none()
            && until.is_some_and(|until| until > now)
    }
}
