//! The stick table: which client belongs to which server, shared by all frontends of a group.
//!
//! Part of the replicated state. A copy for readers costs 16 pointers, and a change while readers have one copies a few
//! hundred bytes, however many bindings there are (`leaves`). When the table is full the entry goes
//! first whose life ends first, as HAProxy has it: what has expired before what lives.
//!
//! A use is written down only when a quarter of `expire` has passed since the one that was, so that steady
//! traffic costs nothing. What is recorded lives that much longer, or a binding would end before `expire` had
//! passed since its last use: [`StickEntry::life`] and [`StickEntry::wants_refresh`] are this one rule.

mod hosts;
mod leaves;

use crate::id::ServerId;
use crate::time::Timestamp;
use leaves::Leaves;
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Who is bound: the client's (masked) address, within a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StickKey {
    pub group: Arc<str>,
    /// The client's address, masked as the backend says.
    pub client: IpAddr,
}

/// To whom, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StickEntry {
    /// The server it was bound to.
    pub server: ServerId,
    /// Where that server runs: other backends of the group find their server on the same host by it.
    pub host: IpAddr,
    /// When the client was bound.
    pub bound_at: Timestamp,
    /// The newest use that is in the log.
    pub used_at: Timestamp,
    /// How long it outlives its last use, at least.
    pub expire: Duration,
}

impl StickEntry {
    /// Uses within so long after the recorded one are not recorded: a quarter of `expire`.
    fn unrecorded(&self) -> Duration {
        self.expire / 4
    }

    /// How long it counts after its recorded use: at least `expire` after the last one, recorded or not.
    pub fn life(&self) -> Duration {
        self.expire + self.unrecorded()
    }

    /// When it counts no more, unless it is used again.
    pub fn ends_at(&self) -> Timestamp {
        self.used_at + self.life()
    }

    /// Whether the binding still counts.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        now.saturating_since(self.used_at) < self.life()
    }

    /// Whether a use is to be recorded.
    pub fn wants_refresh(&self, now: Timestamp) -> bool {
        now.saturating_since(self.used_at) >= self.unrecorded()
    }

    /// Whether it is an older binding that is prolonged, and not a new one.
    pub fn is_refresh(&self) -> bool {
        self.used_at > self.bound_at
    }
}

/// What readers get: cheap to clone, never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StickTable {
    leaves: Leaves,
    len: usize,
}

impl StickTable {
    /// The live binding of `key`.
    pub fn get(&self, key: &StickKey, now: Timestamp) -> Option<&StickEntry> {
        self.leaves.get(key).filter(|e| e.is_alive(now))
    }

    /// All entries, dead ones included, in an order that is the same on all nodes.
    pub fn iter(&self) -> impl Iterator<Item = (&StickKey, &StickEntry)> {
        self.leaves.iter()
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

/// The table with the order in which lives end beside it, as the state machine keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StickIndex {
    table: StickTable,
    by_end: BTreeSet<(Timestamp, StickKey)>,
}

impl FromIterator<(StickKey, StickEntry)> for StickIndex {
    /// Of a key that comes twice, the last counts.
    fn from_iter<I: IntoIterator<Item = (StickKey, StickEntry)>>(entries: I) -> Self {
        let mut leaves = Leaves::default();
        for (key, entry) in entries {
            leaves.insert(key, entry);
        }
        // Sorted once: one by one would take three times as long.
        let by_end: BTreeSet<_> = ends(&leaves).collect();
        let len = by_end.len();
        let table = StickTable { leaves, len };
        StickIndex { table, by_end }
    }
}

fn ends(leaves: &Leaves) -> impl Iterator<Item = (Timestamp, StickKey)> {
    leaves
        .iter()
        .map(|(key, entry)| (entry.ends_at(), key.clone()))
}

impl StickIndex {
    /// A copy for readers.
    pub const fn table(&self) -> &StickTable {
        &self.table
    }

    /// The same bindings for who writes them down, at the cost of pointers: the order in which they end is left out.
    pub(crate) fn to_write(&self) -> StickIndex {
        StickIndex {
            table: self.table.clone(),
            by_end: BTreeSet::new(),
        }
    }

    /// Binds `key`, or refreshes it, and keeps at most `max` entries by dropping those whose life ends first.
    ///
    /// Who refreshes has seen an older table, maybe: a binding that was made or recorded anew meanwhile stays as it is.
    pub fn put(&mut self, key: StickKey, entry: StickEntry, max: u32) {
        let known = self.table.leaves.get(&key);
        let is_newer = |known: &StickEntry| {
            (known.server, known.bound_at) != (entry.server, entry.bound_at)
                || known.used_at >= entry.used_at
        };
        if entry.is_refresh() && known.is_some_and(is_newer) {
            return;
        }
        let in_order = (entry.ends_at(), key.clone());
        match self.table.leaves.insert(key, entry) {
            Some(old) => drop(self.by_end.remove(&(old.ends_at(), in_order.1.clone()))),
            None => self.table.len += 1,
        }
        self.by_end.insert(in_order);
        while self.table.len > max as usize {
            let Some((_, first)) = self.by_end.first().cloned() else {
                break;
            };
            self.remove(&first);
        }
    }

    /// Takes out the binding of `key`, and says what it was.
    pub fn remove(&mut self, key: &StickKey) -> Option<StickEntry> {
        // Looking first keeps what readers share from being copied for nothing.
        self.table.leaves.get(key)?;
        let entry = self.table.leaves.remove(key)?;
        self.by_end.remove(&(entry.ends_at(), key.clone()));
        self.table.len -= 1;
        Some(entry)
    }

    /// Forgets what has expired, at most `budget` of it.
    pub fn purge_expired(&mut self, now: Timestamp, budget: usize) {
        let dead: Vec<StickKey> = self
            .by_end
            .iter()
            .take(budget)
            .take_while(|(end, _)| *end <= now)
            .map(|(_, k)| k.clone())
            .collect();
        for key in dead {
            self.remove(&key);
        }
    }

    /// Forgets all bindings for which `gone` holds. Looks at every one: of a million, for a tenth of a second.
    pub fn remove_where(&mut self, gone: impl Fn(&StickKey, &StickEntry) -> bool) -> usize {
        let before = self.table.len;
        self.table.len = self.table.iter().filter(|(k, e)| !gone(k, e)).count();
        if self.table.len < before {
            self.table.leaves.retain(|k, e| !gone(k, e));
            self.by_end = ends(&self.table.leaves).collect();
        }
        before - self.table.len
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
    fn what_has_expired_makes_room_before_what_lives_and_was_used_longer_ago() {
        let mut t = StickIndex::default();
        let long = StickEntry {
            expire: Duration::from_secs(1800),
            ..entry(0)
        };
        t.put(key(1), long, 2);
        t.put(key(2), entry(60_000), 2);
        let now = Timestamp(600_000);
        t.put(key(3), entry(now.0), 2);
        let kept = [1, 2, 3].map(|n| t.table().get(&key(n), now).is_some());
        assert_eq!(kept, [true, false, true]);
    }

    #[test]
    fn a_binding_lives_at_least_expire_after_its_last_use_and_a_quarter_more_at_most() {
        let used = entry(0);
        for (last_use, dead_at) in [(0, 10_000), (1_000, 11_000), (2_499, 12_499)] {
            assert!(!used.wants_refresh(Timestamp(last_use)), "not recorded");
            assert!(used.is_alive(Timestamp(dead_at - 1)), "used at {last_use}");
        }
        assert!(used.wants_refresh(Timestamp(2_500)));
        assert!(used.is_alive(Timestamp(12_499)) && !used.is_alive(Timestamp(12_500)));
        assert_eq!(used.ends_at(), Timestamp(12_500));
    }

    #[test]
    fn a_refresh_from_an_older_view_changes_no_newer_binding() {
        let refresh = |bound, used| StickEntry {
            bound_at: Timestamp(bound),
            ..entry(used)
        };
        let anew = StickEntry {
            server: ServerId(2),
            ..entry(3_000)
        };
        for (known, comes, stays) in [
            (anew, refresh(0, 4_000), anew),
            (entry(3_000), refresh(0, 4_000), entry(3_000)),
            (refresh(0, 5_000), refresh(0, 4_000), refresh(0, 5_000)),
            (refresh(0, 3_000), refresh(0, 4_000), refresh(0, 4_000)),
            (refresh(0, 5_000), anew, anew),
        ] {
            let mut t = StickIndex::default();
            t.put(key(1), known, 9);
            t.put(key(1), comes, 9);
            assert_eq!(t.table().get(&key(1), Timestamp(5_000)), Some(&stays));
            assert_eq!(t.by_end.len(), 1);
        }
    }

    #[test]
    fn a_dead_binding_does_not_count_and_is_purged() {
        let mut t = StickIndex::default();
        t.put(key(1), entry(0), 9);
        t.put(key(2), entry(9_000), 9);
        assert!(t.table().get(&key(1), Timestamp(12_500)).is_none());
        t.purge_expired(Timestamp(12_500), 100);
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

    /// What a change copies while a reader has the table, counted in entries whose memory moved.
    #[test]
    fn a_change_copies_what_is_near_it_and_not_a_share_of_the_table() {
        let many = |n: u32| StickKey {
            group: "g".into(),
            client: IpAddr::from(n.to_be_bytes()),
        };
        let mut t: StickIndex = (0..200_000).map(|n| (many(n), entry(n.into()))).collect();
        let now = Timestamp(0);
        for n in [7, 70_000, 200_001] {
            let seen = t.table().clone();
            t.put(many(n), entry(300_000), u32::MAX);
            let moved = seen
                .iter()
                .filter(|(k, e)| {
                    let after = t.table().get(k, now);
                    after.is_none_or(|after| !std::ptr::eq(after, *e))
                })
                .count();
            assert!(moved < 32, "{moved} of 200000 entries were copied");
        }
    }

    #[test]
    fn a_table_that_was_read_again_is_the_same() {
        let mut t = StickIndex::default();
        for n in 0..200 {
            t.put(key(n), entry(u64::from(n)), 100);
        }
        let gone = t.remove_where(|k, _| k.client == key(150).client);
        let read: StickIndex = (t.table().iter().map(|(k, e)| (k.clone(), *e))).collect();
        assert_eq!((gone, t.table().len()), (1, 99));
        assert_eq!(read, t);
        let order = |t: &StickIndex| t.table().iter().map(|(k, _)| k.clone()).collect::<Vec<_>>();
        assert_eq!(order(&read), order(&t));
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
