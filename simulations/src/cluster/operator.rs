//! An operator who drains, maintains and configures while all that goes on, and asks again when no answer comes.
//!
//! As `ha-cli` does: with one id over all attempts ([`Asking`]), and with what was seen when the order was given. An
//! attempt that nobody waits for any more is still on its way, and may arrive when something else has been ordered.

use super::agent::stamped;
use super::configuration;
use super::invariants::ideal::{RegisterKey, Value};
use super::invariants::once::Change;
use super::machine::Running;
use super::plan::Theme;
use super::planted::Planted;
use super::scheduler::{self, WORLD, world_now};
use super::story;
use super::universe::Universe;
use super::world::wall_of;
use ha_core::command::{AdminOrder, AdminTarget, Answer, Command, Outcome, Rejection, Stamped};
use ha_core::controller::{Event, HandoverReason};
use ha_core::model::{AdminState, Sticky};
use ha_core::request::{Asking, Next, Request, RequestId, Silence};
use ha_core::state::Facts;
use ha_core::time::{Instant, Timestamp};
use ha_node::consensus::ProposeError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// An operator who gets no answer for so long tries something else.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one attempt is waited for, in milliseconds.
const ATTEMPT_MS: u64 = 600;
/// Between two attempts, in milliseconds.
const AGAIN_AFTER_MS: u64 = 100;
/// In a thousand attempts so many are held up on their way, as by a node that is paused.
const HELD_UP: u64 = 150;

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
        answered &= order(universe, |u, facts| {
            Some(set_admin(u, facts, node, AdminState::Ready))
        })
        .await;
    }
    answered
}

async fn give_order(universe: &Arc<Universe>) {
    let node = 1 + scheduler::below(universe.size() as u64) as usize;
    let what = if universe.theme == Theme::Draining {
        [0, 0, 0, 2][scheduler::below(4) as usize]
    } else {
        scheduler::below(9)
    };
    let state = match what {
        0 => Some(AdminState::Drain),
        1 => Some(AdminState::Maintenance),
        2..=5 => Some(AdminState::Ready),
        _ => None,
    };
    order(universe, |u, facts| match (state, what) {
        (Some(state), _) => Some(set_admin(u, facts, node, state)),
        (None, 6) => roll_back(facts),
        (None, _) => Some(configure(u, facts)),
    })
    .await;
}

/// What an operator wants, given what was seen.
struct Wish {
    subject: RegisterKey,
    value: Value,
    /// What it was made from, as the command says it.
    expect: u64,
    command: Command,
}

fn configure(universe: &Universe, facts: &Facts) -> Wish {
    let (config, text) = configuration::of(universe, 1 + scheduler::below(20));
    Wish {
        subject: RegisterKey::Configuration,
        value: Value::Text(text.clone()),
        expect: facts.config_version,
        command: Command::Configure {
            config,
            text,
            expect: Some(facts.config_version),
        },
    }
}

/// `None`: there is nothing to go back to.
fn roll_back(facts: &Facts) -> Option<Wish> {
    let before = facts.history.iter().rev().nth(1)?;
    Some(Wish {
        subject: RegisterKey::Configuration,
        value: Value::Text(before.text.clone()),
        expect: facts.config_version,
        command: Command::Rollback {
            version: None,
            expect: Some(facts.config_version),
        },
    })
}

fn set_admin(universe: &Universe, facts: &Facts, node: usize, state: AdminState) -> Wish {
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
    let id = universe.id_of(node);
    let target = AdminTarget::Node(id);
    let expect = facts.order_of(&target);
    Wish {
        subject: RegisterKey::Node(id),
        value: Value::Order(order.clone()),
        expect,
        command: Command::SetAdmin {
            target,
            order,
            force: node.is_multiple_of(2),
            expect: Some(expect),
        },
    }
}

/// The answer, if it comes in time. What had not been proposed by then never is.
pub async fn within_patience<T>(asked: JoinHandle<T>) -> Option<T> {
    let abort = asked.abort_handle();
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    abort.abort();
    answer.ok()?.ok()
}

/// Looks at what whoever leads says, gives an order by that, and asks again until there is an answer or patience ends.
/// Whether it was answered.
async fn order(
    universe: &Arc<Universe>,
    wish: impl FnOnce(&Universe, &Facts) -> Option<Wish>,
) -> bool {
    let Some((leader, running)) = universe.leader() else {
        return false;
    };
    let Some(wish) = wish(universe, &running.consensus.read().facts) else {
        return true;
    };
    let bits = u128::from(scheduler::draw()) << 64 | u128::from(scheduler::draw());
    let id = RequestId(bits.to_be_bytes());
    universe.with(|s| {
        s.invariants
            .ideal
            .on_given(wish.subject, wish.value.clone())
    });
    let drains_leader = wish.subject == RegisterKey::Node(universe.id_of(leader))
        && matches!(&wish.value, Value::Order(order) if order.state == AdminState::Drain);
    let (answer, attempts) = ask(universe, id, &wish).await;
    if universe.planted == Planted::DrainMovesAddress && drains_leader {
        running.driver.tell(Event::MoveLeader {
            to: None,
            reason: HandoverReason::Operator("the bug".to_owned()),
        });
    }
    let told = match &answer {
        Ok(Ok(outcome)) => format!("done: {outcome:?}"),
        Ok(Err(why)) => format!("refused: {why}"),
        Err(next) => format!("{next:?}"),
    };
    let what = words_for(universe, &wish);
    story::note(&format!(
        "operator: {what}: {told} after {attempts} attempts"
    ));
    universe.with(|s| {
        let (ideal, now) = (&mut s.invariants.ideal, world_now());
        let (subject, value) = (wish.subject, &wish.value);
        match &answer {
            // As it was: what is in doubt may still come.
            Ok(Ok(Outcome::Configured(version))) if *version == wish.expect => {
                ideal.on_answered(now, subject, value, false);
            }
            Ok(Ok(_)) => ideal.on_answered(now, subject, value, true),
            Ok(Err(Rejection::AskedTooLongAgo)) | Err(Next::InDoubt | Next::Again) => {}
            Ok(Err(_)) | Err(Next::NotDone) => ideal.on_answered(now, subject, value, false),
        }
        match &answer {
            Ok(Ok(_)) => s.counts.add("operator's orders done"),
            Err(Next::InDoubt) => s.counts.add("operator's orders in doubt"),
            _ => {}
        }
        if attempts > 1 {
            s.counts.add("operator's orders asked for again");
        }
    });
    answer.is_ok()
}

fn words_for(universe: &Universe, wish: &Wish) -> String {
    let (Value::Order(order), RegisterKey::Node(id)) = (&wish.value, wish.subject) else {
        return format!("a configuration after version {}", wish.expect);
    };
    let node = (1..=universe.size())
        .find(|n| universe.id_of(*n) == id)
        .unwrap_or_default();
    format!(
        "node-{node} {:?} until {:?}, then {:?}, after order {}",
        order.state, order.deadline, order.then, wish.expect
    )
}

/// Attempt after attempt, by the rule that `ha-cli` goes by. With how many there were.
async fn ask(universe: &Arc<Universe>, id: RequestId, wish: &Wish) -> (Result<Answer, Next>, u32) {
    // Some ask once and turn to something else.
    let patience = if scheduler::happens(200) {
        Duration::ZERO
    } else {
        PATIENCE
    };
    let mut asking = Asking::new(id, Instant(world_now()), patience);
    for attempt in 1.. {
        let (send, receive) = oneshot::channel();
        let age = asking.age(Instant(world_now()));
        let change = Change {
            id,
            subject: wish.subject,
            expect: wish.expect,
        };
        let (whole, command) = (universe.clone(), wish.command.clone());
        scheduler::spawn_on(WORLD, async move {
            if scheduler::happens(HELD_UP) {
                scheduler::world_ms(scheduler::between(500, 6000)).await;
            }
            send.send(whole.deliver(change, age, command).await).ok();
        });
        let silence = tokio::select! {
            biased;
            answer = receive => match answer {
                Ok(Ok(answer)) => return (Ok(answer), attempt),
                Ok(Err(silence)) => silence,
                Err(_) => Silence::Unknown,
            },
            () = scheduler::world_ms(ATTEMPT_MS) => Silence::Unknown,
        };
        match asking.on_silence(Instant(world_now()), silence) {
            Next::Again => scheduler::world_ms(AGAIN_AFTER_MS).await,
            over => return (Err(over), attempt),
        }
    }
    unreachable!("patience ends");
}

impl Universe {
    /// An attempt arrives at whoever leads.
    async fn deliver(
        self: &Arc<Self>,
        change: Change,
        age: Duration,
        command: Command,
    ) -> Result<Answer, Silence> {
        let Some((at, leader)) = self.leader() else {
            return Err(Silence::NothingDone);
        };
        if self.planted == Planted::OrderOnOneNode && matches!(command, Command::SetAdmin { .. }) {
            return Ok(Ok(Outcome::Done));
        }
        let stamped = self.attempt(stamped(&leader, command), change.id, age);
        let asked = scheduler::spawn_on(at, async move { leader.consensus.propose(stamped).await });
        let answer = match asked.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(ProposeError::NotLeader(_) | ProposeError::NotYet(_))) => {
                return Err(Silence::NothingDone);
            }
            Ok(Err(_)) | Err(_) => return Err(Silence::Unknown),
        };
        self.with(|s| {
            let outcome = s.invariants.once.on_answer(change, &answer);
            s.check(outcome);
        });
        Ok(answer)
    }

    fn attempt(&self, stamped: Stamped, id: RequestId, age: Duration) -> Stamped {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let mut attempt = Stamped {
            request: Some(Request {
                id,
                asked: Timestamp(stamped.at.0.saturating_sub(age)),
            }),
            ..stamped
        };
        match (self.planted, &mut attempt.command) {
            (Planted::RequestsForgotten, _) => attempt.request = None,
            (
                Planted::ExpectedUnchecked,
                Command::Configure { expect, .. }
                | Command::Rollback { expect, .. }
                | Command::SetAdmin { expect, .. },
            ) => *expect = None,
            _ => {}
        }
        attempt
    }

    /// A command about a member, to the real cluster and to the ideal one; `None`: no answer.
    pub async fn told(
        &self,
        subject: RegisterKey,
        value: Value,
        leader: &Running,
        command: Command,
    ) -> Option<Answer> {
        self.with(|s| s.invariants.ideal.on_given(subject, value.clone()));
        let answer = leader
            .consensus
            .propose(stamped(leader, command))
            .await
            .ok()?;
        self.with(|s| {
            s.invariants
                .ideal
                .on_answered(world_now(), subject, &value, answer.is_ok())
        });
        Some(answer)
    }
}
