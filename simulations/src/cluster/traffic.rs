//! Clients that come, come back and find the address by their neighbour cache; what the holder's proxy
//! decides for them: the product's own dispatch, carried out here over simulated servers.

use super::invariants::affinity::How;
use super::planted::Planted;
use super::scheduler::{self, WORLD, world_now};
use super::sessions;
use super::story;
use super::universe::{CLIENTS, Running, Service, Universe, VIP};
use super::world::wall_of;
use ha_core::balance::{AllTurns, Loads};
use ha_core::controller::Event;
use ha_core::dispatch::{Around, Binding, COMMIT_WAIT, Dispatch, Forward, Happened, Step};
use ha_core::id::ServerId;
use ha_core::stick::{StickEntry, StickKey};
use ha_core::time::Instant;
use ha_core::view::{Newcomer, ServerView, View};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Of a thousand connections, so many come from an address that never came before.
const NEWCOMERS: u64 = 20;
const PORTS: [u16; 4] = [5012, 5014, 5019, 5022];

struct NoLoad;
impl Loads for NoLoad {
    fn sessions(&self, _: &ServerView) -> u32 {
        0
    }
    fn random(&mut self) -> u64 {
        scheduler::draw()
    }
}

/// When each client was last served, in world time.
pub type Served = Arc<std::sync::Mutex<Vec<u64>>>;

/// Starts all clients, for ever.
pub fn start(universe: &Arc<Universe>) -> Served {
    let served: Served = Arc::new(std::sync::Mutex::new(vec![0; CLIENTS]));
    for client in 0..CLIENTS {
        let (universe, served) = (universe.clone(), served.clone());
        scheduler::spawn_on(WORLD, async move {
            let mut who = client;
            loop {
                scheduler::world_ms(scheduler::between(50, 500)).await;
                // Now and then somebody else sits there: nobody knows that address yet.
                if scheduler::happens(NEWCOMERS) {
                    who += CLIENTS;
                }
                if come(&universe, client, who).await {
                    served
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)[client] = world_now();
                }
            }
        });
    }
    served
}

/// One connection; whether a server answered.
async fn come(universe: &Arc<Universe>, client: usize, who: usize) -> bool {
    let Some(node) = universe.with(|s| s.segment.neighbour[client]) else {
        return resolve(universe, client).await;
    };
    scheduler::world_ms(1).await;
    let running = universe.running(node).filter(|_| {
        universe.with(|s| {
            s.segment.holders().contains(&node) || universe.planted == Planted::ProxyIgnoresLease
        })
    });
    let Some(running) = running else {
        return resolve(universe, client).await;
    };
    let (at, port) = (
        universe.clone(),
        PORTS[scheduler::below(PORTS.len() as u64) as usize],
    );
    let session = scheduler::spawn_on(
        node,
        async move { serve(&at, node, &running, who, port).await },
    );
    matches!(
        tokio::time::timeout(Duration::from_secs(2), session).await,
        Ok(Ok(true))
    )
}

/// Nobody answered: the client asks the segment again, and tries later.
async fn resolve(universe: &Arc<Universe>, client: usize) -> bool {
    scheduler::world_ms(scheduler::between(200, 1000)).await;
    universe.with(|s| s.segment.neighbour[client] = s.segment.holders().first().copied());
    false
}

fn address_of(client: usize) -> IpAddr {
    let [.., high, middle, low] = (client as u32).to_be_bytes();
    IpAddr::from([10, 64 | high, middle, low])
}

/// As the proxy does it: gate, choice, binding, connection.
async fn serve(
    universe: &Arc<Universe>,
    me: usize,
    running: &Running,
    client: usize,
    port: u16,
) -> bool {
    let now = || Instant(scheduler::clock_of(me));
    let ignores = universe.planted == Planted::ProxyIgnoresLease;
    let may_serve = || ignores || running.hands.gate.is_open(now());
    if !may_serve() {
        return false;
    }
    let closings = running.hands.gate.closings();
    let is_cut = || !may_serve() || (!ignores && running.hands.gate.closings() != closings);
    let mut way = Way {
        universe,
        me,
        running,
        client,
        decided: running.view.borrow().clone(),
        refused: Vec::new(),
        asked: None,
    };
    let mut dispatch = Dispatch::new(address_of(client), SocketAddr::new(VIP, port));
    let (mut turns, mut happened) = (AllTurns::default(), Happened::Arrived);
    loop {
        let view = running.view.borrow().clone();
        let chooses = !matches!(happened, Happened::Bound(_) | Happened::Connected);
        let step = dispatch.step(
            happened,
            &mut Around {
                view: &view,
                now: wall_of(me),
                turns: &mut turns,
                loads: &mut NoLoad,
            },
        );
        if chooses && matches!(step, Step::Bind { .. } | Step::Refresh(..) | Step::Wait(_)) {
            way.decided = view;
        }
        if is_cut() {
            return false;
        }
        happened = match step {
            Step::Forward(forward) => return way.forward(&forward, closings),
            Step::GiveUp(_) => return false,
            other => way.carry_out(other).await,
        };
    }
}

/// One session on its way to a server.
struct Way<'a> {
    universe: &'a Arc<Universe>,
    me: usize,
    running: &'a Running,
    client: usize,
    /// What the last choice was made from.
    decided: Arc<View>,
    /// Servers that did not answer, as the world knows it.
    refused: Vec<ServerId>,
    asked: Option<(StickKey, StickEntry, oneshot::Receiver<()>)>,
}

impl Way<'_> {
    /// Does what is to be done, and says what came of it.
    async fn carry_out(&mut self, step: Step) -> Happened {
        match step {
            Step::Bind {
                key,
                proposal,
                remembered,
            } => {
                self.expect(proposal.server, How::Proposed);
                newcomer(self.universe, self.me, proposal.server);
                let binding = self.running.binder.bind(key.clone(), proposal, remembered);
                self.asked = Some((key, binding.entry, binding.committed));
                Happened::Bound(binding.entry)
            }
            Step::Settle => {
                self.is_committed().await;
                self.asked = None;
                Happened::Settled
            }
            Step::Refresh(key, used) => {
                self.running.binder.refresh(key, used);
                Happened::Refreshed
            }
            Step::Connect { server, .. } => self.connect(server).await,
            Step::Pause(pause) => {
                scheduler::sleep(pause).await;
                Happened::Paused
            }
            Step::Commit if self.is_committed().await => Happened::Committed,
            Step::Commit => Happened::Uncommitted,
            // Servers have slots for everybody here.
            Step::Wait(_) | Step::Forward(_) | Step::GiveUp(_) => Happened::GotSlot,
        }
    }

    async fn is_committed(&mut self) -> bool {
        if self.universe.planted == Planted::ForwardsBeforeCommit {
            return true;
        }
        let Some((.., committed)) = &mut self.asked else {
            return false;
        };
        let within = scheduler::in_world(COMMIT_WAIT);
        matches!(tokio::time::timeout(within, committed).await, Ok(Ok(())))
    }

    async fn connect(&mut self, id: ServerId) -> Happened {
        let Some(server) = server_of(&self.decided, id) else {
            return Happened::ConnectFailed;
        };
        attempted(self.universe, self.me, server);
        let reached = reach(self.universe, self.me, server).await;
        if !reached {
            self.running.driver.tell(Event::ConnectFailed(id));
            self.refused.push(id);
        }
        let denied = self.universe.planted == Planted::RedispatchesUsable && scheduler::happens(50);
        if reached && !denied {
            Happened::Connected
        } else {
            Happened::ConnectFailed
        }
    }

    /// The first byte goes to the server.
    fn forward(&self, forward: &Forward, closings: u64) -> bool {
        let now = self.running.view.borrow().clone();
        if server_of(&now, forward.server).is_none_or(|s| s.cut.is_some()) {
            // Its sessions are being cut, and this is one.
            return false;
        }
        let how = match forward.binding {
            Binding::AsBefore => How::Bound,
            Binding::Committed => How::Acknowledged,
            Binding::NotAwaited | Binding::Uncommitted => How::Proposed,
        };
        self.expect(forward.server, how);
        let acknowledged = self
            .asked
            .as_ref()
            .filter(|_| how == How::Acknowledged)
            .map(|(key, entry, _)| (key.clone(), *entry));
        forwarded(self.universe, self.me, forward.server, acknowledged);
        if let Some(server) = server_of(&now, forward.server) {
            sessions::go_on(self.universe, self.me, self.running, server, closings);
        }
        true
    }

    /// A session or a binding goes there: nowhere else than before, unless that could not be had.
    fn expect(&self, server: ServerId, how: How) {
        expect(
            self.universe,
            self.client,
            &self.decided,
            server,
            how,
            &self.refused,
        );
    }
}

fn server_of(view: &View, id: ServerId) -> Option<&ServerView> {
    view.routes.server(id).map(|(_, server)| server)
}

/// A client that is bound to nobody is to go there.
fn newcomer(universe: &Universe, me: usize, server: ServerId) {
    universe.with(|s| {
        let outcome = s.invariants.service.on_newcomer(me, world_now(), server);
        s.check(outcome);
    });
}

/// A client is sent to that server, whether it answers or not.
fn attempted(universe: &Universe, me: usize, server: &ServerView) {
    let node = server.address.and_then(|a| universe.node_with(a));
    universe.with(|s| {
        let broken = node.and_then(|n| s.nodes[n].broken_since);
        let outcome = s
            .invariants
            .service
            .on_attempt(me, world_now(), server.id, broken);
        s.check(outcome);
    });
}

async fn reach(universe: &Universe, me: usize, server: &ServerView) -> bool {
    let Some(node) = server.address.and_then(|a| universe.node_with(a)) else {
        return false;
    };
    let hops = universe.with(|s| {
        if node == me {
            Some((Duration::ZERO, Duration::ZERO))
        } else {
            s.network.hop(me, node).zip(s.network.hop(node, me))
        }
    });
    let (powered, service) = universe.with(|s| (s.nodes[node].powered, s.nodes[node].service));
    match hops.filter(|_| powered && service != Service::Hanging) {
        Some((there, back)) => {
            tokio::time::sleep(there + back).await;
            service == Service::Up
        }
        None => {
            tokio::time::sleep(Duration::from_millis(500)).await;
            false
        }
    }
}

/// A session or a binding goes there: nowhere else than before, unless that could not be had.
/// `view`: what it was decided from.
fn expect(
    universe: &Universe,
    client: usize,
    view: &View,
    server: ServerId,
    how: How,
    failed: &[ServerId],
) {
    universe.with(|s| {
        let last = s.invariants.affinity.server_of(client);
        let usable = last.is_some_and(|l| {
            !failed.contains(&l)
                && view
                    .routes
                    .server(l)
                    .is_some_and(|(_, v)| v.accepts(Newcomer::Bound) && !v.suspect)
        });
        if last != Some(server) {
            story::note(&format!(
                "client {client} belongs to server {}{}",
                server.0,
                if how == How::Proposed {
                    ", not acknowledged"
                } else {
                    ""
                }
            ));
        }
        let outcome = s
            .invariants
            .affinity
            .on_session(client, server, how, usable);
        s.check(outcome);
    });
}

/// The first byte goes to the server: what must be true of it. `acknowledged`: the binding that was made for it and
/// committed; one that was there before is in the log anyway, and newer ones may be on their way there.
fn forwarded(
    universe: &Universe,
    me: usize,
    server: ServerId,
    acknowledged: Option<(StickKey, StickEntry)>,
) {
    universe.with(|s| {
        s.counts.add("sessions");
        let holders = s.segment.holders();
        let outcome = s
            .invariants
            .service
            .on_session(me, world_now(), &holders, server);
        s.check(outcome);
        if let Some((key, entry)) = acknowledged {
            let before = s.invariants.bindings.len();
            s.invariants.bindings.on_acknowledged(key, entry);
            if s.invariants.bindings.len() > before {
                s.counts.add("clients bound");
            }
        }
    });
}
