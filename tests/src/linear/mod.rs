//! Whether a history of operations could have been made by one machine that does one thing after the other: the
//! algorithm of Wing and Gong with Lowe's memory of configurations, for histories in which many operations were never
//! answered.
//!
//! ```text
//!   calls, by their beginning --> depth first: a call that no unanswered-for call ended before goes next
//!                                   (calls gone, state) seen before: no further
//!   all answered calls gone: linearizable          nothing left to try: not, and how far it went
//! ```
//!
//! A call that was never answered (a timeout, a killed client) may take effect at any time after it began, or never.

pub mod model;

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A machine that does one thing after the other.
pub trait Model {
    /// What it is; equal states behave equally.
    type State: Clone + Eq + Hash + fmt::Debug;
    /// What it can be asked, with what was answered where something was.
    type Op: Clone + fmt::Debug;
    /// What it is at first.
    fn first(&self) -> Self::State;
    /// What it is after that; `None`: it would not have answered so.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;
    /// Calls that were never answered and do the same have the same number.
    fn class(&self, op: &Self::Op) -> u64;
    /// Whether its answer says anything of the state.
    fn observes(&self, op: &Self::Op) -> bool;
    /// Whether a call that changes the state leaves nothing of what was: then an unanswered one that nobody looks at
    /// before the next need not be tried.
    const OVERWRITES: bool;
}

/// One call; times are of one clock, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Call<O> {
    pub op: O,
    pub from: u64,
    /// When it was answered; `None`: never.
    pub to: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It could have been.
    Linearizable,
    /// It could not: the longest try came to these calls and no further.
    Not(String),
    /// So many configurations were not enough to decide it.
    Undecided(usize),
}

/// Configurations that are looked at.
const CONFIGURATIONS_MAX: usize = 8_000_000;

struct Frame<S> {
    state: S,
    next: Vec<usize>,
    at: usize,
    /// The call that led here.
    by: Option<usize>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    calls: Vec<&'a Call<M::Op>>,
    done: Vec<bool>,
    /// Of calls that were never answered, by beginning.
    pending: Vec<usize>,
    low: usize,
}

/// Looks for an order.
pub fn check<M: Model>(model: &M, history: &[Call<M::Op>]) -> Verdict {
    let mut calls: Vec<_> = history.iter().collect();
    calls.sort_by_key(|c| c.from);
    let answered = calls.iter().filter(|c| c.to.is_some()).count();
    let pending = (0..calls.len()).filter(|i| calls[*i].to.is_none());
    let mut search = Search {
        model,
        done: vec![false; calls.len()],
        pending: pending.collect(),
        calls,
        low: 0,
    };
    let first = model.first();
    let next = search.candidates(false);
    let mut frames = vec![Frame {
        state: first,
        next,
        at: 0,
        by: None,
    }];
    let mut seen: HashSet<(u128, M::State)> = HashSet::new();
    let (mut gone, mut furthest, mut gone_hash) = (0, 0, 0u128);
    let mut words = search.words(&frames[0]);
    loop {
        if gone == answered {
            return Verdict::Linearizable;
        }
        let Some(frame) = frames.last_mut() else {
            return Verdict::Not(words);
        };
        let Some(&call) = frame.next.get(frame.at) else {
            if let Some(by) = frames.pop().and_then(|f| f.by) {
                search.undo(by);
                gone_hash ^= number_of(by);
                gone -= usize::from(search.calls[by].to.is_some());
            }
            continue;
        };
        frame.at += 1;
        let Some(state) = model.step(&frame.state, &search.calls[call].op) else {
            continue;
        };
        let is_pending = search.calls[call].to.is_none();
        if is_pending && state == frame.state {
            continue;
        }
        let hash = gone_hash ^ number_of(call);
        if !seen.insert((hash, state.clone())) {
            continue;
        }
        if seen.len() > CONFIGURATIONS_MAX {
            return Verdict::Undecided(CONFIGURATIONS_MAX);
        }
        search.done[call] = true;
        gone_hash = hash;
        gone += usize::from(!is_pending);
        let next = search.candidates(is_pending && M::OVERWRITES);
        frames.push(Frame {
            state,
            next,
            at: 0,
            by: Some(call),
        });
        if gone > furthest {
            furthest = gone;
            words = search.words(&frames[frames.len() - 1]);
        }
    }
}

impl<M: Model> Search<'_, M> {
    /// Calls that may go next: those that began before any that has not gone was answered. Answered ones first.
    fn candidates(&mut self, observed_only: bool) -> Vec<usize> {
        while self.low < self.calls.len()
            && (self.done[self.low] || self.calls[self.low].to.is_none())
        {
            self.low += 1;
        }
        let mut first_end = u64::MAX;
        let mut found = Vec::new();
        for at in self.low..self.calls.len() {
            let call = self.calls[at];
            if call.from > first_end {
                break;
            }
            if let (false, Some(to)) = (self.done[at], call.to) {
                first_end = first_end.min(to);
                found.push(at);
            }
        }
        found.retain(|at| self.calls[*at].from <= first_end);
        found.sort_by_key(|at| self.calls[*at].to);
        if observed_only {
            found.retain(|at| self.model.observes(&self.calls[*at].op));
            return found;
        }
        let mut classes = HashSet::new();
        for at in &self.pending {
            let call = self.calls[*at];
            if call.from > first_end {
                break;
            }
            if !self.done[*at] && classes.insert(self.model.class(&call.op)) {
                found.push(*at);
            }
        }
        found
    }

    fn undo(&mut self, call: usize) {
        self.done[call] = false;
        self.low = self.low.min(call);
    }

    fn words(&self, frame: &Frame<M::State>) -> String {
        let next: Vec<_> = frame.next.iter().take(8).collect();
        let next: Vec<String> = next
            .iter()
            .map(|at| format!("{:?}", self.calls[**at]))
            .collect();
        format!("at {:?} none of these can be next: {next:#?}", frame.state)
    }
}

/// A number for each call: their exclusive or stands for a set of calls.
fn number_of(call: usize) -> u128 {
    let half = |salt: u64| {
        let mut hasher = std::hash::DefaultHasher::new();
        (salt, call).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

#[cfg(test)]
mod tests;
