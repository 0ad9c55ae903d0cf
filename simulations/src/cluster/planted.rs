//! Bugs that are put in on purpose, through the world or the settings, to see that an invariant finds them.

/// One of them, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    /// The product as it is.
    #[default]
    Nothing,
    /// A voter that restarts does not wait out what it may have promised.
    NoWaitAfterRestart,
    /// A lease of 450 ms under a promise of 300.
    LeaseTooLong,
    /// A handover says that the address is away before it is.
    ReleasedBeforeAway,
    /// Writes are acknowledged before they are flushed.
    AcknowledgesBeforeFlush,
    /// A binding is forwarded before it is committed.
    ForwardsBeforeCommit,
    /// The proxy does not look at the lease.
    ProxyIgnoresLease,
    /// A node's clock stands still while it is paused.
    ClockStopsInPause,
    /// Clocks are 30 % too slow or too fast.
    DriftBeyondMargin,
    /// A witness that believes to be a server.
    WitnessHolds,
}

impl Planted {
    /// The one with that word.
    pub fn named(word: &str) -> Option<Planted> {
        Planted::ALL.iter().find(|(name, ..)| *name == word).map(|(_, planted, _)| *planted)
    }

    /// Its word; `None` when nothing is planted.
    pub fn word(self) -> Option<&'static str> {
        Planted::ALL.iter().find(|(_, planted, _)| *planted == self).map(|(name, ..)| *name)
    }

    /// All of them: word, what, and the invariant that shall find it.
    pub const ALL: [(&'static str, Planted, &'static str); 9] = [
        ("no-wait-after-restart", Planted::NoWaitAfterRestart, "one holder"),
        ("lease-too-long", Planted::LeaseTooLong, "one holder"),
        ("released-before-away", Planted::ReleasedBeforeAway, "one holder"),
        ("acknowledges-before-flush", Planted::AcknowledgesBeforeFlush, "acknowledged survives, or same log same state, or an ERROR"),
        ("forwards-before-commit", Planted::ForwardsBeforeCommit, "acknowledged survives, or affinity"),
        ("proxy-ignores-lease", Planted::ProxyIgnoresLease, "served by the holder"),
        ("clock-stops-in-pause", Planted::ClockStopsInPause, "served by the holder, or one holder"),
        ("drift-beyond-margin", Planted::DriftBeyondMargin, "one holder"),
        ("witness-holds", Planted::WitnessHolds, "a witness never holds"),
    ];
}
