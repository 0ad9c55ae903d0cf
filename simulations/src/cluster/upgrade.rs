//! Programs of two versions on the nodes of one cluster: upgrades, and the way back while there is one.

use super::agent;
use super::plan::Theme;
use super::scheduler::{self, WORLD};
use super::story;
use super::universe::Universe;
use ha_core::version::{RecordVersion, Speaks};
use std::sync::Arc;
use std::time::Duration;

/// What the program speaks that nodes begin with.
pub const OLD: Speaks = Speaks {
    min: RecordVersion(1),
    max: RecordVersion(1),
};
/// What the program speaks to which nodes are upgraded.
pub const NEW: Speaks = Speaks {
    min: RecordVersion(1),
    max: RecordVersion(2),
};
/// Runs are short: so is the time after which a version that all speak becomes active.
pub const ACTIVATE_AFTER: Duration = Duration::from_secs(2);

/// Between two looks at the machines, in milliseconds.
const LOOKS_EVERY: u64 = 1500;

/// Another program takes the place of that of a node, and is started after so many milliseconds.
pub async fn replace(universe: &Arc<Universe>, node: usize, program: Speaks, lasts: u64) {
    universe.kill(node);
    universe.with(|s| s.nodes[node].program = program);
    story::note(&format!("node-{node} speaks {program} now"));
    scheduler::world_ms(lasts).await;
    agent::start(universe, node, false);
}

/// One node after the other is upgraded, in so many milliseconds.
pub async fn replace_all(universe: &Arc<Universe>, lasts: u64) {
    for node in 1..=universe.size() {
        replace(universe, node, NEW, 100).await;
        scheduler::world_ms(lasts / universe.size() as u64).await;
    }
}

/// Whoever looks after the machines sees a program that is too old for its cluster, and upgrades it.
pub fn look_after(universe: &Arc<Universe>) {
    let universe = universe.clone();
    scheduler::spawn_on(WORLD, async move {
        let mut seen = vec![0; universe.size()];
        loop {
            scheduler::world_ms(LOOKS_EVERY).await;
            for (node, seen) in (1..).zip(&mut seen) {
                let is_too_old = universe.with(|s| {
                    let (n, newest) = (&s.nodes[node], s.invariants.versions.newest());
                    n.powered && !n.program.contains(newest)
                });
                *seen = if is_too_old { *seen + 1 } else { 0 };
                // At the second look it has been started, and was refused.
                if *seen > 1 {
                    replace(&universe, node, NEW, 100).await;
                }
            }
        }
    });
}

/// At the end every node has what the cluster may need.
pub fn complete(universe: &Arc<Universe>, node: usize) {
    let is_old = universe.with(|s| s.nodes[node].program == OLD);
    if universe.theme == Theme::Upgrading && is_old {
        universe.kill(node);
        universe.with(|s| s.nodes[node].program = NEW);
    }
}

/// What the next version has is proposed all the time: it is done once that is active, and not before.
#[cfg(feature = "next")]
pub fn rehearse(universe: &Arc<Universe>) {
    use ha_core::command::Command;
    use ha_node::consensus::ProposeError;
    let universe = universe.clone();
    scheduler::spawn_on(WORLD, async move {
        for turn in 0u32.. {
            scheduler::world_ms(700).await;
            let Some((at, leader)) = universe.leader() else {
                continue;
            };
            let text = format!("turn {turn}");
            let proposed = agent::stamped(&leader, Command::Rehearse { text });
            let (before, whole) = (leader.consensus.versions().writes(), universe.clone());
            scheduler::spawn_on(at, async move {
                let answer = leader.consensus.propose(proposed).await;
                let after = leader.consensus.versions().writes();
                whole.with(|s| match answer {
                    Ok(_) if after < NEW.max => s.check(Err(format!(
                        "versions: node-{at} wrote what version {before} does not have"
                    ))),
                    Ok(_) => s.counts.add("rehearsals"),
                    Err(ProposeError::NotYet(_)) if before >= NEW.max => s.check(Err(format!(
                        "versions: node-{at} did not write what version {before} has"
                    ))),
                    Err(_) => {}
                });
            });
        }
    });
}
