//! The network between the nodes: every packet takes its time, some are lost, some come twice, and links are
//! cut in one or both directions. Calls are answered by the product's own code.

use super::lies;
use super::scheduler::{self, WORLD};
use super::story;
use super::tamper;
use super::universe::Universe;
use ha_core::id::NodeId;
use ha_node::incoming::hear;
use ha_node::outside::{Addressee, Call, CallError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What is wrong with the network at the moment.
#[derive(Debug, Default)]
pub struct Network {
    /// Directions in which nothing passes.
    pub cut: BTreeSet<(usize, usize)>,
    /// Additional time per packet.
    pub slow: BTreeMap<(usize, usize), Duration>,
    /// Packets lost in a thousand.
    pub loss: u64,
}

/// Who asks: its number, and who it was when it asked.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    pub node: usize,
    pub id: NodeId,
}

/// Packets that are lost in a thousand when nothing is wrong.
pub const LOSS: u64 = 10;
/// A connection on which nothing comes is given up: interval and patience of `wire::endpoint`, which its tests measure.
const KEEPALIVE: Duration = Duration::from_millis(750);
/// Packets that come twice, in a thousand.
const TWICE: u64 = 5;

impl Network {
    /// How long the next packet takes; `None`: it does not arrive.
    pub fn hop(&self, from: usize, to: usize) -> Option<Duration> {
        let lost = scheduler::happens(self.loss);
        let takes = Duration::from_micros(scheduler::between(200, 3000))
            + self.slow.get(&(from, to)).copied().unwrap_or_default();
        (!lost && !self.cut.contains(&(from, to))).then_some(takes)
    }
}

/// Says something to whoever listens at `to` on behalf of `from`, who waits for no answer.
pub fn say(universe: Arc<Universe>, from: Sender, to: Addressee, call: Call, body: Vec<u8>) {
    let Some(target) = universe.node_at(&to.at) else {
        return;
    };
    story::mark(&[&[from.node as u8, target as u8, call as u8], &body]);
    let (tell, _) = oneshot::channel();
    let said = deliver(universe, from, (target, to.node), call, body, tell);
    scheduler::spawn_on(WORLD, said);
}

/// Asks whoever listens at `to` on behalf of `from`, for at most `within` on its clock.
pub async fn call(
    universe: Arc<Universe>,
    from: Sender,
    to: Addressee,
    call: Call,
    body: Vec<u8>,
    within: Duration,
) -> Result<Vec<u8>, CallError> {
    let Some(target) = universe.node_at(&to.at) else {
        return Err(CallError::Unreachable(format!("nobody at {}", to.at)));
    };
    if lies::is_gagged(&universe, from.id, call) {
        tokio::time::sleep(scheduler::in_world(within)).await;
        return Err(CallError::NoAnswer("in time".to_owned()));
    }
    story::mark(&[&[from.node as u8, target as u8, call as u8], &body]);
    let (tell, answer) = oneshot::channel();
    // The wire goes on when the caller gives up.
    scheduler::spawn_on(
        WORLD,
        deliver(universe, from, (target, to.node), call, body, tell),
    );
    let answer = async {
        match answer.await {
            Ok(answer) => answer,
            // No answer is on its way any more: silence, until the keepalive of the connection ends it.
            Err(_) => {
                tokio::time::sleep(KEEPALIVE).await;
                Err(CallError::NoAnswer("the connection is dead".to_owned()))
            }
        }
    };
    let late = |_| Err(CallError::NoAnswer("in time".to_owned()));
    tokio::time::timeout(scheduler::in_world(within), answer)
        .await
        .unwrap_or_else(late)
}

async fn deliver(
    universe: Arc<Universe>,
    Sender { node: from, id }: Sender,
    (to, addressee): (usize, NodeId),
    call: Call,
    body: Vec<u8>,
    tell: oneshot::Sender<Result<Vec<u8>, CallError>>,
) {
    tamper::on_the_way(&universe, from, call, &body).await;
    let hop = |from, to| universe.with(|s| s.network.hop(from, to));
    let mut tell = Some(tell);
    let times = 1 + usize::from(scheduler::happens(TWICE));
    for _ in 0..times {
        let Some(takes) = hop(from, to) else { continue };
        tokio::time::sleep(takes).await;
        let (alive, known) = universe.with(|s| {
            (
                s.nodes[to].powered,
                s.nodes[to]
                    .running
                    .as_ref()
                    .map(|r| (r.consensus.clone(), r.driver.clone())),
            )
        });
        let answered = match known {
            None if !alive => continue,
            None => Err(CallError::Unreachable("nobody listens".to_owned())),
            // Its certificate names another node.
            Some((consensus, _)) if consensus.me() != addressee => Err(CallError::Unreachable(
                "another node answers there".to_owned(),
            )),
            Some((consensus, driver)) => {
                let asked = tamper::asked(universe.planted, to, call, &body);
                let id = tamper::heard_as(universe.planted, call, id, consensus.promised_to());
                let heard = scheduler::spawn_on(to, async move {
                    hear(&consensus, &driver, id, call, &asked).await
                });
                // Its process died.
                let Ok(heard) = heard.await else { continue };
                universe.with(|s| s.note_call(call));
                heard
                    .inspect(|answer| story::mark(&[&[to as u8, from as u8, call as u8], answer]))
                    .map(|answer| tamper::answered(&universe, to, call, &body, answer))
                    .map(|answer| lies::answered(&universe, to, call, answer))
                    .map_err(|e| CallError::NoAnswer(e.to_string()))
            }
        };
        let Some(takes) = hop(to, from) else { continue };
        tokio::time::sleep(takes).await;
        if let Some(tell) = tell.take() {
            tell.send(answered).ok();
        }
    }
}
