//! What can go wrong in a run, and what operators do: how often, and for how long.

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The power of a machine goes and comes back.
    PowerLoss,
    /// `kill -9`, started again at once.
    KillAndRestart,
    /// `kill -9`, started again later.
    Kill,
    /// The process stands still, as between `SIGSTOP` and `SIGCONT`.
    Pause,
    /// A machine hears nobody and nobody hears it.
    Cut,
    Deaf,
    Mute,
    /// Two machines do not reach each other.
    CutPair,
    /// Its packets take long.
    SlowLink,
    /// Many packets are lost, everywhere.
    Loss,
    /// Cut and healed again and again.
    Flapping,
    SlowDisk,
    Move,
    /// The leader moves and is cut off in the middle.
    MoveAndCut,
    /// The leader moves and is stopped in the middle.
    MoveAndPause,
    /// The leader moves and is killed in the middle.
    MoveAndKill,
    /// One after the other is killed and started.
    RollingRestart,
    ServerRefuses,
    ServerHangs,
    /// A server refuses for less than a turn-around, or a little more.
    ServerRestarts,
    /// The disk is full: what is written fails.
    DiskFull,
    /// What is read from the disk fails.
    DiskUnreadable,
    /// The driver cannot keep up: its inbox is full.
    InboxFull,
    /// A machine is lost for good; another takes its name, with an empty disk and a new id.
    Replaced,
    /// The leader is cut off, and all others are killed and started while it is.
    CutAndRestartOthers,
    /// The voters shrink to one, step by step, and grow again.
    Shrink,
    /// The voters shrink to one, and the leader is cut off in the middle.
    ShrinkAndCut,
    /// A node is upgraded to the next version.
    Upgrade,
    /// One after the other is.
    UpgradeAll,
    /// A node goes back to the version before.
    Downgrade,
}

/// Each kind: how often it is drawn, its word, and how long it lasts in milliseconds.
pub const KINDS: [(Kind, u64, &str, (u64, u64)); 30] = [
    (Kind::PowerLoss, 6, "power loss", (300, 3000)),
    (Kind::KillAndRestart, 6, "kill and restart at once", (1, 2)),
    (Kind::Kill, 6, "kill", (300, 3000)),
    (Kind::Pause, 8, "pause", (50, 2500)),
    (Kind::Cut, 8, "cut", (100, 2500)),
    (Kind::Deaf, 5, "deaf", (100, 2500)),
    (Kind::Mute, 5, "mute", (100, 2500)),
    (Kind::CutPair, 5, "cut of a pair", (100, 2500)),
    (Kind::SlowLink, 4, "slow link", (500, 2500)),
    (Kind::Loss, 3, "loss", (500, 2500)),
    (Kind::Flapping, 3, "flapping", (800, 2500)),
    (Kind::SlowDisk, 4, "slow disk", (500, 3000)),
    (Kind::Move, 5, "move", (200, 600)),
    (Kind::MoveAndCut, 5, "move and cut", (100, 1500)),
    (Kind::MoveAndPause, 5, "move and pause", (50, 1500)),
    (Kind::MoveAndKill, 4, "move and kill", (100, 1500)),
    (Kind::RollingRestart, 1, "rolling restart", (3000, 5000)),
    (Kind::ServerRefuses, 3, "server refuses", (500, 6000)),
    (Kind::ServerHangs, 3, "server hangs", (500, 6000)),
    (Kind::ServerRestarts, 4, "server restarts", (50, 1300)),
    (Kind::DiskFull, 2, "disk full", (300, 3000)),
    (Kind::DiskUnreadable, 2, "disk unreadable", (300, 3000)),
    (Kind::Replaced, 2, "replaced", (500, 2000)),
    (
        Kind::CutAndRestartOthers,
        2,
        "cut and restart of the others",
        (250, 900),
    ),
    (Kind::Shrink, 1, "shrink", (500, 1500)),
    (Kind::ShrinkAndCut, 1, "shrink and cut", (300, 1500)),
    // Drawn apart, see `overflows`.
    (Kind::InboxFull, 0, "inbox full", (50, 1500)),
    // Drawn by a theme of their own only.
    (Kind::Upgrade, 0, "upgrade", (100, 600)),
    (Kind::UpgradeAll, 0, "upgrade of all", (2000, 5000)),
    (Kind::Downgrade, 0, "downgrade", (500, 2500)),
];

/// The word for a kind.
pub fn word(kind: Kind) -> &'static str {
    KINDS
        .iter()
        .find(|(k, ..)| *k == kind)
        .map_or("", |(_, _, word, _)| word)
}
