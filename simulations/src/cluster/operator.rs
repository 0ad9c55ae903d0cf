//! An operator who drains, maintains and configures while all that goes on.

use super::agent::{cluster_file, stamped};
use super::planted::Planted;
use super::scheduler::{self, WORLD};
use super::story;
use super::universe::Universe;
use ha_agent::config::parse_cluster;
use ha_core::command::{AdminOrder, AdminTarget, Command, Outcome};
use ha_core::model::{AdminState, Sticky};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// An operator who gets no answer for so long tries something else.
const PATIENCE: Duration = Duration::from_secs(2);

/// Gives orders from time to time, one after the other, until the faults are over.
pub fn start(universe: &Arc<Universe>) {
    let universe = universe.clone();
    scheduler::spawn_on(WORLD, async move {
        loop {
            scheduler::world_ms(scheduler::between(800, 4000)).await;
            let desk = universe.operators_desk.lock().await;
            if universe.is_calm() {
                return;
            }
            give_order(&universe).await;
            drop(desk);
        }
    });
}

/// Takes back what was ordered, when the run ends: everything is ready again.
pub async fn make_ready(universe: &Arc<Universe>) {
    let _desk = universe.operators_desk.lock().await;
    for node in 1..=universe.size() {
        order(universe, set_admin(universe, node, AdminState::Ready)).await;
    }
}

async fn give_order(universe: &Arc<Universe>) {
    let node = 1 + scheduler::below(universe.size() as u64) as usize;
    let command = match scheduler::below(8) {
        0 => set_admin(universe, node, AdminState::Drain),
        1 => set_admin(universe, node, AdminState::Maintenance),
        2..=5 => set_admin(universe, node, AdminState::Ready),
        _ => {
            let text = cluster_file(universe, 1 + scheduler::below(20));
            let Ok(file) = parse_cluster("cluster.toml", &text) else { return };
            Command::Configure { config: file.config, text, expect: None }
        }
    };
    order(universe, command).await;
}

fn set_admin(universe: &Universe, node: usize, state: AdminState) -> Command {
    let sticky = if scheduler::happens(500) { Sticky::Honour } else { Sticky::Move };
    let order = AdminOrder { state, sticky, deadline: None, then: None, reason: String::new() };
    Command::SetAdmin { target: AdminTarget::Node(universe.id_of(node)), order, force: false }
}

/// The answer, if it comes in time. What had not been proposed by then never is.
pub async fn within_patience<T>(asked: JoinHandle<T>) -> Option<T> {
    let abort = asked.abort_handle();
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    abort.abort();
    answer.ok()?.ok()
}

/// Gives it to whoever leads.
async fn order(universe: &Arc<Universe>, command: Command) {
    let Some((leader, running)) = universe.leader() else { return };
    let about = match &command {
        Command::SetAdmin { target: AdminTarget::Node(node), order, .. } => Some((*node, order.state)),
        _ => None,
    };
    universe.with(|s| about.iter().for_each(|(node, state)| s.invariants.orders.on_given(*node, *state)));
    let planted = universe.planted == Planted::OrderOnOneNode && about.is_some();
    let asked = scheduler::spawn_on(leader, async move {
        if planted {
            return Ok(Ok(Outcome::Done));
        }
        let stamped = stamped(&running, command);
        running.consensus.propose(stamped).await
    });
    let answer = within_patience(asked).await;
    let done = matches!(&answer, Some(Ok(Ok(_))));
    let refused = matches!(&answer, Some(Ok(Err(_))));
    let what = about.map_or_else(|| "a new configuration".to_owned(), |(_, state)| format!("{state:?}"));
    story::note(&format!("operator: {what} at node-{leader}: {}", if done { "done" } else { "refused or no answer" }));
    universe.with(|s| {
        if let Some((node, state)) = about.filter(|_| done || refused) {
            s.invariants.orders.on_answered(node, state, done);
        }
        if done {
            s.counts.add("operator's orders done");
        }
    });
}
