//! What each peer has acknowledged to this node. A peer whose log ends before that has lost it: its disk was set back, or
//! exchanged. It says so by itself where it can; where it cannot, its answers and its votes must not count, and the
//! consensus library, which takes a log that only grows for granted, must not hear of it (it would end this node).
//!
//! What was acknowledged in this term cannot be taken back in it, since only a leader of a later one could; what was
//! also committed can never be. Only this process remembers: a node that has never led knows nothing of the others.

use ha_core::id::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Peers of which it is remembered; more than there are members. At the bound no further one is.
const PEERS_MAX: usize = 256;

/// See the module. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged(Arc<Mutex<BTreeMap<NodeId, Known>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The newest entry that it acknowledged and that was committed, by index.
    kept: u64,
    /// The newest entry that it acknowledged in the last term of this node as leader: term, index.
    in_term: (u64, u64),
    /// It was found out.
    has_lost: bool,
}

impl Acknowledged {
    /// `peer` has the log up to `index`, it says to the leader of `term`, of which all up to `committed` is decided.
    pub(super) fn note(&self, peer: NodeId, term: u64, index: u64, committed: u64) {
        let mut all = self.lock();
        if all.len() >= PEERS_MAX && !all.contains_key(&peer) {
            return;
        }
        let known = all.entry(peer).or_default();
        known.kept = known.kept.max(index.min(committed));
        known.in_term = known.in_term.max((term, index));
        if index >= known.kept {
            known.has_lost = false;
        }
    }

    /// `peer` says to the leader of `term` that it does not have the entry `index`: whether it once had.
    pub(super) fn contradicts(&self, peer: NodeId, term: u64, index: u64) -> bool {
        let mut all = self.lock();
        let Some(known) = all.get_mut(&peer) else {
            return false;
        };
        let lost = index <= known.kept || (known.in_term.0 == term && index <= known.in_term.1);
        known.has_lost |= lost;
        lost
    }

    /// `peer` says that its log ends at `last`: whether that is before what it once had and was committed.
    pub(super) fn ends_early(&self, peer: NodeId, last: u64) -> bool {
        let mut all = self.lock();
        let Some(known) = all.get_mut(&peer) else {
            return false;
        };
        let lost = last < known.kept;
        known.has_lost |= lost;
        lost
    }

    /// Who was found to have lost what it had acknowledged.
    pub(super) fn lost(&self) -> BTreeSet<NodeId> {
        let all = self.lock();
        all.iter()
            .filter(|(_, k)| k.has_lost)
            .map(|(n, _)| *n)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_less_than_it_acknowledged_has_lost_it() {
        let (peer, other) = (NodeId::from_random(2), NodeId::from_random(3));
        let known = Acknowledged::default();
        assert!(
            !known.contradicts(peer, 5, 10) && !known.ends_early(peer, 0),
            "nothing is known"
        );
        known.note(peer, 5, 10, 8);
        assert!(!known.contradicts(peer, 5, 11), "it never had that");
        assert!(!known.contradicts(other, 5, 1));
        assert!(!known.ends_early(peer, 8));
        assert!(known.lost().is_empty());
        // A later leader may have taken back what was not committed.
        assert!(!known.contradicts(peer, 7, 9));
        assert!(known.contradicts(peer, 5, 9));
        known.note(peer, 7, 12, 12);
        assert!(known.lost().is_empty(), "it has all of it after all");
        assert!(known.contradicts(peer, 9, 12) && known.ends_early(peer, 11));
        assert_eq!(known.lost(), BTreeSet::from([peer]));
    }
}
