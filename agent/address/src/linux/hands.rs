//! Holds in the kernel, in the order that clients notice least: the kernel takes what the proxy lets go.
//!
//! ```text
//!   hold(until) --> traffic flows until then   +   kernel: fence, address, announce
//!   release ------> traffic stops, sessions end; the kernel drops; then `done`
//!                   for a handover first: nobody new, a moment to finish, resets
//! ```

use super::clock::boot_now;
use super::examine;
use super::gateway::Gateway;
use super::kernel::Kernel;
use crate::types::{
    ActiveFence, Done, Intercept, OnClaim, Taken, Vip, VipError, VipEvent, VipSettings, mac_words,
};
use crate::{Release, Traffic, VirtualIps};
use ha_core::time::Instant;
use std::net::IpAddr;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// How long a foreign holder has to answer before the first claim ever.
const PROBE: Duration = Duration::from_millis(250);
/// How long another machine has to answer before an address is taken into the configuration.
const ANSWER: Duration = Duration::from_millis(300);
/// Between two looks whether an obstacle is gone.
const AGAIN: Duration = Duration::from_secs(3);
/// What has begun before a handover may go on for this long: a round trip and a short answer.
const FINISH: Duration = Duration::from_millis(10);
/// At least so long, for connections that are half made.
const FINISH_AT_LEAST: Duration = Duration::from_millis(2);
/// How long sessions may take to be told of their end.
const TELL: Duration = Duration::from_millis(20);
/// How long it waits between two looks.
const LOOK: Duration = Duration::from_micros(500);
/// Orders that may wait for the kernel; each configuration replaces the one before.
const QUEUE_MAX: usize = 64;

/// Starts the kernel side; what passes through the addresses is opened and closed with them.
///
/// # Errors
/// What [`Kernel::start`] says, or no thread could be started.
pub fn start(
    settings: VipSettings,
    traffic: Arc<dyn Traffic>,
    events: Sender<VipEvent>,
) -> Result<(Arc<dyn VirtualIps>, ActiveFence), VipError> {
    let kernel = Kernel::start(settings, events)?;
    let fence = kernel.fence();
    let addresses = KernelAddresses::new(traffic, Arc::new(kernel))
        .map_err(VipError::kernel("start a thread"))?;
    Ok((Arc::new(addresses), fence))
}

/// Addresses on an interface, enforced by the kernel.
struct KernelAddresses {
    traffic: Arc<dyn Traffic>,
    kernel: Arc<Kernel>,
    state: Arc<Mutex<State>>,
    orders: mpsc::SyncSender<Order>,
    gateway: Arc<Gateway>,
}

#[derive(Default)]
struct State {
    /// The kernel knows the addresses.
    configured: bool,
    /// Whether anybody else has them.
    vetted: Vetted,
    /// Why this node cannot hold.
    obstacle: String,
    /// Counts holds and releases.
    turn: u64,
    /// The last of them was a hold.
    held: bool,
}

/// Before the first claim ever, the network is asked whether the addresses are free.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Vetted {
    /// Nobody has asked to: a node of this cluster held before.
    #[default]
    NotNeeded,
    /// It is being found out, or a foreign machine answers.
    NotYet,
    Free,
}

enum Order {
    Configure(Vec<Vip>, Vec<Intercept>),
    Vet,
}

impl KernelAddresses {
    fn new(traffic: Arc<dyn Traffic>, kernel: Arc<Kernel>) -> std::io::Result<Self> {
        let state = Arc::new(Mutex::new(State {
            obstacle: "the virtual IPs are not configured yet".to_owned(),
            ..State::default()
        }));
        let (orders, inbox) = mpsc::sync_channel(QUEUE_MAX);
        let worker = Worker {
            kernel: kernel.clone(),
            state: state.clone(),
            vips: Vec::new(),
            intercepts: Vec::new(),
        };
        std::thread::Builder::new()
            .name("ha-configure".to_owned())
            .spawn(move || worker.run(&inbox))?;
        Ok(KernelAddresses {
            traffic,
            gateway: Gateway::watch(kernel.settings())?,
            kernel,
            state,
            orders,
        })
    }

    fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::error!("the kernel side does not take orders any more");
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what takes time, in a thread of its own.
struct Worker {
    kernel: Arc<Kernel>,
    state: Arc<Mutex<State>>,
    vips: Vec<Vip>,
    intercepts: Vec<Intercept>,
}

impl Worker {
    fn run(mut self, inbox: &mpsc::Receiver<Order>) {
        loop {
            let in_trouble = !lock(&self.state).obstacle.is_empty() && !self.vips.is_empty();
            let yields = self.kernel.settings().on_claim == OnClaim::Yield;
            let next = if in_trouble || yields {
                inbox.recv_timeout(AGAIN)
            } else {
                inbox
                    .recv()
                    .map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            };
            match next {
                Ok(Order::Configure(vips, intercepts)) => {
                    (self.vips, self.intercepts) = (vips, intercepts)
                }
                Ok(Order::Vet) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.kernel.ask_claimants(PROBE);
                    if !in_trouble {
                        continue;
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            self.carry_out();
        }
    }

    fn carry_out(&self) {
        let configured = self
            .kernel
            .configure(self.vips.clone(), self.intercepts.clone())
            .map_err(|e| format!("the kernel did not take the virtual IPs: {e}"));
        let must_vet = lock(&self.state).vetted == Vetted::NotYet;
        let free = if configured.is_ok() && must_vet {
            self.find_foreign()
        } else {
            Ok(())
        };
        let mut state = lock(&self.state);
        state.configured = configured.is_ok();
        if must_vet && configured.is_ok() && free.is_ok() {
            state.vetted = Vetted::Free;
        }
        let obstacle = configured.and(free).err().unwrap_or_default();
        if !obstacle.is_empty() && obstacle != state.obstacle {
            tracing::warn!(%obstacle, "this node cannot hold the virtual IP");
        }
        state.obstacle = obstacle;
    }

    fn find_foreign(&self) -> Result<(), String> {
        for vip in &self.vips {
            match self.kernel.probe_duplicate(vip.address, PROBE) {
                Ok(None) => {}
                Ok(Some(mac)) => {
                    return Err(format!(
                        "{} is used by another machine ({}): take it away there, or give virtual_ip {} another address",
                        vip.address,
                        mac_words(mac),
                        vip.name
                    ));
                }
                Err(e) => {
                    return Err(format!(
                        "whether {} is free could not be found out: {e}",
                        vip.address
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Ends what goes on before the addresses leave for another node.
///
/// ```text
///   no new connection --> sessions finish (2 to 10 ms) --> the others are reset --> fence, addresses
/// ```
///
/// A session that the fence cut off in silence would wait for an answer that never comes.
struct Farewell {
    traffic: Arc<dyn Traffic>,
    kernel: Arc<Kernel>,
    state: Arc<Mutex<State>>,
    turn: u64,
}

impl Farewell {
    fn say(self, done: Done) {
        std::thread::sleep(FINISH_AT_LEAST);
        self.wait_for_no_session(FINISH - FINISH_AT_LEAST);
        let state = lock(&self.state);
        let mine = state.turn == self.turn;
        if mine {
            self.traffic.close();
        }
        drop(state);
        if mine {
            self.wait_for_no_session(TELL);
            // The last socket closes right after it was counted.
            std::thread::sleep(LOOK);
        }
        let state = lock(&self.state);
        if state.turn == self.turn {
            return self.kernel.release_for_handover(done);
        }
        tracing::info!("a handover was overtaken");
        // By another release: then this one is done with it. By a hold: it never was.
        if !state.held {
            self.kernel.release(done);
        }
    }

    fn wait_for_no_session(&self, bound: Duration) {
        let end = boot_now() + bound;
        while self.traffic.sessions() > 0 && boot_now() < end {
            std::thread::sleep(LOOK);
        }
    }
}

impl VirtualIps for KernelAddresses {
    fn configure(&self, vips: Vec<Vip>, intercepts: Vec<Intercept>) {
        self.order(Order::Configure(vips, intercepts));
    }

    fn taken(&self, vips: &[Vip]) -> Vec<(IpAddr, Taken)> {
        let settings = self.kernel.settings();
        let look = || {
            let mut taken = examine::at_home(settings, vips)?;
            taken.extend(examine::claimed(settings, vips, ANSWER)?);
            Ok::<_, VipError>(taken)
        };
        look().unwrap_or_else(|error| {
            tracing::warn!(%error, "whether another machine has the virtual IPs was not found out");
            Vec::new()
        })
    }

    fn hold(&self, until: Instant, first_ever: bool) {
        let mut state = lock(&self.state);
        if first_ever && state.configured && state.vetted == Vetted::NotNeeded {
            state.vetted = Vetted::NotYet;
            drop(state);
            return self.order(Order::Vet);
        }
        if state.configured && state.vetted != Vetted::NotYet {
            state.turn += 1;
            state.held = true;
            self.traffic.open(until);
            self.kernel.hold(until.since_boot());
        }
    }

    fn release(&self, why: Release, done: Box<dyn FnOnce() + Send>) {
        let mut state = lock(&self.state);
        state.turn += 1;
        state.held = false;
        let turn = state.turn;
        let done: Done = Box::new(move |result| {
            match result {
                Ok(()) => done(),
                // Nobody may be told that it is away; who waits goes on when the lease is over.
                Err(error) => {
                    tracing::warn!(%error, "the virtual IP could not be dropped cleanly; its lease runs out in the kernel")
                }
            }
        });
        if why == Release::Ended {
            self.traffic.close();
            return self.kernel.release(done);
        }
        self.kernel.prepare_handover();
        let farewell = Farewell {
            traffic: self.traffic.clone(),
            kernel: self.kernel.clone(),
            state: self.state.clone(),
            turn,
        };
        let started = std::thread::Builder::new()
            .name("ha-handover".to_owned())
            .spawn(move || farewell.say(done));
        if let Err(error) = started {
            tracing::warn!(%error, "no thread for an orderly handover; the lease runs out instead");
            self.traffic.close();
            self.kernel.release(Box::new(|_| {}));
        }
    }

    fn obstacle(&self) -> Option<String> {
        if !self.kernel.carrier() {
            return Some(
                "the interface of the virtual IP has no carrier (cable, switch port, link down?)"
                    .to_owned(),
            );
        }
        let state = lock(&self.state);
        if !state.obstacle.is_empty() {
            return Some(state.obstacle.clone());
        }
        // Who holds already goes on: nothing is won by a change of hand.
        let away = self.kernel.yielded().or_else(|| self.gateway.obstacle());
        if away.is_some() {
            return away;
        }
        let left = self.kernel.left().into_iter().find(|_| !state.held);
        let (found, remedy) = left.map(|(address, taken)| taken.words(address))?;
        Some(format!("{found}: {remedy}"))
    }

    fn announce(&self) {
        self.kernel.announce();
    }

    fn fence(&self) -> String {
        let active = self.kernel.fence();
        let mut by = vec!["agent"];
        if active.nftables() {
            by.push("nftables");
        }
        if active.lifetime() {
            by.push("address lifetime");
        }
        by.join(", ")
    }
}
