//! The door of one simulated node: what the product's node needs from the outside, over the universe.

use super::disk::Disk;
use super::machine::Service;
use super::network::{self, Sender};
use super::planted::Planted;
use super::scheduler;
use super::segment::Hands;
use super::universe::{EPOCH_MS, Universe};
use ha_core::check::{CheckResult, Probe};
use ha_core::id::NodeId;
use ha_core::time::{Instant, Timestamp};
use ha_node::outside::{Addressee, Boxed, Call, CallError, Clock, Outside, Peers, Prober, Tasks};
use std::sync::Arc;
use std::time::Duration;

pub struct NodeWorld {
    pub me: usize,
    /// Who that is, as long as this process lives.
    pub id: NodeId,
    pub universe: Arc<Universe>,
    pub disk: Disk,
    /// Its hands on the address.
    pub hands: Arc<Hands>,
}

/// What the clock of the current node shows.
pub fn node_now() -> Instant {
    Instant(scheduler::clock_of(scheduler::current()))
}

/// What the wall clock of a node shows: they are set by NTP, and a little apart.
pub fn wall_of(node: usize) -> Timestamp {
    Timestamp(EPOCH_MS + scheduler::world_now() / 1_000_000 + 7 * node as u64)
}

impl NodeWorld {
    /// As the product takes it.
    pub fn outside(self: &Arc<Self>) -> Outside {
        Outside {
            clock: self.clone(),
            tasks: self.clone(),
            peers: self.clone(),
            prober: self.clone(),
            store: Arc::new(self.disk.clone()),
            addresses: self.hands.clone(),
        }
    }
}

impl Clock for NodeWorld {
    fn now(&self) -> Instant {
        Instant(scheduler::clock_of(self.me))
    }

    fn wall(&self) -> Timestamp {
        let wrong = if self.universe.planted == Planted::WallClockAhead {
            20_000
        } else {
            0
        };
        Timestamp(wall_of(self.me).0 + wrong)
    }

    fn sleep(&self, duration: Duration) -> Boxed<()> {
        Box::pin(scheduler::sleep(duration))
    }
}

impl Tasks for NodeWorld {
    fn spawn(&self, _name: &'static str, task: Boxed<()>) {
        scheduler::spawn_on(self.me, task);
    }
}

impl Peers for NodeWorld {
    fn call(
        &self,
        to: Addressee,
        call: Call,
        body: Vec<u8>,
        within: Duration,
    ) -> Boxed<Result<Vec<u8>, CallError>> {
        Box::pin(network::call(
            self.universe.clone(),
            Sender {
                node: self.me,
                id: self.id,
            },
            to,
            call,
            body,
            within,
        ))
    }
}

impl Prober for NodeWorld {
    fn probe(&self, probe: Probe) -> Boxed<CheckResult> {
        let (universe, me) = (self.universe.clone(), self.me);
        let within = scheduler::in_world(probe.within);
        Box::pin(async move {
            let Some(target) = universe.node_with(probe.address) else {
                return CheckResult::Refused;
            };
            let hop = |from, to| {
                if from == to {
                    // What a machine says to itself is on no wire.
                    return Some(Duration::ZERO);
                }
                universe.with(|s| s.network.hop(from, to))
            };
            let (there, back) = (hop(me, target), hop(target, me));
            let reached = there
                .zip(back)
                .filter(|_| universe.with(|s| s.nodes[target].powered));
            let service = universe.with(|s| s.nodes[target].service);
            match (reached, service) {
                (Some((there, back)), Service::Up | Service::Refusing)
                    if there + back <= within =>
                {
                    tokio::time::sleep(there + back).await;
                    if service == Service::Up {
                        CheckResult::Passed
                    } else {
                        CheckResult::Refused
                    }
                }
                _ => {
                    tokio::time::sleep(within).await;
                    CheckResult::TimedOut
                }
            }
        })
    }
}
