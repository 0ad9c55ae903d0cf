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

use crate::consensus::Consensus;
use crate::consensus::types::Runtime;
use crate::outside::{Boxed, Outside};
use act::Actor;
use ha_core::controller::{Controller, ControllerSettings, Event, RaftRole};
use ha_core::id::Epoch;
use ha_core::view::{Routes, View};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Inputs that may wait; above it, news that repeat themselves are dropped.
const INBOX_MAX: usize = 4096;

/// What reaches the driver.
pub enum Input {
    /// News for the controller.
    Event(Box<Event>),
    /// Something was applied: look.
    Applied,
    /// A question to the controller, answered between two steps.
    Ask(Box<dyn FnOnce(&Controller) + Send>),
}

/// How others reach the driver. Cheap to clone.
#[derive(Clone)]
pub struct DriverHandle {
    inbox: mpsc::Sender<Input>,
}

impl DriverHandle {
    /// A handle and the inbox it leads to.
    pub fn channel() -> (DriverHandle, mpsc::Receiver<Input>) {
        let (inbox, receiver) = mpsc::channel(INBOX_MAX);
        (DriverHandle { inbox }, receiver)
    }

    /// Tells the controller something. Never blocks; at the bound the news is lost, which the
    /// controller's timers make good.
    pub fn tell(&self, event: Event) {
        if self.inbox.try_send(Input::Event(Box::new(event))).is_err() {
            tracing::debug!("the driver's inbox is full or closed");
        }
    }

    /// Says that something was applied.
    pub fn applied(&self) {
        // A full inbox holds an earlier input after which the driver looks at the state anyway.
        self.inbox.try_send(Input::Applied).ok();
    }

    /// Asks the controller something; `None` when the driver has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Controller) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, waiting) = tokio::sync::oneshot::channel();
        let ask = Input::Ask(Box::new(move |c| drop(answer.send(question(c)))));
        self.inbox.send(ask).await.ok()?;
        waiting.await.ok()
    }
}

/// The loop of one node.
pub struct Driver<R: Runtime> {
    outside: Outside,
    consensus: Consensus<R>,
    controller: Controller,
    inbox: mpsc::Receiver<Input>,
    handle: DriverHandle,
    view: watch::Sender<Arc<View>>,
    configured: Option<u64>,
    applied_index: u64,
}

impl<R: Runtime> Driver<R> {
    /// Over a started consensus.
    pub fn new(
        outside: Outside,
        consensus: Consensus<R>,
        settings: ControllerSettings,
        handle: DriverHandle,
        inbox: mpsc::Receiver<Input>,
    ) -> (Self, watch::Receiver<Arc<View>>) {
        let (view, published) = watch::channel(Arc::new(View::empty()));
        let controller = Controller::new(settings, outside.clock.now());
        (
            Driver {
                outside,
                consensus,
                controller,
                inbox,
                handle,
                view,
                configured: None,
                applied_index: 0,
            },
            published,
        )
    }

    /// Runs until `stop`.
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
            tokio::select! {
                biased;
                () = &mut stop => return,
                input = self.inbox.recv() => match input {
                    None => return,
                    Some(Input::Event(event)) => self.step(*event),
                    Some(Input::Applied) => self.look(false),
                    Some(Input::Ask(question)) => question(&self.controller),
                },
                () = timer => self.step(Event::Tick),
            }
        }
    }

    fn step(&mut self, event: Event) {
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
        let snap = self.consensus.read();
        if snap.applied_index == self.applied_index && !first {
            return;
        }
        self.applied_index = snap.applied_index;
        let facts_changed =
            self.configured.is_none() || !Arc::ptr_eq(&snap.facts, self.controller.facts());
        if facts_changed {
            if self.configured != Some(snap.facts.config_version) {
                self.configured = Some(snap.facts.config_version);
                act::configure_addresses(&*self.outside.addresses, &snap.facts.config);
            }
            self.step(Event::Applied(snap.facts));
            self.publish();
        } else {
            let routes = self.view.borrow().routes.clone();
            self.view.send_replace(Arc::new(View {
                routes,
                stick: snap.stick,
            }));
        }
    }

    fn publish(&self) {
        let snap = self.consensus.read();
        let routes = Arc::new(Routes::from_facts(&snap.facts, &self.controller.overlay()));
        self.view.send_replace(Arc::new(View {
            routes,
            stick: snap.stick,
        }));
    }
}
