//! A binding on which a session was forwarded in `commit` mode is known to every later holder, until it may have ended.

use ha_core::stick::{StickEntry, StickKey, StickTable};
use ha_core::time::Timestamp;
use std::collections::BTreeMap;

/// Bindings that were acknowledged.
#[derive(Debug, Default)]
pub struct Bindings {
    acknowledged: BTreeMap<StickKey, StickEntry>,
}

impl Bindings {
    /// A session was forwarded on it.
    pub fn on_acknowledged(&mut self, key: StickKey, entry: StickEntry) {
        if self
            .acknowledged
            .get(&key)
            .is_none_or(|known| known.server != entry.server || known.used_at < entry.used_at)
        {
            self.acknowledged.insert(key, entry);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.acknowledged.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.acknowledged.is_empty()
    }

    /// Node `me` answers from now on and knows these.
    pub fn on_claim(&self, me: usize, known: &StickTable, now: Timestamp) -> Result<(), String> {
        for (key, entry) in &self.acknowledged {
            if now.saturating_since(entry.used_at) >= entry.expire {
                continue;
            }
            let found = known.get(key, now);
            // A later decision replaces an earlier one.
            if found.is_none_or(|f| f.server != entry.server && f.bound_at <= entry.bound_at) {
                return Err(format!(
                    "what was acknowledged survives: {} was bound to server {}, node-{me} holds and has {:?}",
                    key.client,
                    entry.server.0,
                    found.map(|f| f.server.0)
                ));
            }
        }
        Ok(())
    }
}
