//! At which version this node writes, and what it reads at all.
//!
//! ```text
//!   what is kept (entries, votes, snapshots)     at the active version, as far as it was applied here
//!   what goes to a peer                          at the lower version of both ends
//! ```
//!
//! A peer says with every message what it speaks, so the first exchange tells both. Until then, and after a call that
//! failed (it may have been replaced by another version), it gets the oldest.

use crate::log_store::LogStore;
use ha_core::id::NodeId;
use ha_core::version::{RecordVersion, Speaks};
use ha_record::{Record, RecordError, sender_speaks, version_of};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Peers of which it is known; more than there are members.
const PEERS_MAX: usize = 256;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Versions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    speaks: Speaks,
    active: AtomicU32,
    peers: Mutex<BTreeMap<NodeId, Speaks>>,
    halted: Mutex<Option<String>>,
}

impl Versions {
    /// Of a program that speaks these, before anything was applied.
    pub fn of(speaks: Speaks) -> Versions {
        Versions(Arc::new(Inner {
            speaks,
            active: AtomicU32::new(0),
            peers: Mutex::default(),
            halted: Mutex::default(),
        }))
    }

    /// What this program speaks.
    pub fn speaks(&self) -> Speaks {
        self.0.speaks
    }

    /// What is kept is written at: the active version, or the oldest as long as nothing is known of a cluster.
    pub fn writes(&self) -> RecordVersion {
        RecordVersion(self.0.active.load(Ordering::Acquire)).max(self.0.speaks.min)
    }

    /// The active version, as far as it was applied here.
    pub(super) fn applied(&self, active: RecordVersion) {
        self.0.active.store(active.0, Ordering::Release);
    }

    /// A message for a peer.
    ///
    /// # Errors
    /// None in practice: what there is in messages there is in each version.
    pub fn tell<T: Record>(&self, peer: NodeId, message: &T) -> Result<Vec<u8>, RecordError> {
        ha_record::encode_message(self.to(peer), self.0.speaks, message)
    }

    /// A message of a peer, which says what it speaks even where its message is not understood.
    ///
    /// # Errors
    /// Bytes that mean nothing, or a newer version.
    pub fn hear<T: Record>(&self, peer: NodeId, bytes: &[u8]) -> Result<T, RecordError> {
        if let Some(said) = sender_speaks(bytes) {
            self.note(peer, said);
        }
        ha_record::decode_message(self.0.speaks, bytes)
    }

    /// A message of the leader could not be read: if it was understood itself, what it carries is of a version that was
    /// activated without this node, which halts.
    pub(super) fn stop_for(&self, bytes: &[u8], why: &RecordError) {
        let carried = version_of(bytes).is_some_and(|v| v <= self.0.speaks.max);
        if let (RecordError::Newer { found, .. }, true) = (why, carried) {
            self.halt(*found);
        }
    }

    fn to(&self, peer: NodeId) -> RecordVersion {
        let (own, peers) = (self.0.speaks, self.peers());
        peers
            .get(&peer)
            .map_or(own.min, |s| own.max.min(s.max).max(own.min))
    }

    fn note(&self, peer: NodeId, said: Speaks) {
        let mut peers = self.peers();
        if peers.get(&peer) == Some(&said) {
            return;
        }
        if peers.len() >= PEERS_MAX {
            peers.clear();
        }
        peers.insert(peer, said);
    }

    /// A call failed: another version may answer the next one.
    pub fn forget(&self, peer: NodeId) {
        self.peers().remove(&peer);
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<NodeId, Speaks>> {
        self.0.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node cannot go on: what comes next is of a version that it does not speak. Nothing of it was applied.
    pub(super) fn halt(&self, needed: RecordVersion) -> RecordError {
        let why = words(needed, self.0.speaks);
        let mut halted = self.0.halted.lock().unwrap_or_else(PoisonError::into_inner);
        if halted.is_none() {
            tracing::warn!(why, "this node halts");
            *halted = Some(why);
        }
        RecordError::Newer {
            found: needed,
            speaks: self.0.speaks,
        }
    }

    /// Why it halted, if it did.
    pub fn halted(&self) -> Option<String> {
        self.0
            .halted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether this program may start on what is in a store.
    ///
    /// # Errors
    /// The cluster writes a version that it does not speak.
    pub fn check(&self, store: &dyn LogStore) -> io::Result<()> {
        match store.active()? {
            Some(active) if !self.0.speaks.contains(active) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                words(active, self.0.speaks),
            )),
            _ => Ok(()),
        }
    }
}

fn words(needed: RecordVersion, speaks: Speaks) -> String {
    format!(
        "this cluster writes version {needed}, and the ha-agent of this node speaks {speaks}: install an ha-agent here \
         that speaks version {needed}. Nothing of that version was applied, and the log is kept"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_record::lease::Released;

    fn speaks(min: u32, max: u32) -> Speaks {
        Speaks {
            min: RecordVersion(min),
            max: RecordVersion(max),
        }
    }

    fn node(i: u128) -> NodeId {
        NodeId::from_random(i)
    }

    #[test]
    fn a_peer_gets_the_oldest_until_it_was_heard_and_again_after_a_failure() {
        let (old, new) = (Versions::of(speaks(1, 1)), Versions::of(speaks(1, 2)));
        let (me, peer) = (node(1), node(2));
        let first = new.tell(peer, &Released).unwrap();
        assert_eq!(version_of(&first), Some(RecordVersion(1)));
        // Who is asked knows at once what the principal speaks.
        let other = Versions::of(speaks(1, 3));
        other.hear::<Released>(me, &first).unwrap();
        let answer = other.tell(me, &Released).unwrap();
        assert_eq!(version_of(&answer), Some(RecordVersion(2)));
        new.hear::<Released>(peer, &answer).unwrap();
        let second = new.tell(peer, &Released).unwrap();
        assert_eq!(version_of(&second), Some(RecordVersion(2)));
        // That peer went back to an older program, which does not understand it.
        assert!(old.hear::<Released>(me, &second).is_err());
        assert_eq!(old.halted(), None, "the principal does better next time");
        new.forget(peer);
        let third = new.tell(peer, &Released).unwrap();
        old.hear::<Released>(me, &third).unwrap();
        new.hear::<Released>(peer, &old.tell(me, &Released).unwrap())
            .unwrap();
        assert_eq!(
            version_of(&new.tell(peer, &Released).unwrap()),
            Some(RecordVersion(1))
        );
    }

    #[test]
    fn an_entry_of_a_newer_version_halts_the_node_with_words() {
        use ha_record::entry::{Entry, Payload};
        let (old, new) = (Versions::of(speaks(1, 1)), Versions::of(speaks(1, 2)));
        let append = ha_record::peer::Append {
            vote: Default::default(),
            previous: None,
            committed: None,
            entries: vec![Entry {
                version: RecordVersion(2),
                id: Default::default(),
                payload: Payload::Blank,
            }],
        };
        let bytes = new.tell(node(1), &append).unwrap();
        let unread = old.hear::<ha_record::peer::Append>(node(2), &bytes);
        assert_eq!(old.halted(), None, "anybody can say that");
        old.stop_for(&bytes, &unread.unwrap_err());
        let why = old.halted().unwrap();
        assert!(
            why.contains("writes version 2") && why.contains("speaks version 1"),
            "{why}"
        );
    }
}
