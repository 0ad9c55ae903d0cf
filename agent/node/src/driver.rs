//! Feeds the controller and carries out what it decides. Owns no decision and waits for nothing slow.
//!
//! ```text
//!   consensus, proxy, kernel, clock --Input--> [inbox] --> Controller::step --> act
//!                                                               |
//!                                                               +--> View (published)
//! ```
//!
//! Every action either is quick or becomes a task of its own: the lease is sent from this loop, and
//! a lease that is sent late is a lease lost.

mod act;
mod inbox;

pub use inbox::{DriverHandle, Inbox, Input, channel};

use crate::consensus::types::Runtime;
use crate::consensus::{Consensus, MembershipSeen};
use crate::outside::{Boxed, Outside};
use act::Actor;
use ha_core::controller::{Controller, ControllerSettings, Event, RaftRole};
use ha_core::id::Epoch;
use ha_core::time::Instant;
use ha_core::view::{Routes, View};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The share of the lease that one turn may take before it is said.
const LONG_TURN_SHARE: u32 = 10;
/// That a turn was long is said at most once in so long.
const LONG_TURN_SAID_EVERY: Duration = Duration::from_secs(1);

/// The loop of one node.
pub struct Driver<R: Runtime> {
    outside: Outside,
    consensus: Consensus<R>,
    controller: Controller,
    inbox: Inbox,
    handle: DriverHandle,
    view: watch::Sender<Arc<View>>,
    configured: Option<u64>,
    applied_index: u64,
    membership: MembershipSeen,
    /// What takes longer is said.
    long_turn: Duration,
    quiet_until: Instant,
}

impl<R: Runtime> Driver<R> {
    /// Over a started consensus; what the data plane decides from is published to `view`.
    pub fn new(
        outside: Outside,
        consensus: Consensus<R>,
        settings: ControllerSettings,
        (handle, inbox): (DriverHandle, Inbox),
        view: watch::Sender<Arc<View>>,
    ) -> Self {
        let long_turn = settings.lease / LONG_TURN_SHARE;
        let controller = Controller::new(settings, outside.clock.now());
        Driver {
            outside,
            consensus,
            controller,
            inbox,
            handle,
            view,
            configured: None,
            applied_index: 0,
            membership: None,
            long_turn,
            quiet_until: Instant::ZERO,
        }
    }

    /// Takes events in and carries actions out until `stop` is ready.
    pub async fn run(mut self, mut stop: Boxed<()>) {
        let teller = self.handle.clone();
        let watching = self
            .consensus
            .watch(move |news| teller.tell(Event::Raft(news)));
        self.outside.tasks.spawn("raft-watch", Box::pin(watching));
        self.look(true);
        loop {
            let now = self.outside.clock.now();
            let wait = self
                .controller
                .next_deadline(now)
                .saturating_since(now)
                .max(Duration::from_millis(1));
            let timer = self.outside.clock.sleep(wait);
            let input = tokio::select! {
                biased;
                () = &mut stop => return,
                input = self.inbox.next() => match input {
                    None => return,
                    Some(input) => input,
                },
                () = timer => Input::Event(Box::new(Event::Tick)),
            };
            self.turn(input);
        }
    }

    /// A lease is sent between two turns: one that is long costs it.
    fn turn(&mut self, input: Input) {
        let began = self.outside.clock.now();
        let what = match &input {
            Input::Event(event) => event.word(),
            Input::Applied => "applied",
            Input::Ask(_) => "a question",
        };
        match input {
            Input::Event(event) => self.step(*event),
            Input::Applied => self.look(false),
            Input::Ask(question) => question(&self.controller),
        }
        let took = self.outside.clock.now().saturating_since(began);
        self.handle.note_turn(took);
        if took >= self.long_turn && began >= self.quiet_until {
            self.quiet_until = began + LONG_TURN_SAID_EVERY;
            tracing::warn!(
                ?took,
                what,
                "the driver was held up: is this machine overloaded, or was it stopped?"
            );
        }
    }

    /// Whoever counts promises reads the membership from consensus itself, at each step and so before each `Lease`: news
    /// of it may be under way still.
    fn step(&mut self, event: Event) {
        if let Some(news) = self.consensus.other_membership(&mut self.membership) {
            self.step_with(Event::Raft(news));
        }
        self.step_with(event);
    }

    fn step_with(&mut self, event: Event) {
        let before = (
            self.controller.raft().role,
            self.controller.raft().term,
            self.controller.holding().map(|h| h.epoch),
        );
        let actions =
            self.controller
                .step(self.outside.clock.now(), self.outside.clock.wall(), event);
        self.log_change(before);
        let actor = Actor {
            outside: &self.outside,
            consensus: &self.consensus,
            handle: &self.handle,
            first_ever: self.controller.facts().holder.is_none(),
        };
        let mut refresh = false;
        for action in actions {
            refresh |= actor.act(action);
        }
        if refresh {
            self.publish();
        }
    }

    /// Each change of role or holder once, for whoever reads the log at three in the morning.
    fn log_change(&self, (role, term, epoch): (RaftRole, u64, Option<Epoch>)) {
        let raft = self.controller.raft();
        if (role, term) != (raft.role, raft.term) && raft.role != RaftRole::Candidate {
            tracing::info!(role = ?raft.role, term = raft.term, leader = ?raft.leader.map(|l| self.controller.facts().node_name(l)), "consensus");
        }
        match (epoch, self.controller.holding().map(|h| h.epoch)) {
            (None, Some(epoch)) => tracing::info!(%epoch, "this node holds the virtual IP"),
            (Some(epoch), None) => {
                tracing::info!(%epoch, "this node no longer holds the virtual IP")
            }
            _ => {}
        }
    }

    /// Takes over what consensus has applied.
    fn look(&mut self, first: bool) {
        let applied = self.consensus.read();
        if applied.applied_index == self.applied_index && !first {
            return;
        }
        self.applied_index = applied.applied_index;
        let facts_changed =
            self.configured.is_none() || !Arc::ptr_eq(&applied.facts, self.controller.facts());
        if facts_changed {
            if self.configured != Some(applied.facts.config_version) {
                self.configured = Some(applied.facts.config_version);
                act::configure_addresses(&*self.outside.addresses, &applied.facts);
            }
            self.step(Event::Applied(applied.facts));
            self.publish();
        } else {
            let routes = self.view.borrow().routes.clone();
            self.view.send_replace(Arc::new(View {
                routes,
                stick: applied.stick,
            }));
        }
    }

    fn publish(&self) {
        let applied = self.consensus.read();
        let before = self.view.borrow().routes.clone();
        let routes = Routes::following(&before, &applied.facts, &self.controller.overlay());
        self.view.send_replace(Arc::new(View {
            routes,
            stick: applied.stick,
        }));
    }
}
