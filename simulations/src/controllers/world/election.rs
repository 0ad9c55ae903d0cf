//! Who leads: the ideal log's idea of leadership, with the product's own guard of votes.

use super::World;
use ha_core::controller::{Event, RaftNews, RaftRole};
use ha_core::lease::{Ballot, VoteDecision};

pub(super) const ELECTION_US: (u64, u64) = (150_000, 300_000);

/// The ideal log's idea of leadership: one leader per term; entries commit at once while a majority is reachable.
pub(super) struct Election {
    pub(super) term: u64,
    pub(super) leader: Option<usize>,
    /// When each node last heard the leader's log.
    pub(super) heard: Vec<u64>,
    pub(super) timeout: Vec<u64>,
}

impl World {
    pub(super) fn can_reach(&self, a: usize, b: usize) -> bool {
        a == b
            || (!self.cut.contains(&(a, b))
                && !self.cut.contains(&(b, a))
                && self.nodes[a].is_awake(self.now)
                && self.nodes[b].is_awake(self.now))
    }

    /// The ideal log: the leader is heard by whom it reaches.
    pub(super) fn hear(&mut self) {
        let Some(leader) = self.election.leader else {
            return;
        };
        for i in 0..self.nodes.len() {
            if self.can_reach(leader, i) {
                self.election.heard[i] = self.now;
            }
        }
    }

    /// Whoever has heard nothing for long tries to lead.
    pub(super) fn elect(&mut self, story: &mut dyn FnMut(u64, &str)) {
        for i in 0..self.nodes.len() {
            if self.nodes[i].is_awake(self.now) && self.gives_up(i) <= self.now {
                self.election.timeout[i] = self.rng.within(ELECTION_US.0, ELECTION_US.1);
                self.election.heard[i] = self.now;
                self.try_to_lead(i, story);
            }
        }
    }

    /// When a node has heard nothing for too long.
    pub(super) fn gives_up(&self, i: usize) -> u64 {
        self.election.heard[i] + self.election.timeout[i]
    }

    /// A pre-vote, then a vote, with the product's guard in both directions. A deposed leader does not know until it hears.
    pub(super) fn try_to_lead(&mut self, i: usize, story: &mut dyn FnMut(u64, &str)) {
        let term = self.election.term + 1;
        for ballot in [Ballot::PreVote, Ballot::Vote] {
            let votes = self.ballot(i, term, ballot);
            if votes * 2 <= self.nodes.len() {
                return self.note(
                    &format!("node-{} is not elected: {votes} in the {ballot:?}", i + 1),
                    story,
                );
            }
        }
        self.summary.elections += 1;
        self.election.term = term;
        self.election.leader = Some(i);
        self.note(&format!("node-{} leads term {term}", i + 1), story);
        for v in 0..self.nodes.len() {
            // A node that cannot be reached goes on believing what it believed.
            if self.can_reach(i, v) && self.nodes[v].running.is_some() {
                self.nodes[v].durable_term = term;
                let news = self.news(v);
                self.tell(v, Event::Raft(news), story);
            }
        }
    }

    /// How many nodes vote for `i`, itself included.
    fn ballot(&mut self, i: usize, term: u64, ballot: Ballot) -> usize {
        let (me, local) = (self.nodes[i].id, self.nodes[i].local(self.now));
        let allowed = self.nodes[i]
            .running
            .as_mut()
            .is_some_and(|r| r.promise.vote_out(local, me, term, ballot) == VoteDecision::Pass);
        if !allowed || !self.nodes[i].is_awake(self.now) {
            return 0;
        }
        let mut votes = 1;
        for v in 0..self.nodes.len() {
            let local = self.nodes[v].local(self.now);
            if v == i || !self.can_reach(i, v) {
                continue;
            }
            let Some(r) = &mut self.nodes[v].running else {
                continue;
            };
            if r.promise.vote_in(local, me, term, ballot) == VoteDecision::Pass {
                votes += 1;
                if ballot == Ballot::Vote {
                    r.promise.vote_answered(term);
                }
            }
        }
        votes
    }

    pub(super) fn news(&self, i: usize) -> RaftNews {
        let leads = self.election.leader == Some(i);
        RaftNews {
            role: if leads {
                RaftRole::Leader
            } else {
                RaftRole::Follower
            },
            term: self.election.term,
            leader: self.election.leader.map(|l| self.nodes[l].id),
            voters: vec![self.nodes.iter().map(|n| n.id).collect()],
            applied_term: self.election.term,
            ..RaftNews::default()
        }
    }
}
