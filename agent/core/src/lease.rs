//! The lease: why two nodes never answer for one address.
//!
//! ```text
//!   leader                               voter (each, the leader included)
//!   Hold: what a quorum has promised     Promise: to whom, until when
//!     |-- Lease { term, sent } ------------>|  refuse: later term known, promised to another,
//!     |<-- acknowledged, from memory -------|          just started, or sent before a Release
//!     hold until sent + LEASE               |  promised for PROMISE
//! ```
//!
//! A voter never promises itself to two leaders at once. Two holders would need two quorums;
//! quorums one membership step apart share a voter; and a promise outlives the hold that rests on
//! it, because `LEASE * (1 + rho) + stop <= PROMISE * (1 - rho)`. Nothing here rests on how the
//! consensus library elects. The rules are `DESIGN.md` section 5; what each of them prevents was
//! shown by simulation.

use crate::id::NodeId;
use crate::time::Instant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// What the leader sends several times per lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The Raft term of the leader.
    pub term: u64,
    /// When it was sent, on the leader's clock. Only the leader compares it.
    pub sent: Instant,
}

/// Why a voter does not promise itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It knows a later term.
    LaterTerm(u64),
    /// It is promised to another node.
    Promised(NodeId),
    /// The leader released, and this `Lease` was not sent later.
    Released,
    /// It started less than one promise ago and does not know what it had promised before.
    JustStarted,
}

/// Whether a vote may go on to the consensus library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
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
    to: Option<NodeId>,
    until: Instant,
    quiet_until: Instant,
    released: (u64, Instant),
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
            to: None,
            until: Instant::ZERO,
            quiet_until,
            released: (0, Instant::ZERO),
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
        if known > lease.term {
            return Err(Refusal::LaterTerm(known));
        }
        if (lease.term, lease.sent) <= self.released {
            return Err(Refusal::Released);
        }
        if now < self.quiet_until {
            return Err(Refusal::JustStarted);
        }
        if let Some(other) = self.promised_to_another(now, from) {
            return Err(Refusal::Promised(other));
        }
        self.term = lease.term;
        self.to = Some(from);
        self.until = now + self.length;
        Ok(())
    }

    /// The consensus library of this node is in `term`, however it came there: a sole voter elects itself without
    /// a message. Leaders of earlier terms do not know what is decided from now on.
    pub fn note_term(&mut self, term: u64) {
        self.term = self.term.max(term);
    }

    /// The leader no longer holds: its promise ends, and its older `Lease` messages are void.
    pub fn on_release(&mut self, from: NodeId, release: Lease) {
        self.released = self.released.max((release.term, release.sent));
        if self.to == Some(from) && self.term == release.term {
            self.to = None;
            self.until = Instant::ZERO;
        }
    }

    /// A ballot from `from` has come in. After a [`Ballot::Vote`] that passed, [`Promise::vote_answered`] must follow.
    pub fn vote_in(&mut self, now: Instant, from: NodeId, term: u64, ballot: Ballot) -> Gate {
        if now < self.quiet_until || self.promised_to_another(now, from).is_some() {
            return Gate::Refuse;
        }
        if ballot == Ballot::Vote {
            self.being_voted = self.being_voted.max(term);
            self.votes_inside += 1;
        }
        Gate::Pass
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
    pub fn vote_out(&mut self, now: Instant, me: NodeId, term: u64, ballot: Ballot) -> Gate {
        if now < self.quiet_until || self.promised_to_another(now, me).is_some() {
            return Gate::Refuse;
        }
        if ballot == Ballot::Vote {
            self.term = self.term.max(term);
        }
        Gate::Pass
    }

    /// Whether this voter still waits out what it may have promised before it started.
    pub fn is_quiet(&self, now: Instant) -> bool {
        now < self.quiet_until
    }

    /// To whom this voter is promised at `now`.
    pub fn promised_to(&self, now: Instant) -> Option<NodeId> {
        self.to.filter(|_| now < self.until)
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
mod tests {
    use super::*;

    const P: Duration = Duration::from_millis(300);
    fn n(i: u128) -> NodeId {
        NodeId::from_random(i)
    }
    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }
    fn lease(term: u64, ms: u64) -> Lease {
        Lease { term, sent: at(ms) }
    }

    #[test]
    fn a_voter_never_promises_itself_to_two_leaders_at_once() {
        let mut p = Promise::fresh(P);
        assert_eq!(p.on_lease(at(0), n(1), lease(5, 0)), Ok(()));
        assert_eq!(
            p.on_lease(at(299), n(2), lease(6, 0)),
            Err(Refusal::Promised(n(1)))
        );
        assert_eq!(p.on_lease(at(300), n(2), lease(6, 0)), Ok(()));
        assert_eq!(
            p.on_lease(at(301), n(1), lease(5, 200)),
            Err(Refusal::LaterTerm(6))
        );
    }

    #[test]
    fn a_voter_that_has_just_started_answers_nothing_for_one_promise() {
        let mut p = Promise::starting(at(1000), P, 7);
        assert_eq!(
            p.on_lease(at(1299), n(1), lease(7, 0)),
            Err(Refusal::JustStarted)
        );
        assert_eq!(p.vote_in(at(1299), n(1), 8, Ballot::Vote), Gate::Refuse);
        assert_eq!(p.vote_out(at(1299), n(9), 8, Ballot::PreVote), Gate::Refuse);
        assert_eq!(
            p.on_lease(at(1300), n(1), lease(6, 0)),
            Err(Refusal::LaterTerm(7))
        );
        assert_eq!(p.on_lease(at(1300), n(1), lease(7, 0)), Ok(()));
    }

    #[test]
    fn a_vote_inside_the_library_blocks_older_leases_until_it_is_answered() {
        let mut p = Promise::fresh(P);
        assert_eq!(p.vote_in(at(0), n(2), 9, Ballot::Vote), Gate::Pass);
        assert_eq!(
            p.on_lease(at(1), n(1), lease(8, 0)),
            Err(Refusal::LaterTerm(9))
        );
        p.vote_answered(8); // refused by the library: its own term stayed 8
        assert_eq!(p.on_lease(at(2), n(1), lease(8, 1)), Ok(()));
    }

    #[test]
    fn a_pre_vote_is_never_written_down() {
        let mut p = Promise::fresh(P);
        assert_eq!(p.vote_in(at(0), n(2), 9, Ballot::PreVote), Gate::Pass);
        assert_eq!(p.vote_out(at(0), n(3), 9, Ballot::PreVote), Gate::Pass);
        assert_eq!(p.on_lease(at(1), n(1), lease(8, 0)), Ok(()));
    }

    #[test]
    fn votes_are_refused_both_ways_while_a_promise_to_another_runs() {
        let mut p = Promise::fresh(P);
        p.on_lease(at(0), n(1), lease(1, 0)).unwrap();
        assert_eq!(p.vote_in(at(10), n(2), 2, Ballot::Vote), Gate::Refuse);
        assert_eq!(p.vote_out(at(10), n(3), 2, Ballot::Vote), Gate::Refuse);
        assert_eq!(p.vote_in(at(10), n(1), 2, Ballot::Vote), Gate::Pass);
        p.vote_answered(2);
        assert_eq!(p.vote_in(at(300), n(2), 3, Ballot::PreVote), Gate::Pass);
    }

    #[test]
    fn a_release_frees_the_voter_and_voids_leases_that_were_sent_before_it() {
        let mut p = Promise::fresh(P);
        p.on_lease(at(0), n(1), lease(4, 100)).unwrap();
        p.on_release(n(1), lease(4, 120));
        assert_eq!(p.promised_to(at(1)), None);
        assert_eq!(
            p.on_lease(at(2), n(1), lease(4, 110)),
            Err(Refusal::Released)
        );
        assert_eq!(p.on_lease(at(2), n(1), lease(4, 121)), Ok(()));
    }

    #[test]
    fn a_release_of_an_older_term_frees_nobody() {
        let mut p = Promise::fresh(P);
        p.on_lease(at(0), n(1), lease(5, 0)).unwrap();
        p.on_release(n(1), lease(4, 50));
        assert_eq!(p.promised_to(at(1)), Some(n(1)));
    }

    #[test]
    fn a_hold_counts_by_when_the_lease_was_sent_and_needs_every_majority() {
        let (a, b, c) = (n(1), n(2), n(3));
        let set = |ids: &[NodeId]| ids.iter().copied().collect::<BTreeSet<_>>();
        let mut h = Hold::new(3);
        h.on_acknowledged(a, lease(3, 100));
        assert_eq!(h.until(&vec![set(&[a, b, c])], P), None);
        h.on_acknowledged(b, lease(3, 80));
        h.on_acknowledged(b, lease(3, 60)); // late answer: does not take the newer one back
        assert_eq!(h.until(&vec![set(&[a, b, c])], P), Some(at(380)));
        assert_eq!(
            h.until(&vec![set(&[a, b, c]), set(&[c])], P),
            None,
            "joint: both majorities"
        );
        h.on_acknowledged(c, lease(2, 500));
        assert_eq!(
            h.until(&vec![set(&[a, b, c]), set(&[c])], P),
            None,
            "another term does not count"
        );
        h.on_acknowledged(c, lease(3, 90));
        assert_eq!(h.until(&vec![set(&[a, b, c]), set(&[c])], P), Some(at(390)));
        h.release();
        h.on_acknowledged(a, lease(3, 900));
        assert_eq!(h.until(&vec![set(&[a])], P), None);
    }

    #[test]
    fn a_hold_that_is_resumed_counts_nothing_that_its_release_has_ended() {
        let (a, b) = (n(1), n(2));
        let both = vec![[a, b].into()];
        let mut h = Hold::resumed(3, at(100));
        for voter in [a, b] {
            h.on_acknowledged(voter, lease(3, 100)); // late: the voter has heard the release since
        }
        assert_eq!(h.until(&both, P), None);
        for voter in [a, b] {
            h.on_acknowledged(voter, lease(3, 101));
        }
        assert_eq!(h.until(&both, P), Some(at(401)));
    }

    #[test]
    fn a_voter_whose_library_is_in_a_later_term_refuses_the_old_leader() {
        let mut p = Promise::fresh(P);
        p.on_lease(at(0), n(1), lease(4, 0)).unwrap();
        p.note_term(5); // elected itself
        assert_eq!(
            p.on_lease(at(1), n(1), lease(4, 1)),
            Err(Refusal::LaterTerm(5))
        );
        assert_eq!(
            p.promised_to(at(1)),
            Some(n(1)),
            "what was promised stays promised"
        );
    }

    #[test]
    fn half_of_an_even_membership_is_no_quorum() {
        let mut h = Hold::new(1);
        h.on_acknowledged(n(1), lease(1, 5));
        assert_eq!(h.until(&vec![[n(1), n(2)].into()], P), None);
        assert_eq!(h.until(&vec![], P), None);
        assert_eq!(h.until(&vec![BTreeSet::new()], P), None);
    }
}
