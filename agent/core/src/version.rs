//! Versions of what the cluster writes: which ones an agent speaks, and which one is active.
//!
//! The active version is replicated. It is raised by an entry that every member has been checked against, never
//! lowered and never computed locally; whoever writes what others read writes it at the active version. So an
//! upgrade goes node by node, and back, until the version has been raised.

use serde::Serialize;
use std::fmt;

/// A version of everything that the cluster writes: log, snapshots, backups. Begins at 1; 0 is that of a cluster
/// which is not founded yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RecordVersion(pub u32);

impl fmt::Display for RecordVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The versions that an agent reads and writes. The default is that of an agent which did not say: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Speaks {
    pub min: RecordVersion,
    /// The newest, not below `min`.
    pub max: RecordVersion,
}

/// What this agent speaks. With the feature `next`, which is for tests of upgrades, also the version to come.
pub const CURRENT: Speaks = Speaks {
    min: RecordVersion(1),
    max: RecordVersion(if cfg!(feature = "next") { 2 } else { 1 }),
};

impl Speaks {
    /// Whether `version` is one of these.
    pub fn contains(self, version: RecordVersion) -> bool {
        self.min <= version && version <= self.max
    }
}

impl fmt::Display for Speaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "version {}", self.max)
        } else {
            write!(f, "versions {} to {}", self.min, self.max)
        }
    }
}

/// The newest version that each of these speaks; `None` when there is none.
pub fn newest_common(all: impl IntoIterator<Item = Speaks>) -> Option<RecordVersion> {
    let both = |a: Speaks, b: Speaks| Speaks {
        min: a.min.max(b.min),
        max: a.max.min(b.max),
    };
    let common = all.into_iter().reduce(both)?;
    (common.min <= common.max).then_some(common.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_version_is_one_that_all_speak() {
        let speaks = |min, max| Speaks {
            min: RecordVersion(min),
            max: RecordVersion(max),
        };
        for (all, newest) in [
            (vec![], None),
            (vec![speaks(1, 3)], Some(3)),
            (vec![speaks(1, 3), speaks(1, 2)], Some(2)),
            (vec![speaks(1, 2), speaks(3, 4)], None),
            (vec![speaks(1, 2), Speaks::default()], None),
        ] {
            assert_eq!(newest_common(all), newest.map(RecordVersion));
        }
    }
}
