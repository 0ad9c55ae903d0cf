//! What goes wrong in a run, and when: drawn from the seed before it begins, so that it can be made smaller.
//!
//! Most runs have anything at random; some dwell on what chance rarely does ([`Theme`]).

use super::agent;
use super::bounds;
use super::disk::Trouble;
use super::membership;
use super::planted::Planted;
use super::scheduler::{self, WORLD};
use super::story;
use super::universe::{Service, Universe};
use ha_core::balance::mix;
use ha_core::controller::{Event, HandoverReason};
use std::sync::Arc;
use std::time::Duration;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The power of a machine goes and comes back.
    PowerLoss,
    /// `kill -9`, started again at once.
    KillAndRestart,
    /// `kill -9`, started again later.
    Kill,
    /// `SIGSTOP`, then `SIGCONT`.
    Pause,
    /// A machine hears nobody and nobody hears it.
    Cut,
    /// It hears nobody.
    Deaf,
    /// Nobody hears it.
    Mute,
    /// Two machines do not reach each other.
    CutPair,
    /// Its packets take long.
    SlowLink,
    /// Many packets are lost, everywhere.
    Loss,
    /// Cut and healed again and again.
    Flapping,
    /// Flushes take seconds.
    SlowDisk,
    /// The leader moves.
    Move,
    /// The leader moves and is cut off in the middle.
    MoveAndCut,
    /// The leader moves and is stopped in the middle.
    MoveAndPause,
    /// The leader moves and is killed in the middle.
    MoveAndKill,
    /// One after the other is killed and started.
    RollingRestart,
    /// A server refuses.
    ServerRefuses,
    /// A server hangs.
    ServerHangs,
    /// A server refuses for less than a turn-around, or a little more.
    ServerRestarts,
    /// The disk is full: what is written fails.
    DiskFull,
    /// What is read from the disk fails.
    DiskUnreadable,
    /// A machine is lost for good; another takes its name, with an empty disk and a new id.
    Replaced,
    /// The leader is cut off, and all others are killed and started while it is.
    CutAndRestartOthers,
    /// The voters shrink to one, step by step, and grow again.
    Shrink,
    /// The voters shrink to one, and the leader is cut off in the middle.
    ShrinkAndCut,
}

/// What a run dwells on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// Anything at random.
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
    /// Nothing but moves and lost leaders, in a network without trouble: the address is elsewhere within bounds.
    Quiet,
}

impl Theme {
    /// All, with their words.
    pub const ALL: [(&'static str, Theme); 7] = [
        ("anything", Theme::Anything),
        ("restart-all", Theme::RestartAll),
        ("blinks", Theme::Blinks),
        ("shrinking", Theme::Shrinking),
        ("known-down", Theme::KnownDown),
        ("draining", Theme::Draining),
        ("quiet", Theme::Quiet),
    ];

    /// What a sweep gives a seed: every second time anything.
    pub fn of(seed: u64) -> Theme {
        // The size goes with the seed itself, so that every theme meets every size.
        let turn = (seed / 5) % 12;
        if turn < 6 {
            Theme::Anything
        } else {
            Theme::ALL[turn as usize - 5].1
        }
    }

    /// Its word.
    pub fn word(self) -> &'static str {
        Theme::ALL
            .iter()
            .find(|(_, theme)| *theme == self)
            .map_or("", |(word, _)| word)
    }
}

/// Each kind: how often it is drawn, its word, and how long it lasts in milliseconds.
pub const KINDS: [(Kind, u64, &str, (u64, u64)); 26] = [
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
];

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When, in milliseconds since the cluster is complete.
    pub at: u64,
    /// What.
    pub kind: Kind,
    /// For how long, in milliseconds.
    pub lasts: u64,
    /// On which node; `None`: on the one that leads then.
    pub node: Option<usize>,
    /// How far into it its second half comes, in milliseconds; for others, how strong it is.
    pub into: u64,
}

/// The word for a kind.
pub fn word(kind: Kind) -> &'static str {
    KINDS
        .iter()
        .find(|(k, ..)| *k == kind)
        .map_or("", |(_, _, word, _)| word)
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
    faults
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
        Theme::Anything => {
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

fn anything(dice: &mut Dice, nodes: usize, at: u64) -> Fault {
    let total: u64 = KINDS.iter().map(|(_, weight, ..)| weight).sum();
    let mut left = dice.next(total);
    let drawn = KINDS.iter().find(|(_, weight, ..)| {
        let here = left < *weight;
        left = left.saturating_sub(*weight);
        here
    });
    // What is drawn is below the sum of the weights, so one of them has it.
    let (kind, _, _, (from, to)) = *drawn.unwrap_or(&KINDS[0]);
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

/// The longest fault is far shorter; joins and replacements take what elections take.
const OVER_WITHIN: Duration = Duration::from_secs(90);

/// Lets it all happen; returns when the last fault is over and everything runs.
pub async fn carry_out(universe: &Arc<Universe>, faults: &[Fault]) {
    let mut under_way = Vec::new();
    let mut now = 0;
    for fault in faults {
        scheduler::world_ms(fault.at - now).await;
        now = fault.at;
        let (universe, fault) = (universe.clone(), *fault);
        under_way.push(scheduler::spawn_on(WORLD, async move {
            happen(&universe, fault).await
        }));
    }
    let all_over = async {
        for fault in under_way {
            fault.await.ok();
        }
    };
    if tokio::time::timeout(OVER_WITHIN, all_over).await.is_err() {
        universe.with(|s| s.check(Err(format!("liveness: what was begun (a join, a replacement) has not ended within {OVER_WITHIN:?}"))));
    }
    universe.calm_down();
    heal(universe);
}

/// Nothing is wrong any more.
fn heal(universe: &Arc<Universe>) {
    universe.with(|s| {
        s.network.cut.clear();
        s.network.slow.clear();
        s.network.loss = universe.usual_loss();
        for node in 0..s.nodes.len() {
            s.serve(node, Service::Up);
            s.nodes[node].disk.slow_down(Duration::ZERO);
            s.nodes[node].disk.break_down(None);
        }
    });
    for node in 1..=universe.size() {
        scheduler::resume(node);
        agent::start(universe, node, false);
    }
    story::note("all faults are over");
}

async fn happen(universe: &Arc<Universe>, fault: Fault) {
    let Some(node) = fault.node.or_else(|| universe.leader().map(|(n, _)| n)) else {
        return;
    };
    let name = word(fault.kind);
    story::note(&format!("FAULT {name}, node-{node}, {} ms", fault.lasts));
    universe.with(|s| s.counts.add(name));
    let lasts = || scheduler::world_ms(fault.lasts);
    match fault.kind {
        Kind::PowerLoss => {
            bounds::watch(universe, node, bounds::LOST);
            universe.lose_power(node);
            lasts().await;
            agent::start(universe, node, false);
        }
        Kind::KillAndRestart | Kind::Kill => kill(universe, node, fault.lasts).await,
        Kind::Pause => pause(universe, node, fault.lasts).await,
        Kind::Cut => cut(universe, &links(universe, node, true, true), fault.lasts).await,
        Kind::Deaf => cut(universe, &links(universe, node, true, false), fault.lasts).await,
        Kind::Mute => cut(universe, &links(universe, node, false, true), fault.lasts).await,
        Kind::CutPair => {
            let other = 1 + (node + fault.into as usize) % universe.size();
            cut(universe, &[(node, other), (other, node)], fault.lasts).await;
        }
        Kind::SlowLink => {
            let by = Duration::from_millis(20 + fault.into * 5);
            let slow = links(universe, node, true, true);
            universe.with(|s| s.network.slow.extend(slow.iter().map(|l| (*l, by))));
            lasts().await;
            universe.with(|s| s.network.slow.retain(|l, _| !slow.contains(l)));
        }
        Kind::Loss => {
            universe.with(|s| s.network.loss = 50 + fault.into * 5);
            lasts().await;
            universe.with(|s| s.network.loss = universe.usual_loss());
        }
        Kind::Flapping => {
            for _ in 0..8 {
                cut(
                    universe,
                    &links(universe, node, true, true),
                    fault.lasts / 16,
                )
                .await;
                scheduler::world_ms(fault.lasts / 16).await;
            }
        }
        Kind::SlowDisk => {
            let disk = universe.with(|s| s.nodes[node].disk.clone());
            disk.slow_down(Duration::from_millis(50 + fault.into * 40));
            lasts().await;
            disk.slow_down(Duration::ZERO);
        }
        Kind::DiskFull | Kind::DiskUnreadable => {
            let disk = universe.with(|s| s.nodes[node].disk.clone());
            disk.break_down(Some(if fault.kind == Kind::DiskFull {
                Trouble::Full
            } else {
                Trouble::Unreadable
            }));
            lasts().await;
            disk.break_down(None);
        }
        Kind::Replaced => membership::replace(universe, node, fault.lasts).await,
        Kind::CutAndRestartOthers => cut_and_restart_others(universe, node, fault).await,
        Kind::Shrink => membership::shrink(universe, node, fault.lasts).await,
        Kind::ShrinkAndCut => {
            let Some((leader, _)) = universe.leader() else {
                return;
            };
            let links = links(universe, leader, true, true);
            let cutting = async {
                scheduler::world_ms(fault.into).await;
                cut(universe, &links, fault.lasts).await;
            };
            tokio::join!(membership::shrink(universe, node, fault.lasts), cutting);
        }
        Kind::Move | Kind::MoveAndCut | Kind::MoveAndPause | Kind::MoveAndKill => {
            move_away(universe, fault).await
        }
        Kind::RollingRestart => {
            for node in 1..=universe.size() {
                kill(universe, node, 100).await;
                scheduler::world_ms(fault.lasts / universe.size() as u64).await;
            }
        }
        Kind::ServerRefuses | Kind::ServerHangs | Kind::ServerRestarts => {
            let hangs = fault.kind == Kind::ServerHangs;
            let service = [Service::Refusing, Service::Hanging][usize::from(hangs)];
            universe.with(|s| s.serve(node, service));
            lasts().await;
            universe.with(|s| s.serve(node, Service::Up));
        }
    }
}

async fn kill(universe: &Arc<Universe>, node: usize, lasts: u64) {
    universe.kill(node);
    scheduler::world_ms(lasts).await;
    agent::start(universe, node, false);
}

async fn pause(universe: &Universe, node: usize, lasts: u64) {
    scheduler::pause(node, universe.planted != Planted::ClockStopsInPause);
    scheduler::world_ms(lasts).await;
    scheduler::resume(node);
}

fn links(universe: &Universe, node: usize, inward: bool, outward: bool) -> Vec<(usize, usize)> {
    let others = (1..=universe.size()).filter(|o| *o != node);
    others
        .flat_map(|o| [inward.then_some((o, node)), outward.then_some((node, o))])
        .flatten()
        .collect()
}

async fn cut(universe: &Universe, links: &[(usize, usize)], lasts: u64) {
    universe.with(|s| s.network.cut.extend(links));
    scheduler::world_ms(lasts).await;
    universe.with(|s| s.network.cut.retain(|l| !links.contains(l)));
}

/// Node `leader` is cut off; whoever may have promised itself to it is killed meanwhile and starts at once.
async fn cut_and_restart_others(universe: &Arc<Universe>, leader: usize, fault: Fault) {
    let links = links(universe, leader, true, true);
    let restarting = async {
        scheduler::world_ms(fault.into).await;
        for other in (1..=universe.size()).filter(|n| *n != leader) {
            universe.kill(other);
            agent::start(universe, other, false);
        }
    };
    tokio::join!(
        cut(universe, &links, fault.lasts.max(fault.into)),
        restarting
    );
}

/// The leader hands over; what else happens to it comes in the middle of that.
async fn move_away(universe: &Arc<Universe>, fault: Fault) {
    let Some((leader, running)) = universe.leader() else {
        return;
    };
    bounds::watch(universe, leader, bounds::MOVED);
    running.driver.tell(Event::MoveLeader {
        to: None,
        reason: HandoverReason::Operator("the plan".to_owned()),
    });
    scheduler::world_ms(fault.into).await;
    match fault.kind {
        Kind::MoveAndCut => cut(universe, &links(universe, leader, true, true), fault.lasts).await,
        Kind::MoveAndPause => pause(universe, leader, fault.lasts).await,
        Kind::MoveAndKill => kill(universe, leader, fault.lasts).await,
        _ => scheduler::world_ms(fault.lasts).await,
    }
}
