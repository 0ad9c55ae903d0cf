//! An operator who drains, maintains and configures while all that goes on.

use super::agent::stamped;
use super::configuration;
use super::invariants::ideal::{RegisterKey, Value};
use super::machine::Running;
use super::plan::Theme;
use super::planted::Planted;
use super::scheduler::{self, WORLD, world_now};
use super::story;
use super::universe::Universe;
use super::world::wall_of;
use ha_core::command::{AdminOrder, AdminTarget, Answer, Command, Outcome};
use ha_core::controller::{Event, HandoverReason};
use ha_core::model::{AdminState, Sticky};
use ha_core::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// An operator who gets no answer for so long tries something else.
const PATIENCE: Duration = Duration::from_secs(2);

/// Gives orders from time to time, one after the other, until the faults are over.
pub fn start(universe: &Arc<Universe>) {
    let universe = universe.clone();
    let drains = universe.theme == Theme::Draining;
    scheduler::spawn_on(WORLD, async move {
        loop {
            scheduler::world_ms(if drains {
                scheduler::between(1000, 9000)
            } else {
                scheduler::between(800, 4000)
            })
            .await;
            let desk = universe.operators_desk.lock().await;
            if universe.is_calm() {
                return;
            }
            give_order(&universe).await;
            drop(desk);
        }
    });
}

/// Takes back what was ordered, when the run ends: everything is ready again. `false`: not every order was answered.
pub async fn make_ready(universe: &Arc<Universe>) -> bool {
    let _desk = universe.operators_desk.lock().await;
    let mut answered = true;
    for node in 1..=universe.size() {
        answered &= order(universe, set_admin(universe, node, AdminState::Ready)).await;
    }
    answered
}

async fn give_order(universe: &Arc<Universe>) {
    let node = 1 + scheduler::below(universe.size() as u64) as usize;
    let what = if universe.theme == Theme::Draining {
        [0, 0, 0, 2][scheduler::below(4) as usize]
    } else {
        scheduler::below(8)
    };
    let command = match what {
        0 => set_admin(universe, node, AdminState::Drain),
        1 => set_admin(universe, node, AdminState::Maintenance),
        2..=5 => set_admin(universe, node, AdminState::Ready),
        _ => {
            let (config, text) = configuration::of(universe, 1 + scheduler::below(20));
            Command::Configure {
                config,
                text,
                expect: None,
            }
        }
    };
    order(universe, command).await;
}

fn set_admin(universe: &Universe, node: usize, state: AdminState) -> Command {
    let sticky = if scheduler::happens(500) {
        Sticky::Honour
    } else {
        Sticky::Move
    };
    let drains = state == AdminState::Drain;
    let deadline = (drains && scheduler::happens(500))
        .then(|| Timestamp(wall_of(WORLD).0 + scheduler::between(1000, 6000)));
    let then = (drains && scheduler::happens(500)).then_some(AdminState::Maintenance);
    let order = AdminOrder {
        state,
        sticky,
        deadline,
        then,
        reason: String::new(),
        ..AdminOrder::default()
    };
    Command::SetAdmin {
        target: AdminTarget::Node(universe.id_of(node)),
        order,
        force: node.is_multiple_of(2),
    }
}

/// The answer, if it comes in time. What had not been proposed by then never is.
pub async fn within_patience<T>(asked: JoinHandle<T>) -> Option<T> {
    let abort = asked.abort_handle();
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    abort.abort();
    answer.ok()?.ok()
}

/// Gives it to whoever leads.
/// Whether it was answered.
async fn order(universe: &Arc<Universe>, command: Command) -> bool {
    let Some((leader, running)) = universe.leader() else {
        return false;
    };
    let (subject, value) = match &command {
        Command::SetAdmin {
            target: AdminTarget::Node(node),
            order,
            ..
        } => (RegisterKey::Node(*node), Value::Order(order.clone())),
        Command::Configure { text, .. } => (RegisterKey::Configuration, Value::Text(text.clone())),
        _ => return false,
    };
    let what = match (&value, subject) {
        (Value::Order(order), RegisterKey::Node(id)) => {
            let node = (1..=universe.size())
                .find(|n| universe.id_of(*n) == id)
                .unwrap_or_default();
            format!(
                "node-{node} {:?} until {:?}, then {:?}",
                order.state, order.deadline, order.then
            )
        }
        _ => "a new configuration".to_owned(),
    };
    let (whole, driver) = (universe.clone(), running.driver.clone());
    let drains_leader = subject == RegisterKey::Node(universe.id_of(leader))
        && matches!(&value, Value::Order(order) if order.state == AdminState::Drain);
    let asked = scheduler::spawn_on(leader, async move {
        whole.told(subject, value, &running, command).await
    });
    let answer = within_patience(asked).await.flatten();
    if universe.planted == Planted::DrainMovesAddress && drains_leader {
        driver.tell(Event::MoveLeader {
            to: None,
            reason: HandoverReason::Operator("the bug".to_owned()),
        });
    }
    let answered = match &answer {
        Some(Ok(_)) => "done".to_owned(),
        Some(Err(why)) => format!("refused: {why}"),
        None => "no answer".to_owned(),
    };
    story::note(&format!("operator: {what} at node-{leader}: {answered}"));
    if matches!(answer, Some(Ok(_))) {
        universe.with(|s| s.counts.add("operator's orders done"));
    }
    answer.is_some()
}

impl Universe {
    /// A command of an operator, to the real cluster and to the ideal one; `None`: no answer.
    pub async fn told(
        &self,
        subject: RegisterKey,
        value: Value,
        leader: &Running,
        command: Command,
    ) -> Option<Answer> {
        self.with(|s| s.invariants.ideal.on_given(subject, value.clone()));
        let answer = if self.planted == Planted::OrderOnOneNode
            && matches!(command, Command::SetAdmin { .. })
        {
            Ok(Outcome::Done)
        } else {
            leader
                .consensus
                .propose(stamped(leader, command))
                .await
                .ok()?
        };
        self.with(|s| {
            s.invariants
                .ideal
                .on_answered(world_now(), subject, &value, answer.is_ok())
        });
        Some(answer)
    }
}
