//! The lease: why two nodes never answer for one address.
//!
//! ```text
//!   leader                               voter (each, the leader included)
//!   Hold: what a quorum has promised     Promise: to whom, until when
//!     |-- Lease { term, sent } ------------>|  refuse: later term known, promised to another,
//!     |<-- acknowledged, from memory -------|          just started, sent before a Release, a term unknown here
//!     hold until sent + LEASE               |  promised for PROMISE
//! ```
//!
//! A voter never promises itself to two leaders at once. Two holders would need two quorums;
//! quorums one membership step apart share a voter; and a promise outlives the hold that rests on
//! it, because `LEASE * (1 + rho) + stop <= PROMISE * (1 - rho)`. Nothing here rests on how the
//! consensus library elects. The rules are in `docs/design.md`, "The lease"; what each of them prevents was
//! shown by simulation.

use crate::id::NodeId;
use crate::time::Instant;
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// What the leader sends several times per lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lease {
    /// The Raft term of the leader.
    pub term: u64,
    /// When it was sent, on the leader's clock. Only the leader compares it.
    pub sent: Instant,
}

/// Why a voter does not promise itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Refusal {
    /// It knows a later term.
    LaterTerm(u64),
    /// It is promised to another node.
    Promised(NodeId),
    /// The leader released, and this `Lease` was not sent later.
    Released,
    /// It started less than one promise ago and does not know what it had promised before.
    JustStarted,
    /// It has heard of no such term, only of this one: a leader's entries come before, or in a moment.
    UnknownTerm(u64),
}

/// What came of a `Release`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseHeard {
    /// The promise has ended.
    Ended,
    /// It was said before, or the promise rests on a `Lease` that was sent later: nothing ends.
    Late,
    /// This voter is not promised to who says it, or not in that term: nothing is remembered of it.
    Refused,
}

/// Whether a vote may go on to the consensus library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteDecision {
    /// The vote goes on its way.
    Pass,
    /// It may not: this node is promised to another.
    Refuse,
}

/// A real vote, or the question before it that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// Never written down: an unsuccessful one must not make voters refuse a healthy leader.
    PreVote,
    /// Written down before the consensus library sees it.
    Vote,
}

/// What one voter has promised. One per node, behind one lock that guard and lease handler share.
#[derive(Clone, Debug)]
pub struct Promise {
    length: Duration,
    term: u64,
    being_voted: u64,
    votes_inside: u32,
    /// To whom, and the newest `Lease` of it that was acknowledged.
    rests_on: Option<(NodeId, Lease)>,
    until: Instant,
    quiet_until: Instant,
    /// The last that was heard, and whose.
    released: Option<(NodeId, Lease)>,
}

impl Promise {
    /// A voter that has just started: for one `length` it answers nothing, because it has forgotten
    /// whom it promised. `durable_term` is the term of its vote on disk.
    pub const fn starting(now: Instant, length: Duration, durable_term: u64) -> Self {
        let quiet_until = Instant(now.0.saturating_add(length.as_nanos() as u64));
        Self {
            length,
            term: durable_term,
            being_voted: 0,
            votes_inside: 0,
            rests_on: None,
            until: Instant::ZERO,
            quiet_until,
            released: None,
        }
    }

    /// A voter that cannot have promised anything before: one that makes a new cluster.
    pub const fn fresh(length: Duration) -> Self {
        Self::starting(Instant::ZERO, Duration::ZERO, 0).with_length(length)
    }

    const fn with_length(mut self, length: Duration) -> Self {
        self.length = length;
        self
    }

    /// Promises this voter to `from` until `now + length`, or says why not.
    pub fn on_lease(&mut self, now: Instant, from: NodeId, lease: Lease) -> Result<(), Refusal> {
        let known = self.term.max(self.being_voted);
        // No leader is of term 0: who asks with it only wants to know whether somebody is here.
        if known > lease.term || lease.term == 0 {
            return Err(Refusal::LaterTerm(known));
        }
        if self.is_released(from, lease) {
            return Err(Refusal::Released);
        }
        if now < self.quiet_until {
            return Err(Refusal::JustStarted);
        }
        if let Some(other) = self.promised_to_another(now, from) {
            return Err(Refusal::Promised(other));
        }
        if lease.term > self.term {
            return Err(Refusal::UnknownTerm(self.term));
        }
        let newest = self
            .rests_on
            .filter(|(to, before)| *to == from && before.term == lease.term)
            .map_or(lease.sent, |(_, before)| before.sent.max(lease.sent));
        let newest = Lease {
            sent: newest,
            ..lease
        };
        self.rests_on = Some((from, newest));
        self.until = now + self.length;
        Ok(())
    }

    /// The consensus library of this node is in `term`, however it came there: a sole voter elects itself without
    /// a message. Leaders of earlier terms do not know what is decided from now on, and of later ones there are none
    /// that this node has heard of.
    pub fn note_term(&mut self, term: u64) {
        self.term = self.term.max(term);
    }

    /// `from` says that it no longer holds: this voter's promise to it ends, and its older `Lease` messages are void.
    /// Nobody ends another's promise or binds another's messages, and none of a term that is only claimed.
    pub fn on_release(&mut self, from: NodeId, release: Lease) -> ReleaseHeard {
        if let Some((to, lease)) = self.rests_on
            && (to, lease.term) == (from, release.term)
        {
            if release.sent < lease.sent {
                return ReleaseHeard::Late;
            }
            self.released = Some((from, release));
            self.rests_on = None;
            self.until = Instant::ZERO;
            ReleaseHeard::Ended
        } else if self.is_released(from, release) {
            ReleaseHeard::Late
        } else {
            ReleaseHeard::Refused
        }
    }

    /// Whether `from` released after it sent that, or just then.
    fn is_released(&self, from: NodeId, sent: Lease) -> bool {
        self.released.is_some_and(|(who, last)| {
            who == from && (sent.term, sent.sent) <= (last.term, last.sent)
        })
    }

    /// A ballot from `from` has come in. After a [`Ballot::Vote`] that passed, [`Promise::vote_answered`] must follow.
    pub fn vote_in(
        &mut self,
        now: Instant,
        from: NodeId,
        term: u64,
        ballot: Ballot,
    ) -> VoteDecision {
        if now < self.quiet_until || self.promised_to_another(now, from).is_some() {
            return VoteDecision::Refuse;
        }
        if ballot == Ballot::Vote {
            self.being_voted = self.being_voted.max(term);
            self.votes_inside += 1;
        }
        VoteDecision::Pass
    }

    /// The consensus library answered a vote that was let in; its own term is now `term` (0 when it failed).
    pub fn vote_answered(&mut self, term: u64) {
        self.term = self.term.max(term);
        self.votes_inside = self.votes_inside.saturating_sub(1);
        if self.votes_inside == 0 {
            self.being_voted = 0;
        }
    }

    /// The consensus library of this node, `me`, wants to send a ballot out.
    pub fn vote_out(
        &mut self,
        now: Instant,
        me: NodeId,
        term: u64,
        ballot: Ballot,
    ) -> VoteDecision {
        if now < self.quiet_until || self.promised_to_another(now, me).is_some() {
            return VoteDecision::Refuse;
        }
        if ballot == Ballot::Vote {
            self.term = self.term.max(term);
        }
        VoteDecision::Pass
    }

    /// To whom this voter is promised at `now`.
    pub fn promised_to(&self, now: Instant) -> Option<NodeId> {
        self.rests_on.map(|(to, _)| to).filter(|_| now < self.until)
    }

    fn promised_to_another(&self, now: Instant, from: NodeId) -> Option<NodeId> {
        self.promised_to(now).filter(|to| *to != from)
    }
}

/// The voters whose promises count: one set, or two while the membership is joint.
pub type VoterSets = Vec<BTreeSet<NodeId>>;

/// What the leader of one term has been promised. Starts anew with each term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    term: u64,
    /// The newest of each voter, by when it was sent; newest first.
    acknowledged: Vec<(Instant, NodeId)>,
    released: bool,
    /// Promises on the strength of what was sent until then have been ended by a release.
    void_until: Option<Instant>,
}

impl Hold {
    /// Nothing promised yet, for the leader of `term`.
    pub const fn new(term: u64) -> Self {
        Self {
            term,
            acknowledged: Vec::new(),
            released: false,
            void_until: None,
        }
    }

    /// The leader of `term` gave up and holds again after all: only what is sent later than `now` counts.
    pub fn resumed(term: u64, now: Instant) -> Self {
        Self {
            void_until: Some(now),
            ..Self::new(term)
        }
    }

    /// The term it belongs to.
    pub const fn term(&self) -> u64 {
        self.term
    }

    /// `voter` has promised itself on the strength of the `Lease` sent at `lease.sent`.
    ///
    /// It counts by when it was sent, never by when the answer came.
    pub fn on_acknowledged(&mut self, voter: NodeId, lease: Lease) {
        if lease.term != self.term
            || self.released
            || self.void_until.is_some_and(|until| lease.sent <= until)
        {
            return;
        }
        if let Some(known) = self.acknowledged.iter().position(|(_, v)| *v == voter) {
            if self.acknowledged[known].0 >= lease.sent {
                return;
            }
            self.acknowledged.remove(known);
        }
        let at = self
            .acknowledged
            .partition_point(|(sent, _)| *sent > lease.sent);
        self.acknowledged.insert(at, (lease.sent, voter));
    }

    /// Until when this leader may hold: the newest `sent` that a quorum of every set has acknowledged, plus `lease`.
    pub fn until(&self, voters: &VoterSets, lease: Duration) -> Option<Instant> {
        if self.released {
            return None;
        }
        self.quorum_sent(voters).map(|sent| sent + lease)
    }

    /// When `node` last acknowledged, by when that `Lease` was sent.
    pub fn heard(&self, node: NodeId) -> Option<Instant> {
        self.acknowledged
            .iter()
            .find(|(_, v)| *v == node)
            .map(|(sent, _)| *sent)
    }

    /// When the newest acknowledgement of any of `voters` was sent.
    pub fn newest(&self, voters: &VoterSets) -> Option<Instant> {
        self.acknowledged
            .iter()
            .find(|(_, v)| voters.iter().any(|set| set.contains(v)))
            .map(|(sent, _)| *sent)
    }

    /// It gives the address up for the rest of its term.
    pub fn release(&mut self) {
        self.released = true;
        self.acknowledged.clear();
    }

    /// Whether it gave up.
    pub const fn is_released(&self) -> bool {
        self.released
    }

    fn quorum_sent(&self, voters: &VoterSets) -> Option<Instant> {
        if voters.is_empty() || voters.iter().any(BTreeSet::is_empty) {
            return None;
        }
        // The newest that more than half of a set have reached: newest first, that of the last one needed.
        let newest_of_majority = |set: &BTreeSet<NodeId>| {
            self.acknowledged
                .iter()
                .filter(|(_, v)| set.contains(v))
                .nth(set.len() / 2)
                .map(|(sent, _)| *sent)
        };
        voters
            .iter()
            .map(newest_of_majority)
            .try_fold(None, |least: Option<Instant>, newest| {
                newest.map(|n| Some(least.map_or(n, |l| l.min(n))))
            })?
    }
}

#[cfg(test)]
mod tests;
