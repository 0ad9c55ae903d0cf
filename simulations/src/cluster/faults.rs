//! Carries out what was drawn, and mends everything at the end.

use super::agent;
use super::bounds;
use super::disk::Trouble;
use super::machine::Service;
use super::membership;
use super::plan::{Fault, Kind, word};
use super::planted::Planted;
use super::scheduler::{self, WORLD};
use super::story;
use super::universe::Universe;
use super::upgrade::{self, NEW, OLD};
use ha_core::controller::{Event, HandoverReason};
use std::sync::Arc;
use std::time::Duration;

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
            s.nodes[node].inbox_full = false;
        }
    });
    for node in 1..=universe.size() {
        scheduler::resume(node);
        upgrade::complete(universe, node);
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
        Kind::InboxFull => {
            universe.with(|s| s.nodes[node].inbox_full = true);
            lasts().await;
            universe.with(|s| s.nodes[node].inbox_full = false);
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
        Kind::Upgrade => upgrade::replace(universe, node, NEW, fault.lasts).await,
        Kind::UpgradeAll => upgrade::replace_all(universe, fault.lasts).await,
        Kind::Downgrade => upgrade::replace(universe, node, OLD, fault.lasts).await,
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
    bounds::move_asked(universe, leader);
    let order = Event::MoveLeader {
        to: None,
        reason: HandoverReason::Operator("the plan".to_owned()),
    };
    running.driver.order(order).await;
    scheduler::world_ms(fault.into).await;
    match fault.kind {
        Kind::MoveAndCut => cut(universe, &links(universe, leader, true, true), fault.lasts).await,
        Kind::MoveAndPause => pause(universe, leader, fault.lasts).await,
        Kind::MoveAndKill => kill(universe, leader, fault.lasts).await,
        _ => scheduler::world_ms(fault.lasts).await,
    }
}
