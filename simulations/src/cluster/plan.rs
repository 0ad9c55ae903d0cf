//! What goes wrong in a run, and when: drawn from the seed before it begins, so that it can be made smaller.

use super::agent;
use super::network::LOSS;
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
}

/// Each kind: how often it is drawn, its word, and how long it lasts in milliseconds.
pub const KINDS: [(Kind, u64, &str, (u64, u64)); 19] = [
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
    /// How far into the move its second half comes, in milliseconds.
    pub into: u64,
}

/// The word for a kind.
pub fn word(kind: Kind) -> &'static str {
    KINDS.iter().find(|(k, ..)| *k == kind).map_or("", |(_, _, word, _)| word)
}

/// Draws the faults of a run of so many milliseconds.
pub fn draw(seed: u64, nodes: usize, length: u64) -> Vec<Fault> {
    let mut state = mix(seed ^ 0x706c_616e);
    let mut next = |bound: u64| {
        state = mix(state);
        state % bound.max(1)
    };
    let total: u64 = KINDS.iter().map(|(_, weight, ..)| weight).sum();
    let (mut faults, mut at) = (Vec::new(), 500);
    loop {
        let mut left = next(total);
        let chosen = KINDS.iter().find(|(_, weight, ..)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        let Some((kind, _, _, (from, to))) = chosen.copied() else { continue };
        let lasts = from + next(to - from);
        // Half of them hit who leads; the others anybody.
        let node = (next(2) == 0).then(|| 1 + next(nodes as u64) as usize);
        if at + lasts > length {
            return faults;
        }
        faults.push(Fault { at, kind, lasts, node, into: next(60) });
        // One in four begins while the one before goes on.
        at += if next(4) == 0 { next(300) } else { lasts + 200 + next(1200) };
    }
}

/// Lets it all happen; returns when the last fault is over and everything runs.
pub async fn carry_out(universe: &Arc<Universe>, faults: &[Fault]) {
    let mut under_way = Vec::new();
    let mut now = 0;
    for fault in faults {
        scheduler::world_ms(fault.at - now).await;
        now = fault.at;
        let (universe, fault) = (universe.clone(), *fault);
        under_way.push(scheduler::spawn_on(WORLD, async move { happen(&universe, fault).await }));
    }
    for fault in under_way {
        fault.await.ok();
    }
    heal(universe);
}

/// Nothing is wrong any more.
fn heal(universe: &Arc<Universe>) {
    universe.with(|s| {
        s.network.cut.clear();
        s.network.slow.clear();
        s.network.loss = LOSS;
        for node in &mut s.nodes {
            node.service = Service::Up;
            node.disk.slow_down(Duration::ZERO);
        }
    });
    for node in 1..=universe.size() {
        scheduler::resume(node);
        agent::start(universe, node, false);
    }
    story::note("all faults are over");
}

async fn happen(universe: &Arc<Universe>, fault: Fault) {
    let Some(node) = fault.node.or_else(|| universe.leader().map(|(n, _)| n)) else { return };
    let name = word(fault.kind);
    story::note(&format!("FAULT {name}, node-{node}, {} ms", fault.lasts));
    universe.with(|s| s.counts.add(name));
    let lasts = || scheduler::world_ms(fault.lasts);
    match fault.kind {
        Kind::PowerLoss => {
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
            universe.with(|s| s.network.loss = LOSS);
        }
        Kind::Flapping => {
            for _ in 0..8 {
                cut(universe, &links(universe, node, true, true), fault.lasts / 16).await;
                scheduler::world_ms(fault.lasts / 16).await;
            }
        }
        Kind::SlowDisk => {
            let disk = universe.with(|s| s.nodes[node].disk.clone());
            disk.slow_down(Duration::from_millis(50 + fault.into * 40));
            lasts().await;
            disk.slow_down(Duration::ZERO);
        }
        Kind::Move | Kind::MoveAndCut | Kind::MoveAndPause | Kind::MoveAndKill => move_away(universe, fault).await,
        Kind::RollingRestart => {
            for node in 1..=universe.size() {
                kill(universe, node, 100).await;
                scheduler::world_ms(fault.lasts / universe.size() as u64).await;
            }
        }
        Kind::ServerRefuses | Kind::ServerHangs => {
            universe.with(|s| s.nodes[node].service = if fault.kind == Kind::ServerHangs { Service::Hanging } else { Service::Refusing });
            lasts().await;
            universe.with(|s| s.nodes[node].service = Service::Up);
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
    others.flat_map(|o| [inward.then_some((o, node)), outward.then_some((node, o))]).flatten().collect()
}

async fn cut(universe: &Universe, links: &[(usize, usize)], lasts: u64) {
    universe.with(|s| s.network.cut.extend(links));
    scheduler::world_ms(lasts).await;
    universe.with(|s| s.network.cut.retain(|l| !links.contains(l)));
}

/// The leader hands over; what else happens to it comes in the middle of that.
async fn move_away(universe: &Arc<Universe>, fault: Fault) {
    let Some((leader, running)) = universe.leader() else { return };
    running.driver.tell(Event::MoveLeader { to: None, reason: HandoverReason::Operator("the plan".to_owned()) });
    scheduler::world_ms(fault.into).await;
    match fault.kind {
        Kind::MoveAndCut => cut(universe, &links(universe, leader, true, true), fault.lasts).await,
        Kind::MoveAndPause => pause(universe, leader, fault.lasts).await,
        Kind::MoveAndKill => kill(universe, leader, fault.lasts).await,
        _ => scheduler::world_ms(fault.lasts).await,
    }
}
