//! Two nodes that have applied the same log have the same state, byte for byte.

use std::collections::BTreeMap;

/// Hashes of states by the entry they come after.
#[derive(Debug, Default)]
pub struct SameState {
    known: BTreeMap<u64, (u64, usize)>,
}

/// Hashing a state costs something; every so many entries is enough, for a difference stays.
pub const EVERY: u64 = 32;

impl SameState {
    /// Node `me` has this state after that entry.
    pub fn on_applied(&mut self, me: usize, index: u64, hash: u64) -> Result<(), String> {
        let (first, by) = *self.known.entry(index).or_insert((hash, me));
        if first != hash {
            return Err(format!(
                "same log, same state: after entry {index} node-{me} has {hash:016x}, node-{by} had {first:016x}"
            ));
        }
        Ok(())
    }
}
