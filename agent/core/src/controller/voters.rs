//! Who votes: those that answer, so many of them that the cluster outlives the most deaths.
//!
//! ```text
//!   {A,B,C}  --C silent for voter_timeout, B and A say so--> {A}, B follows --C back and steady--> {A,B,C}
//! ```
//!
//! A voter that is dead counts against every majority. Once it has been silent for
//! [`voter_timeout`](crate::model::ClusterConfig::voter_timeout) it loses its vote, in one step to the best set of
//! those that live: through {A, B} would be worse, because either's death would stop it. Who loses its vote stays in
//! as a learner and gets it back when it answers and has the log. What a set endures is a number of deaths, whichever
//! they are; and when that is none, how few nodes there are whose death stops it. So sets are of odd size, a cluster
//! of two votes with one, and nothing changes that would not gain by it.
//!
//! The rules are those of `docs/design.md`, "The last of three".

use super::{Action, Controller};
use crate::command::Command;
use crate::id::NodeId;
use crate::model::Role;
use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A node that lacks no more entries than this has the log.
const CAUGHT_UP_WITHIN: u64 = 64;
/// Between two tries to make the same change.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// What this leader has seen of who answers.
#[derive(Debug, Default)]
pub struct Voters {
    /// Voters that do not answer, and since when.
    silent_since: BTreeMap<NodeId, Instant>,
    /// Learners that answer and have the log, and since when.
    steady_since: BTreeMap<NodeId, Instant>,
    /// They were away, or have lost their vote: they must be steady for a while to get it back.
    returning: BTreeSet<NodeId>,
    /// What was asked for last, when and why.
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Asked {
    to: BTreeSet<NodeId>,
    at: Instant,
    why: String,
}

/// What a set of voters endures; the greater the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Endures {
    /// So many of those that live may die, whichever they are.
    deaths: usize,
    /// If that is none: so many are there of which each must live.
    critical: Reverse<usize>,
}

impl Endures {
    /// `None`: it can decide nothing.
    fn of(voters: usize, live: usize) -> Option<Endures> {
        let deaths = live.checked_sub(voters / 2 + 1)?;
        let critical = Reverse(if deaths == 0 { live } else { 0 });
        Some(Endures { deaths, critical })
    }
}

/// Whether a voter that answers and does not have the log yet counts as missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// It could not decide anything before it has caught up.
    IsMissing,
    /// An operator waits for it.
    IsForgiven,
}

/// What the cluster endures at this moment, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endurance {
    /// So many voters may die, whichever they are, and the rest goes on.
    pub deaths: usize,
    /// When that is none: the death of each of these ends the service.
    pub critical: BTreeSet<NodeId>,
    /// One node decides alone: what it acknowledged is on its disk, and on those of who follows it closely.
    pub alone: bool,
}

impl Controller {
    /// What the cluster endures, as its leader sees it; `None` on every other node, and without a majority.
    pub fn endurance(&self, now: Instant) -> Option<Endurance> {
        let sets = &self.raft.voters;
        if !self.leads() || sets.is_empty() {
            return None;
        }
        let mut found: Option<Endurance> = None;
        for set in sets {
            let live: BTreeSet<NodeId> = set
                .iter()
                .copied()
                .filter(|n| self.answers(now, *n))
                .collect();
            let deaths = Endures::of(set.len(), live.len())?.deaths;
            let endurance = Endurance {
                deaths,
                critical: if deaths == 0 { live } else { BTreeSet::new() },
                alone: set.len() == 1,
            };
            // Both halves of a joint membership must decide.
            found = Some(match found {
                None => endurance,
                Some(other) => Endurance {
                    deaths: deaths.min(other.deaths),
                    critical: &endurance.critical | &other.critical,
                    alone: endurance.alone && other.alone,
                },
            });
        }
        found
    }

    /// Whether a change of the voters to `target` would be decided and leave a majority: of each set that has a say in
    /// it, so many answer a `Lease` and have the log. How far a node's log went says nothing of whether it lives.
    ///
    /// # Errors
    /// Who is missing, in words.
    pub fn may_change_to(
        &self,
        now: Instant,
        target: &BTreeSet<NodeId>,
        behind: Behind,
    ) -> Result<(), String> {
        for set in self.raft.voters.iter().chain([target]) {
            let missing: Vec<NodeId> = set
                .iter()
                .copied()
                .filter(|n| {
                    let lacks = behind == Behind::IsMissing && !self.has_the_log(*n);
                    lacks || !self.answers(now, *n)
                })
                .collect();
            if (set.len() - missing.len()) * 2 <= set.len() {
                let names: Vec<String> = missing.iter().map(|n| self.facts.node_name(*n)).collect();
                return Err(format!(
                    "{} of {} voters answer and have the log, which is no majority: {} must come back first",
                    set.len() - missing.len(),
                    set.len(),
                    names.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// Whether `node` can be made the only voter in place of this one, which is it now.
    pub(super) fn can_be_given_the_vote(&self, now: Instant, node: NodeId) -> bool {
        self.is_only_voter()
            && self.raft.learners.contains(&node)
            && self.facts.members.contains_key(&node)
            && self.answers(now, node)
            && self.has_the_log(node)
    }

    /// Whether this node is the only one that votes.
    pub fn is_only_voter(&self) -> bool {
        matches!(self.raft.voters.as_slice(), [set] if set.len() == 1 && set.contains(&self.settings.me))
    }

    /// It acknowledged a `Lease` that was sent within one promise.
    fn answers(&self, now: Instant, node: NodeId) -> bool {
        node == self.settings.me
            || self
                .hold
                .heard(node)
                .is_some_and(|at| now.saturating_since(at) < self.settings.promise)
    }

    fn has_the_log(&self, node: NodeId) -> bool {
        node == self.settings.me
            || self
                .raft
                .matched
                .get(&node)
                .is_some_and(|m| *m > 0 && m + CAUGHT_UP_WITHIN >= self.raft.last_log)
    }

    /// A new term of leading: who follows without a vote now may have lost it.
    pub(super) fn begin_voters(&mut self) {
        self.voters = Voters {
            returning: self.raft.learners.clone(),
            ..Voters::default()
        };
    }

    /// Changes who votes where that makes the cluster endure more.
    pub(super) fn regulate_voters(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.watch_voters(now);
        let [current] = self.raft.voters.as_slice() else {
            return;
        };
        if let Some(asked) = self.voters.asked.take_if(|asked| asked.to == *current) {
            let mut names: Vec<String> =
                asked.to.iter().map(|n| self.facts.node_name(*n)).collect();
            names.sort();
            let vote = if asked.to.len() == 1 {
                "votes alone"
            } else {
                "vote"
            };
            actions.push(Action::Propose(Command::Note {
                kind: "member".to_owned(),
                text: format!("{} {vote} now: {}", names.join(", "), asked.why),
            }));
        }
        if self.raft.applied_term != self.raft.term {
            return;
        }
        let Some((to, why)) = self.better_voters(now, current) else {
            return;
        };
        let asked_before = self
            .voters
            .asked
            .as_ref()
            .is_some_and(|asked| asked.to == to && now.saturating_since(asked.at) <= ASK_AGAIN);
        if asked_before {
            return;
        }
        let from = current.clone();
        let gone = from.difference(&to).filter(|n| !self.answers(now, **n));
        let gone: Vec<NodeId> = gone.copied().collect();
        self.voters.returning.extend(gone);
        self.voters.asked = Some(Asked {
            to: to.clone(),
            at: now,
            why,
        });
        actions.push(Action::ChangeVoters { from, to });
    }

    fn watch_voters(&mut self, now: Instant) {
        let (known, silent) = (&mut self.voters.silent_since, &self.silent);
        known.retain(|n, _| silent.contains(n));
        for n in silent {
            known.entry(*n).or_insert(now);
        }
        let steady: BTreeSet<NodeId> = self
            .raft
            .learners
            .iter()
            .copied()
            .filter(|n| self.answers(now, *n) && self.has_the_log(*n))
            .collect();
        let known = &mut self.voters;
        let unsteady = known.steady_since.keys().filter(|n| !steady.contains(n));
        known.returning.extend(unsteady.copied());
        known.steady_since.retain(|n, _| steady.contains(n));
        for n in &steady {
            known.steady_since.entry(*n).or_insert(now);
        }
    }

    /// A voter that this node has not heard for the timeout, nor any other voter that answers.
    fn is_gone(&self, now: Instant, node: NodeId, timeout: Duration) -> bool {
        let voters = self.raft.voters.iter().flatten();
        let mut others = voters.filter(|n| **n != node && **n != self.settings.me);
        self.voters
            .silent_since
            .get(&node)
            .is_some_and(|since| now.saturating_since(*since) >= timeout)
            && others.all(|n| {
                !self.answers(now, *n)
                    || self
                        .reports
                        .get(n)
                        .is_some_and(|r| r.unheard.contains(&node))
            })
    }

    /// Learners that may vote: they answer, have the log, and those that were away have been steady for a while.
    fn may_vote_again(&self, now: Instant) -> impl Iterator<Item = NodeId> + '_ {
        let known = &self.voters;
        known.steady_since.iter().filter_map(move |(n, since)| {
            let steady = !known.returning.contains(n)
                || now.saturating_since(*since) >= self.settings.steady_for;
            (steady && self.facts.members.contains_key(n)).then_some(*n)
        })
    }

    /// A set that endures more than the current one, and why it is wanted.
    fn better_voters(
        &self,
        now: Instant,
        current: &BTreeSet<NodeId>,
    ) -> Option<(BTreeSet<NodeId>, String)> {
        let timeout = self.facts.voter_timeout();
        let mut joiners: Vec<NodeId> = self.may_vote_again(now).collect();
        let came = |joined: &[NodeId]| {
            let names: Vec<String> = joined.iter().map(|n| self.facts.node_name(*n)).collect();
            format!("{} can vote", names.join(" and "))
        };
        if timeout.is_zero() {
            // As they come.
            joiners.truncate(1);
            let room = current.len() < self.settings.voters_max && !joiners.is_empty();
            return room.then(|| (current | &joiners.iter().copied().collect(), came(&joiners)));
        }
        joiners.sort_by_key(|n| !self.facts.is_server(*n));
        let live: BTreeSet<NodeId> = current
            .iter()
            .copied()
            .filter(|n| self.answers(now, *n) && self.has_the_log(*n))
            .collect();
        let now_endures = Endures::of(current.len(), live.len())?;
        let gone: BTreeSet<NodeId> = current
            .iter()
            .copied()
            .filter(|n| self.is_gone(now, *n, timeout))
            .collect();
        let undecided = current.len() - live.len() - gone.len();
        // Who is silent and not yet given up keeps its vote, and so do all others.
        let may_shrink = undecided == 0 && self.may_decide_alone();
        let mut pool: Vec<NodeId> = if may_shrink {
            live.clone()
        } else {
            current.clone()
        }
        .into_iter()
        .collect();
        pool.sort_by_key(|n| (*n != self.settings.me, !self.facts.is_server(*n)));
        let keep_at_least = if may_shrink { 1 } else { pool.len() };
        pool.extend(joiners.iter().filter(|n| !current.contains(n)));
        let sizes = keep_at_least..=pool.len().min(self.settings.voters_max.max(keep_at_least));
        let best = sizes.filter_map(|size| {
            let set: BTreeSet<NodeId> = pool[..size].iter().copied().collect();
            let dead = set
                .iter()
                .filter(|n| current.contains(n) && !live.contains(n))
                .count();
            Some((Endures::of(size, size - dead)?, Reverse(size), set))
        });
        let (endures, _, best) = best.max_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)))?;
        if endures <= now_endures || self.may_change_to(now, &best, Behind::IsMissing).is_err() {
            return None;
        }
        let joined: Vec<NodeId> = best.difference(current).copied().collect();
        let why = if let Some(dead) = gone.first() {
            format!(
                "{} has been silent for {}",
                self.facts.node_name(*dead),
                crate::time::words(timeout)
            )
        } else if joined.is_empty() {
            "more of them would endure less".to_owned()
        } else {
            came(&joined)
        };
        Some((best, why))
    }

    /// Whether this node may become the only voter: it holds, and would go on.
    fn may_decide_alone(&self) -> bool {
        self.settings.role == Role::Server
            && self.holding.is_some()
            && self.own.eligible
            && self.facts.may_lead(self.settings.me)
    }
}
