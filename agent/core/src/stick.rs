//! The stick table: which client belongs to which server, shared by all frontends of a group.
//!
//! Part of the replicated state. A copy for readers costs [`SHARDS`] pointers: a shard is copied
//! only when it changes while a reader still has the old one. The least recently used entry goes
//! first when the table is full.

use crate::id::ServerId;
use crate::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Parts of the table that are copied by themselves.
pub const SHARDS: usize = 256;

/// Who is bound: the client's (masked) address, within a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StickKey {
    /// The affinity group.
    pub group: Arc<str>,
    /// The client's address, masked as the backend says.
    pub client: IpAddr,
}

/// To whom, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StickEntry {
    /// The server it was bound to.
    pub server: ServerId,
    /// Where that server runs: other backends of the group find their server on the same host by it.
    pub host: IpAddr,
    /// When the client was bound.
    pub bound_at: Timestamp,
    /// When the binding was last refreshed in the log.
    pub used_at: Timestamp,
    /// How long it outlives its last use.
    pub expire: Duration,
}

impl StickEntry {
    /// Whether the binding still counts.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now.saturating_since(self.used_at) < self.expire
    }

    /// Whether so much of its life has passed that a use is worth a log entry: a quarter.
    pub fn wants_refresh(&self, now: Timestamp) -> bool {
        now.saturating_since(self.used_at) >= self.expire / 4
    }
}

type Shard = BTreeMap<StickKey, StickEntry>;

/// What readers get: cheap to clone, never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StickTable {
    shards: Vec<Arc<Shard>>,
    len: usize,
}

impl Default for StickTable {
    fn default() -> Self {
        StickTable {
            shards: vec![Arc::default(); SHARDS],
            len: 0,
        }
    }
}

impl StickTable {
    /// The live binding of `key`.
    pub fn get(&self, key: &StickKey, now: Timestamp) -> Option<&StickEntry> {
        self.shards[shard_of(key)]
            .get(key)
            .filter(|e| e.is_alive(now))
    }

    /// All entries, dead ones included, in an order that is the same on all nodes.
    pub fn iter(&self) -> impl Iterator<Item = (&StickKey, &StickEntry)> {
        self.shards.iter().flat_map(|s| s.iter())
    }

    /// Number of entries, dead ones included.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is bound.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The table with the order of last use beside it, as the state machine keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StickIndex {
    table: StickTable,
    by_use: BTreeSet<(Timestamp, StickKey)>,
}

impl StickIndex {
    /// A copy for readers.
    pub const fn table(&self) -> &StickTable {
        &self.table
    }

    /// The same bindings for who writes them down, at the cost of pointers: the order of last use is left out.
    pub(crate) fn to_write(&self) -> StickIndex {
        StickIndex {
            table: self.table.clone(),
            by_use: BTreeSet::new(),
        }
    }

    /// Binds `key`, or refreshes it, and keeps at most `max` entries by dropping the least recently used.
    pub fn put(&mut self, key: StickKey, entry: StickEntry, max: u32) {
        self.remove(&key);
        self.by_use.insert((entry.used_at, key.clone()));
        Arc::make_mut(&mut self.table.shards[shard_of(&key)]).insert(key, entry);
        self.table.len += 1;
        while self.table.len > max as usize {
            let Some((_, oldest)) = self.by_use.first().cloned() else {
                break;
            };
            self.remove(&oldest);
        }
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: &StickKey) -> Option<StickEntry> {
        let shard = shard_of(key);
        // Looking first keeps a shard that readers share from being copied for nothing.
        self.table.shards[shard].get(key)?;
        let entry = Arc::make_mut(&mut self.table.shards[shard]).remove(key)?;
        self.by_use.remove(&(entry.used_at, key.clone()));
        self.table.len -= 1;
        Some(entry)
    }

    /// Forgets what has expired, looking at no more than `budget` of the least recently used.
    ///
    /// Entries with different lives may leave a dead one behind a live one for a while; readers
    /// look at [`StickEntry::is_alive`] in any case.
    pub fn purge_expired(&mut self, now: Timestamp, budget: usize) {
        let dead: Vec<StickKey> = self
            .by_use
            .iter()
            .take(budget)
            .filter(|(_, k)| {
                self.table.shards[shard_of(k)]
                    .get(k)
                    .is_none_or(|e| !e.is_alive(now))
            })
            .map(|(_, k)| k.clone())
            .collect();
        for key in dead {
            self.remove(&key);
        }
    }

    /// Forgets all bindings for which `gone` holds.
    pub fn remove_where(&mut self, gone: impl Fn(&StickKey, &StickEntry) -> bool) -> usize {
        let keys: Vec<StickKey> = self
            .table
            .iter()
            .filter(|(k, e)| gone(k, e))
            .map(|(k, _)| k.clone())
            .collect();
        for key in &keys {
            self.remove(key);
        }
        keys.len()
    }
}

impl Serialize for StickIndex {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        // Compact formats ask for the length first.
        let mut entries = s.serialize_seq(Some(self.table.len()))?;
        for entry in self.table.iter() {
            entries.serialize_element(&entry)?;
        }
        entries.end()
    }
}

impl<'de> Deserialize<'de> for StickIndex {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let entries = Vec::<(StickKey, StickEntry)>::deserialize(d)?;
        let mut index = StickIndex::default();
        for (key, entry) in entries {
            index.put(key, entry, u32::MAX);
        }
        Ok(index)
    }
}

/// The client's address cut to the leading `v4` or `v6` bits. IPv4 clients that arrive on an IPv6
/// socket (`::ffff:a.b.c.d`) count as IPv4.
pub fn mask(client: IpAddr, v4: u8, v6: u8) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(a) => IpAddr::V4(
            (u32::from(a)
                & u32::MAX
                    .checked_shl(32 - u32::from(v4.min(32)))
                    .unwrap_or(0))
            .into(),
        ),
        IpAddr::V6(a) => IpAddr::V6(
            (u128::from(a)
                & u128::MAX
                    .checked_shl(128 - u32::from(v6.min(128)))
                    .unwrap_or(0))
            .into(),
        ),
    }
}

fn shard_of(key: &StickKey) -> usize {
    let bits = match key.client {
        IpAddr::V4(a) => u64::from(u32::from(a)),
        IpAddr::V6(a) => (u128::from(a) ^ (u128::from(a) >> 64)) as u64,
    };
    (crate::balance::mix(bits) as usize) % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> StickKey {
        StickKey {
            group: "g".into(),
            client: IpAddr::from([10, 0, 0, n]),
        }
    }

    fn entry(used: u64) -> StickEntry {
        StickEntry {
            server: ServerId(1),
            host: IpAddr::from([10, 0, 0, 1]),
            bound_at: Timestamp(used),
            used_at: Timestamp(used),
            expire: Duration::from_secs(10),
        }
    }

    #[test]
    fn a_full_table_forgets_the_least_recently_used() {
        let mut t = StickIndex::default();
        for (n, used) in [(1, 10), (2, 20), (3, 30), (1, 40), (4, 50)] {
            t.put(key(n), entry(used), 3);
        }
        let kept: Vec<bool> = (1..=4)
            .map(|n| t.table().get(&key(n), Timestamp(50)).is_some())
            .collect();
        assert_eq!(kept, [true, false, true, true]);
        assert_eq!(t.table().len(), 3);
    }

    #[test]
    fn a_dead_binding_does_not_count_and_is_purged() {
        let mut t = StickIndex::default();
        t.put(key(1), entry(0), 9);
        t.put(key(2), entry(9_000), 9);
        assert!(t.table().get(&key(1), Timestamp(10_000)).is_none());
        t.purge_expired(Timestamp(10_000), 100);
        assert_eq!(t.table().len(), 1);
    }

    #[test]
    fn a_reader_keeps_what_it_saw() {
        let mut t = StickIndex::default();
        t.put(key(1), entry(1), 9);
        let seen = t.table().clone();
        t.put(key(1), entry(2), 9);
        t.put(key(2), entry(2), 9);
        assert_eq!(seen.len(), 1);
        assert_eq!(
            seen.get(&key(1), Timestamp(2)).unwrap().used_at,
            Timestamp(1)
        );
    }

    #[test]
    fn the_mask_keeps_leading_bits_and_treats_mapped_addresses_as_ipv4() {
        let a = |s: &str| s.parse::<IpAddr>().unwrap();
        for (client, v4, v6, key) in [
            ("10.1.2.3", 32, 128, "10.1.2.3"),
            ("10.1.2.3", 24, 128, "10.1.2.0"),
            ("10.1.2.3", 0, 128, "0.0.0.0"),
            ("::ffff:10.1.2.3", 16, 128, "10.1.0.0"),
            ("fd00::1:2", 32, 64, "fd00::"),
            ("fd00::1:2", 32, 0, "::"),
        ] {
            assert_eq!(mask(a(client), v4, v6), a(key), "{client}");
        }
    }
}
