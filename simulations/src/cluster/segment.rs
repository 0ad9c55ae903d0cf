//! The link on which the address lives: whose kernel answers for it, and what each client's neighbour cache says.
//!
//! A kernel's element has a life of its own, on its machine's clock: it outlives a killed or stopped
//! process and ends with the power. Nothing here believes what a node says of itself.

use super::plan::Theme;
use super::planted::Planted;
use super::scheduler::{self, world_now};
use super::story;
use super::universe::Universe;
use ha_core::gate::Gate;
use ha_core::model::VirtualIp;
use ha_core::time::Instant;
use ha_node::outside::{Addresses, Intercepted, Release};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Who answers for the address, and where clients believe it to be.
#[derive(Debug, Default)]
pub struct Segment {
    /// Until when each node's kernel answers, in world time.
    pub answers_until: BTreeMap<usize, u64>,
    /// Whom each client's packets go to.
    pub neighbour: Vec<Option<usize>>,
}

impl Segment {
    /// Nodes whose kernel answers now.
    pub fn holders(&self) -> Vec<usize> {
        let now = world_now();
        self.answers_until
            .iter()
            .filter(|(_, until)| **until > now)
            .map(|(node, _)| *node)
            .collect()
    }
}

/// One node's hands on the address.
pub struct Hands {
    me: usize,
    universe: Weak<Universe>,
    /// The product's own gate.
    pub gate: Arc<Gate>,
    turn: Arc<AtomicU64>,
    planted: Planted,
}

impl Hands {
    pub fn new(me: usize, universe: &Arc<Universe>, planted: Planted) -> Arc<Self> {
        Arc::new(Hands {
            me,
            universe: Arc::downgrade(universe),
            gate: Arc::new(Gate::new()),
            turn: Arc::default(),
            planted,
        })
    }
}

impl Hands {
    /// The address is handed over: an operator must have wanted that.
    fn looks_why(&self, universe: &Universe) {
        // Elsewhere there are other reasons: a log that stands still, a majority that is silent.
        if universe.theme != Theme::Draining || universe.holder() != Some(self.me) {
            return;
        }
        let node = universe.id_of(self.me);
        universe.with(|s| {
            let (moves, ideal) = (&s.invariants.moves, &s.invariants.ideal);
            let outcome = moves.on_handover(ideal, self.me, node, world_now());
            s.check(outcome);
        });
    }
}

impl Addresses for Hands {
    fn configure(&self, _: &[VirtualIp], _: &[Intercepted]) {}

    fn hold(&self, until: Instant, _: bool) {
        story::mark(&[b"hold", &[self.me as u8], &until.0.to_le_bytes()]);
        self.turn.fetch_add(1, Ordering::Relaxed);
        self.gate.open(until);
        let Some(universe) = self.universe.upgrade() else {
            return;
        };
        // The kernel's timer: what is left on this node's clock, on this machine's timer.
        let left = scheduler::in_world(until - Instant(scheduler::clock_of(self.me)));
        universe.claim(self.me, world_now() + left.as_nanos() as u64);
    }

    fn release(&self, why: Release, done: Box<dyn FnOnce() + Send>) {
        story::mark(&[b"release", &[self.me as u8, why as u8]]);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(universe) = self.universe.upgrade() else {
            return;
        };
        if why == Release::Handover {
            self.looks_why(&universe);
        }
        if why == Release::Ended {
            self.gate.close();
            universe.give_up(self.me);
            return done();
        }
        let (me, turns, gate, planted) =
            (self.me, self.turn.clone(), self.gate.clone(), self.planted);
        scheduler::spawn_on(me, async move {
            if planted == Planted::ReleasedBeforeAway {
                done();
                scheduler::sleep(Duration::from_millis(60)).await;
                universe.give_up(me);
                return;
            }
            // What is under way finishes, the rest is told.
            scheduler::sleep(Duration::from_millis(scheduler::between(2, 12))).await;
            if turns.load(Ordering::Relaxed) == turn {
                gate.close();
                universe.give_up(me);
                done();
            }
        });
    }

    fn announce(&self) {
        story::mark(&[b"announce", &[self.me as u8]]);
        if let Some(universe) = self.universe.upgrade() {
            universe.announce(self.me);
        }
    }

    fn fence(&self) -> String {
        "simulated kernel".to_owned()
    }
}
