//! One node: the product's controller and promise, a clock of its own, and what its kernel would enforce.

use ha_core::controller::{Action, Controller, ControllerSettings, Event, NodeReport};
use ha_core::id::{Epoch, NodeId};
use ha_core::lease::Promise;
use ha_core::model::Role;
use ha_core::time::{Instant, Timestamp};
use std::time::Duration;

/// How long a voter stays promised.
pub const PROMISE: Duration = Duration::from_millis(300);

/// A node that runs.
pub struct Running {
    pub controller: Controller,
    /// Whom it has promised itself to.
    pub promise: Promise,
    /// Its events are not looked at until then (global microseconds).
    pub paused_until: u64,
}

/// A node, running or not.
pub struct Node {
    pub id: NodeId,
    /// Local microseconds per million global ones.
    pub rate: u64,
    /// Its process; `None` while it is down.
    pub running: Option<Running>,
    /// Until when its kernel answers, in global microseconds, and in which epoch.
    pub kernel: Option<(u64, Epoch)>,
    /// The term of its vote on disk.
    pub durable_term: u64,
    /// What its lease length is planted to be; the product's is four fifths of the promise.
    pub lease: Duration,
    /// When its controller wants to look next, in global microseconds.
    pub wake: u64,
}

/// The driver looks no more often than this, in microseconds.
const NO_OFTENER: u64 = 1000;

impl Node {
    /// What the node's clock shows at a global time.
    pub const fn local(&self, global_us: u64) -> Instant {
        Instant((global_us as u128 * self.rate as u128 / 1000) as u64)
    }

    /// How long a local duration takes in global microseconds.
    pub const fn global(&self, local: Duration) -> u64 {
        local.as_nanos() as u64 * 1000 / self.rate
    }

    /// Starts its process; `quiet`: it waits out what it may have promised.
    pub fn start(&mut self, now: u64, quiet: bool) {
        let local = self.local(now);
        let settings = ControllerSettings {
            lease: self.lease,
            ..ControllerSettings::of(self.id, Role::Server, PROMISE)
        };
        let mut controller = Controller::new(settings, local);
        controller.step(
            local,
            Timestamp(0),
            Event::Own(NodeReport {
                eligible: true,
                ..NodeReport::default()
            }),
        );
        let promise = if quiet {
            Promise::starting(local, PROMISE, self.durable_term)
        } else {
            Promise::starting(Instant::ZERO, PROMISE, self.durable_term)
        };
        self.running = Some(Running {
            controller,
            promise,
            paused_until: 0,
        });
        self.wake = now;
    }

    /// Whether its process runs and is not paused.
    pub fn is_awake(&self, now: u64) -> bool {
        self.running.as_ref().is_some_and(|r| r.paused_until <= now)
    }

    /// Whether its controller is to look.
    pub fn is_due(&self, now: u64) -> bool {
        self.wake <= now && self.is_awake(now)
    }

    /// When something changes with it although nobody tells it anything; `None` while its process is down.
    /// It wants to look at `also`, too.
    pub fn next_change(&self, now: u64, also: u64) -> Option<u64> {
        let wakes = self
            .running
            .as_ref()
            .map(|r| self.wake.min(also).max(r.paused_until))?;
        let silent = self
            .kernel
            .map(|(until, _)| until)
            .filter(|until| *until > now);
        Some(silent.map_or(wakes, |at| at.min(wakes)))
    }

    /// Tells its controller something.
    pub fn tell(&mut self, now: u64, event: Event) -> Vec<Action> {
        let local = self.local(now);
        let Some(r) = &mut self.running else {
            return Vec::new();
        };
        let actions = r.controller.step(local, Timestamp(now / 1000), event);
        let wait = r.controller.next_deadline(local).saturating_since(local);
        self.wake = now + (self.global(wait) + 1).max(NO_OFTENER);
        actions
    }

    /// Whether its kernel answers for the address.
    pub fn answers(&self, now: u64) -> Option<Epoch> {
        self.kernel
            .filter(|(until, _)| *until > now)
            .map(|(_, epoch)| epoch)
    }
}
