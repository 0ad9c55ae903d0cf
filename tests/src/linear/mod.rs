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

use std::collections::{BTreeMap, HashMap};
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
    /// Whether it can never be answered so any more, whatever comes between.
    fn is_past(&self, state: &Self::State, op: &Self::Op) -> bool;
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

/// Whether a history could have been one machine.
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
const CONFIGURATIONS_MAX: usize = 4_000_000;

struct Frame<S> {
    state: S,
    next: Vec<Next>,
    at: usize,
    /// The call that led here.
    by: Option<Next>,
}

/// A call that goes next.
#[derive(Clone, Copy)]
enum Next {
    Answered(usize),
    /// The first of its class that has not gone yet.
    Unanswered(usize),
}

struct Search<'a, M: Model> {
    model: &'a M,
    /// Answered ones, by beginning.
    calls: Vec<&'a Call<M::Op>>,
    done: Vec<bool>,
    low: usize,
    /// Those that were never answered, by class and beginning.
    classes: Vec<Vec<&'a Call<M::Op>>>,
    /// How many of each class have gone: the first ones, since they can do whatever a later one of the class can.
    used: Vec<u16>,
}

/// Answered calls that have gone, and the state: with how many unanswered ones of each class that was reached. Who came
/// there with fewer of each can do all that another can.
type Seen<S> = HashMap<(u128, S), Vec<Vec<u16>>>;

/// Looks for an order.
pub fn check<M: Model>(model: &M, history: &[Call<M::Op>]) -> Verdict {
    let mut search = Search::of(model, history);
    let answered = search.calls.len();
    let state = model.first();
    let next = search.candidates(&state, false);
    let first = Frame {
        state,
        next,
        at: 0,
        by: None,
    };
    let mut words = search.words(&first);
    let mut frames = vec![first];
    let mut seen: Seen<M::State> = HashMap::new();
    let (mut gone, mut furthest, mut hash, mut looked_at) = (0, 0, 0u128, 0);
    while gone < answered {
        let Some(frame) = frames.last_mut() else {
            return Verdict::Not(words);
        };
        let Some(&next) = frame.next.get(frame.at) else {
            match frames.pop().and_then(|f| f.by) {
                Some(Next::Answered(call)) => {
                    search.undo(call);
                    hash ^= number_of(call);
                    gone -= 1;
                }
                Some(Next::Unanswered(class)) => search.used[class] -= 1,
                None => {}
            }
            continue;
        };
        frame.at += 1;
        let Some(state) = model.step(&frame.state, search.op(next)) else {
            continue;
        };
        match next {
            Next::Unanswered(_) if state == frame.state => continue,
            Next::Unanswered(class) => search.used[class] += 1,
            Next::Answered(call) => {
                search.done[call] = true;
                hash ^= number_of(call);
                gone += 1;
            }
        }
        let before = seen.entry((hash, state.clone())).or_default();
        let fewer = |known: &Vec<u16>| known.iter().zip(&search.used).all(|(k, u)| k <= u);
        let is_new = !before.iter().any(fewer);
        if is_new {
            before.push(search.used.clone());
            looked_at += 1;
            if looked_at > CONFIGURATIONS_MAX {
                return Verdict::Undecided(looked_at);
            }
        }
        let unlooked = matches!(next, Next::Unanswered(_)) && M::OVERWRITES;
        let next_ones = if is_new {
            search.candidates(&state, unlooked)
        } else {
            Vec::new()
        };
        frames.push(Frame {
            state,
            next: next_ones,
            at: 0,
            by: Some(next),
        });
        if gone > furthest {
            furthest = gone;
            words = search.words(&frames[frames.len() - 1]);
        }
    }
    Verdict::Linearizable
}

impl<'a, M: Model> Search<'a, M> {
    fn of(model: &'a M, history: &'a [Call<M::Op>]) -> Self {
        let (mut calls, mut unanswered): (Vec<_>, Vec<_>) =
            history.iter().partition(|c| c.to.is_some());
        calls.sort_by_key(|c| c.from);
        unanswered.sort_by_key(|c| c.from);
        let mut classes: BTreeMap<u64, Vec<&Call<M::Op>>> = BTreeMap::new();
        for call in unanswered {
            classes.entry(model.class(&call.op)).or_default().push(call);
        }
        let classes: Vec<_> = classes.into_values().collect();
        Search {
            model,
            done: vec![false; calls.len()],
            calls,
            low: 0,
            used: vec![0; classes.len()],
            classes,
        }
    }

    fn op(&self, next: Next) -> &'a M::Op {
        match next {
            Next::Answered(call) => &self.calls[call].op,
            Next::Unanswered(class) => &self.classes[class][usize::from(self.used[class])].op,
        }
    }

    /// Calls that may go next: those that began before any that has not gone was answered. Answered ones first.
    /// None when one of those that must go never can.
    fn candidates(&mut self, state: &M::State, observed_only: bool) -> Vec<Next> {
        while self.done.get(self.low) == Some(&true) {
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
        let is_past = |at: &usize| self.model.is_past(state, &self.calls[*at].op);
        if found.iter().any(is_past) {
            return Vec::new();
        }
        found.sort_by_key(|at| self.calls[*at].to);
        if observed_only {
            found.retain(|at| self.model.observes(&self.calls[*at].op));
            return found.into_iter().map(Next::Answered).collect();
        }
        let mut found: Vec<_> = found.into_iter().map(Next::Answered).collect();
        // Of those that would do, the one of which most are left: the others may be wanted later.
        let mut left: Vec<(usize, usize)> = Vec::new();
        for (class, calls) in self.classes.iter().enumerate() {
            let unused = &calls[usize::from(self.used[class])..];
            let begun = unused.partition_point(|c| c.from <= first_end);
            if begun > 0 {
                left.push((begun, class));
            }
        }
        left.sort_unstable_by_key(|(begun, class)| (std::cmp::Reverse(*begun), *class));
        found.extend(left.into_iter().map(|(_, class)| Next::Unanswered(class)));
        found
    }

    fn undo(&mut self, call: usize) {
        self.done[call] = false;
        self.low = self.low.min(call);
    }

    fn words(&self, frame: &Frame<M::State>) -> String {
        let next = frame.next.iter().take(8);
        let next: Vec<&M::Op> = next.map(|n| self.op(*n)).collect();
        format!("at {:?} none of these can be next: {next:?}", frame.state)
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
