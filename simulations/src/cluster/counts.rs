//! How often each thing happened in a run.

use std::collections::BTreeMap;

/// What a run was like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often each thing happened: faults by name, elections, claims, sessions, ...
    pub of: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub fn add(&mut self, what: &'static str) {
        self.add_many(what, 1);
    }

    /// So many more; none leaves no trace.
    pub fn add_many(&mut self, what: &'static str, more: u64) {
        if more > 0 {
            *self.of.entry(what).or_default() += more;
        }
    }
}
