//! Bugs that are put in on purpose, through the world, the settings or the wire, to see that an invariant finds them.

use super::Run;
use super::plan::Theme;

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
    /// A connect that worked counts as failed: a client is sent away from a server that is usable.
    RedispatchesUsable,
    /// The proxy does not look at the lease.
    ProxyIgnoresLease,
    /// A node's clock stands still while it is paused.
    ClockStopsInPause,
    /// Clocks are 30 % too slow or too fast.
    DriftBeyondMargin,
    /// A witness that believes to be a server.
    WitnessHolds,
    /// A voter promises itself to whoever asks.
    PromisesToTwo,
    /// Leadership is handed over before the release is heard.
    TransferBeforeRelease,
    /// A hold counts from when the answer to a lease arrives.
    CountedFromArrival,
    /// A voter promises itself to a leader of an earlier term than it knows.
    IgnoresLaterTerm,
    /// While the membership is joint, only its new half counts.
    HalfOfJoint,
    /// Promises are counted by the membership of a second ago.
    StaleMembership,
    /// A pre-vote is written down as if it were a vote.
    PreVoteWrittenDown,
    /// An operator's order is acknowledged and not in the log.
    OrderOnOneNode,
    /// What the checks found does not reach the other nodes: a new leader begins as if all servers were up.
    HealthForgotten,
    /// A snapshot leaves out the bindings.
    SnapshotWithoutBindings,
    /// The holder does not count its sessions: a drain with sessions seems to have none.
    SessionsNotCounted,
    /// The holder is never told of its sessions.
    DrainsNeverEnd,
    /// A holder that is drained hands over at once.
    DrainMovesAddress,
    /// Wall clocks are 20 s ahead of the operator's.
    WallClockAhead,
    /// The state depends on when a node applies, by its own clock.
    OwnClock,
    /// A leader writes entries at the newest version that its program has, whatever is active.
    WritesAtNewest,
    /// A version is activated without having heard from every member that it speaks it.
    SpeaksForOthers,
    /// One refused connect sends a bound client elsewhere for good.
    LeavesAtFirstRefusal,
    /// A client whose server is suspect is bound elsewhere.
    SuspicionRebinds,
    /// An operator's request that is asked for again is a new one.
    RequestsForgotten,
    /// Orders and configurations are taken whatever their giver saw.
    ExpectedUnchecked,
    /// Who believes that it leads answers, whether or not a majority is promised to it.
    StaleReads,
    /// A binding lives no longer than `expire` after the use that was recorded last.
    DiesEarly,
    /// A voter takes the end of a hold from whoever says it.
    ReleasesFromAnyone,
    /// A client whom any server would do waits for a slot of one of them.
    WaitsForOne,
}

/// One of them, as the table has it.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    pub word: &'static str,
    pub planted: Planted,
    /// The plans in which it shows.
    pub theme: Theme,
    /// What shall find it: what a violation begins with.
    pub found_by: &'static [&'static str],
}

impl Bug {
    /// A run with it.
    pub fn run(&self, seed: u64, length: u64) -> Run {
        let run = Run {
            planted: self.planted,
            theme: self.theme,
            ..Run::of(seed, length)
        };
        match (self.planted, run.nodes) {
            // A witness is needed to see one hold.
            (Planted::WitnessHolds, _) => Run {
                nodes: 3,
                witness: true,
                ..run
            },
            // One node alone has nobody to be at odds with.
            (_, 1) => Run {
                nodes: 3,
                witness: false,
                ..run
            },
            _ => run,
        }
    }

    /// Whether that is what it was to be found by.
    pub fn is_found_by(&self, violation: &str) -> bool {
        self.found_by
            .iter()
            .any(|beginning| violation.starts_with(beginning))
    }
}

const fn bug(
    word: &'static str,
    planted: Planted,
    theme: Theme,
    found_by: &'static [&'static str],
) -> Bug {
    Bug {
        word,
        planted,
        theme,
        found_by,
    }
}

const ONE_HOLDER: &[&str] = &["one holder", "epoch grows"];

impl Planted {
    /// The one with that word.
    pub fn named(word: &str) -> Option<Bug> {
        Planted::ALL.into_iter().find(|bug| bug.word == word)
    }

    /// Its word; `None` when nothing is planted.
    pub fn word(self) -> Option<&'static str> {
        Planted::ALL
            .iter()
            .find(|bug| bug.planted == self)
            .map(|bug| bug.word)
    }

    pub const ALL: [Bug; 35] = [
        bug(
            "no-wait-after-restart",
            Planted::NoWaitAfterRestart,
            Theme::RestartAll,
            ONE_HOLDER,
        ),
        bug(
            "promises-to-two",
            Planted::PromisesToTwo,
            Theme::Shrinking,
            ONE_HOLDER,
        ),
        bug(
            "lease-too-long",
            Planted::LeaseTooLong,
            Theme::Anything,
            ONE_HOLDER,
        ),
        bug(
            "transfer-before-release",
            Planted::TransferBeforeRelease,
            Theme::Quiet,
            &["within bounds"],
        ),
        bug(
            "released-before-away",
            Planted::ReleasedBeforeAway,
            Theme::Anything,
            ONE_HOLDER,
        ),
        bug(
            "counted-from-arrival",
            Planted::CountedFromArrival,
            Theme::Blinks,
            ONE_HOLDER,
        ),
        bug(
            "ignores-later-term",
            Planted::IgnoresLaterTerm,
            Theme::Blinks,
            ONE_HOLDER,
        ),
        bug(
            "half-of-joint",
            Planted::HalfOfJoint,
            Theme::Shrinking,
            ONE_HOLDER,
        ),
        bug(
            "stale-membership",
            Planted::StaleMembership,
            Theme::LastOfThree,
            ONE_HOLDER,
        ),
        bug(
            "redispatches-usable",
            Planted::RedispatchesUsable,
            Theme::Anything,
            &["affinity"],
        ),
        bug(
            "pre-vote-written-down",
            Planted::PreVoteWrittenDown,
            Theme::Anything,
            &["liveness"],
        ),
        bug(
            "witness-holds",
            Planted::WitnessHolds,
            Theme::Anything,
            &["a witness never holds"],
        ),
        bug(
            "acknowledges-before-flush",
            Planted::AcknowledgesBeforeFlush,
            Theme::Anything,
            &[
                "what was acknowledged survives",
                "same log, same state",
                "ERROR",
                "it panicked",
            ],
        ),
        bug(
            "forwards-before-commit",
            Planted::ForwardsBeforeCommit,
            Theme::Anything,
            &["what was acknowledged survives", "affinity"],
        ),
        bug(
            "proxy-ignores-lease",
            Planted::ProxyIgnoresLease,
            Theme::Anything,
            &["served by the holder"],
        ),
        bug(
            "order-on-one-node",
            Planted::OrderOnOneNode,
            Theme::Anything,
            &["the ideal cluster"],
        ),
        bug(
            "sessions-not-counted",
            Planted::SessionsNotCounted,
            Theme::Draining,
            &["drain: a session"],
        ),
        bug(
            "drains-never-end",
            Planted::DrainsNeverEnd,
            Theme::Draining,
            &["drain: a session goes on"],
        ),
        bug(
            "drain-moves-address",
            Planted::DrainMovesAddress,
            Theme::Draining,
            &["drain: node-"],
        ),
        bug(
            "wall-clock-ahead",
            Planted::WallClockAhead,
            Theme::Draining,
            &["drain: a session"],
        ),
        bug(
            "health-forgotten",
            Planted::HealthForgotten,
            Theme::KnownDown,
            &["health", "same log, same state"],
        ),
        bug(
            "snapshot-without-bindings",
            Planted::SnapshotWithoutBindings,
            Theme::Anything,
            &["what was acknowledged survives", "same log, same state"],
        ),
        bug(
            "leaves-at-first-refusal",
            Planted::LeavesAtFirstRefusal,
            Theme::Anything,
            &["turn-around"],
        ),
        bug(
            "suspicion-rebinds",
            Planted::SuspicionRebinds,
            Theme::Anything,
            &["suspicion"],
        ),
        bug(
            "dies-early",
            Planted::DiesEarly,
            Theme::Anything,
            &["affinity"],
        ),
        bug(
            "waits-for-one",
            Planted::WaitsForOne,
            Theme::Crowded,
            &["slots"],
        ),
        bug(
            "requests-forgotten",
            Planted::RequestsForgotten,
            Theme::Anything,
            &["once", "the ideal cluster"],
        ),
        bug(
            "expected-unchecked",
            Planted::ExpectedUnchecked,
            Theme::Anything,
            &["seen", "the ideal cluster"],
        ),
        bug(
            "stale-reads",
            Planted::StaleReads,
            Theme::Anything,
            &["stale read"],
        ),
        bug(
            "own-clock",
            Planted::OwnClock,
            Theme::Anything,
            &["same log, same state", "what was acknowledged survives"],
        ),
        bug(
            "writes-at-newest",
            Planted::WritesAtNewest,
            Theme::Upgrading,
            &["versions"],
        ),
        bug(
            "speaks-for-others",
            Planted::SpeaksForOthers,
            Theme::Upgrading,
            &["versions"],
        ),
        bug(
            "releases-from-anyone",
            Planted::ReleasesFromAnyone,
            Theme::Evil,
            ONE_HOLDER,
        ),
        bug(
            "clock-stops-in-pause",
            Planted::ClockStopsInPause,
            Theme::Anything,
            &["served by the holder", "one holder", "epoch grows"],
        ),
        bug(
            "drift-beyond-margin",
            Planted::DriftBeyondMargin,
            Theme::Anything,
            ONE_HOLDER,
        ),
    ];
}
