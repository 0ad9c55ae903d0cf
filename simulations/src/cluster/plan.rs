//! What goes wrong in a run, and when: drawn from the seed before it begins, so that it can be made smaller.
//!
//! Most runs have anything at random; some dwell on what chance rarely does ([`Theme`]).

mod evil;

pub use super::kinds::{KINDS, Kind, word};

use ha_core::balance::mix;

/// What a run dwells on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    #[default]
    Anything,
    /// All voters but a cut off leader restart and have forgotten whom they promised.
    RestartAll,
    /// The leader goes unseen for a tenth to half a second, or its packets are late and then cut off:
    /// promises end and votes begin in the same instant.
    Blinks,
    /// The membership shrinks to one voter, now and then with the leader cut off.
    Shrinking,
    /// A server is down for long and known to be, and the leader moves.
    KnownDown,
    /// Nodes are drained, most with a deadline, and now and then the leader moves.
    Draining,
    /// Nodes go from one version to the next and back, among everything else: programs of both are there.
    Upgrading,
    /// Voters lose their vote soon after they fall silent: one machine is lost after the other, down to one that votes
    /// alone, and all come back in any order; the vote moves, and is cut off in the middle.
    LastOfThree,
    /// One member says whatever can be said (`evil`), while the leader moves, is lost and goes unseen; at the end that
    /// member is replaced, or falls silent.
    Evil,
    /// Nothing but moves and lost leaders, in a network without trouble: the address is elsewhere within bounds.
    Quiet,
    /// Servers have few slots, sessions last and clients wait in line, among everything else.
    Crowded,
}

impl Theme {
    /// All, with their words.
    pub const ALL: [(&'static str, Theme); 11] = [
        ("anything", Theme::Anything),
        ("restart-all", Theme::RestartAll),
        ("blinks", Theme::Blinks),
        ("shrinking", Theme::Shrinking),
        ("known-down", Theme::KnownDown),
        ("draining", Theme::Draining),
        ("quiet", Theme::Quiet),
        ("upgrading", Theme::Upgrading),
        ("last-of-three", Theme::LastOfThree),
        ("evil", Theme::Evil),
        ("crowded", Theme::Crowded),
    ];

    /// What a sweep gives a seed: a third of them anything.
    pub fn of(seed: u64) -> Theme {
        // The size goes with the seed itself, so that every theme meets every size.
        let turn = (seed / 5) % 12;
        if turn == 3 {
            Theme::Upgrading
        } else if turn == 4 {
            Theme::Crowded
        } else if turn == 5 {
            Theme::LastOfThree
        } else if turn < 6 {
            Theme::Anything
        } else {
            Theme::ALL[turn as usize - 5].1
        }
    }

    pub fn word(self) -> &'static str {
        Theme::ALL
            .iter()
            .find(|(_, theme)| *theme == self)
            .map_or("", |(word, _)| word)
    }
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When, in milliseconds since the cluster is complete.
    pub at: u64,
    pub kind: Kind,
    /// For how long, in milliseconds.
    pub lasts: u64,
    /// On which node; `None`: on the one that leads then.
    pub node: Option<usize>,
    /// How far into it its second half comes, in milliseconds; for others, how strong it is.
    pub into: u64,
}

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self, bound: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % bound.max(1)
    }

    fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.next(to - from)
    }
}

/// Draws the faults of a run of so many milliseconds.
pub fn draw(seed: u64, nodes: usize, length: u64, theme: Theme) -> Vec<Fault> {
    let mut dice = Dice(mix(seed ^ 0x706c_616e));
    let (mut faults, mut at) = (Vec::new(), 500);
    while let Some((together, pause)) = next_of(theme, &mut dice, nodes, at) {
        let end = together.iter().map(|f| f.at + f.lasts).max().unwrap_or(at);
        if end > length {
            break;
        }
        at = pause;
        faults.extend(together);
    }
    if theme == Theme::Evil {
        faults.extend(evil::last(&mut dice, nodes, length));
    }
    if theme == Theme::Anything {
        faults.extend(overflows(seed, nodes, length));
        faults.sort_by_key(|f| f.at);
    }
    faults
}

/// In every third run some drivers cannot keep up now and then, whatever else goes wrong. Drawn with dice of its own, so
/// that the other faults of a seed stay what they are.
fn overflows(seed: u64, nodes: usize, length: u64) -> Vec<Fault> {
    let mut dice = Dice(mix(seed ^ 0x0069_6e62_6f78));
    if dice.next(3) != 0 {
        return Vec::new();
    }
    let (mut faults, mut at) = (Vec::new(), 500);
    loop {
        at += dice.between(1000, 6000);
        let fault = Fault {
            at,
            kind: Kind::InboxFull,
            lasts: dice.between(50, 1500),
            node: (dice.next(2) == 0).then(|| 1 + dice.next(nodes as u64) as usize),
            into: 0,
        };
        if fault.at + fault.lasts > length {
            return faults;
        }
        faults.push(fault);
    }
}

/// The next faults of a theme from `at` on, and from when on the ones after them may come.
fn next_of(theme: Theme, dice: &mut Dice, nodes: usize, at: u64) -> Option<(Vec<Fault>, u64)> {
    let leader = |kind, at, lasts, into| Fault {
        at,
        kind,
        lasts,
        node: None,
        into,
    };
    match theme {
        Theme::Anything | Theme::Crowded => {
            let fault = anything(dice, nodes, at);
            // One in four begins while the one before goes on.
            let pause = if dice.next(4) == 0 {
                dice.next(300)
            } else {
                fault.lasts + 200 + dice.next(1200)
            };
            Some((vec![fault], at + pause))
        }
        Theme::RestartAll => {
            let fault = leader(
                Kind::CutAndRestartOthers,
                at,
                dice.between(250, 900),
                dice.next(200),
            );
            Some((vec![fault], at + fault.lasts + dice.between(1500, 3000)))
        }
        Theme::Blinks => {
            let lasts = dice.between(100, 500);
            let faults = match dice.next(6) {
                0 => vec![leader(Kind::Pause, at, lasts, 0)],
                1 => vec![leader(Kind::Deaf, at, lasts, 0)],
                2 => vec![leader(Kind::Mute, at, lasts, 0)],
                3 => vec![leader(Kind::Cut, at, lasts, 0)],
                _ => vec![
                    leader(Kind::SlowLink, at, 1500, dice.between(14, 28)),
                    leader(Kind::Cut, at + dice.between(400, 1200), 700, 0),
                ],
            };
            Some((faults, at + dice.between(1500, 3000)))
        }
        Theme::Shrinking => {
            let kind = if dice.next(3) == 0 {
                Kind::Shrink
            } else {
                Kind::ShrinkAndCut
            };
            let keep = 1 + dice.next(nodes as u64) as usize;
            let fault = Fault {
                at,
                kind,
                lasts: dice.between(300, 1500),
                node: (dice.next(2) == 0).then_some(keep),
                into: dice.next(60),
            };
            Some((vec![fault], at + fault.lasts + dice.between(3000, 5000)))
        }
        Theme::KnownDown => {
            let kind = if dice.next(2) == 0 {
                Kind::ServerRefuses
            } else {
                Kind::ServerHangs
            };
            let node = Some(1 + dice.next(nodes as u64) as usize);
            let down = Fault {
                at,
                kind,
                lasts: 16_000,
                node,
                into: 0,
            };
            let moves = [10_000, 12_500].map(|later| leader(Kind::Move, at + later, 300, 0));
            Some((std::iter::once(down).chain(moves).collect(), at + 19_000))
        }
        Theme::Draining => Some((
            vec![leader(Kind::Move, at, 300, 0)],
            at + dice.between(8000, 14_000),
        )),
        Theme::Upgrading => {
            let kind = match dice.next(8) {
                0 | 1 => Kind::Upgrade,
                2 => Kind::UpgradeAll,
                3 => Kind::Downgrade,
                4 => Kind::ShrinkAndCut,
                _ => {
                    let fault = anything(dice, nodes, at);
                    return Some((vec![fault], at + fault.lasts + dice.between(200, 1500)));
                }
            };
            let fault = fault_of(dice, kind, nodes, at);
            Some((vec![fault], at + fault.lasts + dice.between(500, 3000)))
        }
        Theme::LastOfThree => Some(one_after_the_other(dice, nodes, at)),
        Theme::Evil => Some(evil::next(dice, at)),
        Theme::Quiet => {
            let kind = if dice.next(2) == 0 {
                Kind::Move
            } else {
                Kind::PowerLoss
            };
            Some((
                vec![leader(kind, at, dice.between(1000, 1500), 0)],
                at + 5000 + dice.next(500),
            ))
        }
    }
}

/// One machine is lost for longer than a voter keeps its vote; meanwhile, or after that, something else.
fn one_after_the_other(dice: &mut Dice, nodes: usize, at: u64) -> (Vec<Fault>, u64) {
    let first = 1 + dice.next(nodes as u64) as usize;
    let kinds = [
        Kind::PowerLoss,
        Kind::Kill,
        Kind::Cut,
        Kind::Mute,
        Kind::Pause,
    ];
    let lost = Fault {
        at,
        kind: kinds[dice.next(5) as usize],
        lasts: dice.between(1500, 6000),
        node: Some(first),
        into: 0,
    };
    let second = match dice.next(9) {
        0 => Kind::PowerLoss,
        1 => Kind::Kill,
        2 => Kind::Cut,
        3 => Kind::Move,
        4 => Kind::MoveAndCut,
        5 => Kind::MoveAndKill,
        6 => Kind::MoveAndPause,
        7 => Kind::CutPair,
        _ => return (vec![lost], at + lost.lasts + dice.between(200, 4000)),
    };
    let second = Fault {
        at: at + dice.between(200, lost.lasts + 1500),
        lasts: dice.between(300, 5000),
        ..fault_of(dice, second, nodes, at)
    };
    let over = (lost.at + lost.lasts).max(second.at + second.lasts);
    (vec![lost, second], over + dice.between(200, 4000))
}

fn anything(dice: &mut Dice, nodes: usize, at: u64) -> Fault {
    let total: u64 = KINDS.iter().map(|(_, weight, ..)| weight).sum();
    let mut left = dice.next(total);
    let drawn = KINDS.iter().find(|(_, weight, ..)| {
        let here = left < *weight;
        left = left.saturating_sub(*weight);
        here
    });
    // What is drawn is below the sum of the weights, so one of them has it.
    fault_of(dice, drawn.unwrap_or(&KINDS[0]).0, nodes, at)
}

fn fault_of(dice: &mut Dice, kind: Kind, nodes: usize, at: u64) -> Fault {
    let (from, to) = KINDS
        .iter()
        .find(|(k, ..)| *k == kind)
        .map_or((0, 1), |(.., lasts)| *lasts);
    let lasts = dice.between(from, to);
    // Half of them hit who leads; the others anybody.
    let node = (dice.next(2) == 0).then(|| 1 + dice.next(nodes as u64) as usize);
    Fault {
        at,
        kind,
        lasts,
        node,
        into: dice.next(60),
    }
}
