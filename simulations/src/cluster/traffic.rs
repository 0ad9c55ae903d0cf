//! Clients that come, come back and find the address by their neighbour cache; what the holder's proxy
//! decides for them, with the product's own choosing and binding.

use super::invariants::affinity::How;
use super::planted::Planted;
use super::scheduler::{self, WORLD, world_now};
use super::sessions;
use super::story;
use super::universe::{CLIENTS, Running, Service, Universe, VIP};
use super::world::wall_of;
use ha_core::balance::{Loads, Pick, Turns, pick};
use ha_core::controller::Event;
use ha_core::dispatch::COMMIT_WAIT;
use ha_core::id::ServerId;
use ha_core::stick::{StickEntry, StickKey};
use ha_core::time::{Instant, Timestamp};
use ha_core::view::{Newcomer, ServerView, View};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

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
    let address = address_of(client);
    let wall = wall_of(me);
    let mut tried = Vec::new();
    for _ in 0..3 {
        // Anew for each try, as the proxy does.
        let view = running.view.borrow().clone();
        let Some(frontend) = view.routes.frontend_at(VIP, port) else {
            return false;
        };
        let Some(backend) = view.routes.backends.get(frontend.backend) else {
            return false;
        };
        let chosen = match pick(
            backend,
            &view.stick,
            address,
            wall,
            &mut Turns::default(),
            &mut NoLoad,
            &tried,
        ) {
            Pick::Sticky(i) => (i, true),
            Pick::Balanced(i) | Pick::Wait(i) => (i, false),
            Pick::Nothing => return false,
        };
        let Some(key) = backend.stick_key(address) else {
            return false;
        };
        let failed: Vec<ServerId> = tried.iter().map(|i| backend.servers[*i].id).collect();
        let (i, how) = match chosen {
            (i, true) => (i, How::Bound),
            (i, false) => {
                if !may_serve() {
                    return false;
                }
                newcomer(universe, me, &backend.servers[i]);
                // Decided now: if this session dies on the way, the log may have it or not.
                expect(
                    universe,
                    client,
                    &view,
                    backend.servers[i].id,
                    How::Proposed,
                    &failed,
                );
                let (i, acknowledged) =
                    bind(universe, running, &key, &backend.servers, i, wall).await;
                let how = if acknowledged {
                    How::Acknowledged
                } else {
                    How::Proposed
                };
                expect(universe, client, &view, backend.servers[i].id, how, &failed);
                (i, how)
            }
        };
        let server = &backend.servers[i];
        if is_cut() {
            // Cut with the lease.
            return false;
        }
        attempted(universe, me, server);
        if !reach(universe, me, server).await {
            running.driver.tell(Event::ConnectFailed(server.id));
            tried.push(i);
            continue;
        }
        if is_cut() {
            return false;
        }
        if running
            .view
            .borrow()
            .routes
            .server(server.id)
            .is_none_or(|(_, now)| now.cut.is_some())
        {
            // Its sessions are being cut, and this is one.
            return false;
        }
        expect(universe, client, &view, server.id, how, &failed);
        forwarded(universe, me, (key, server, how == How::Acknowledged), wall);
        sessions::go_on(universe, me, running, server, closings);
        return true;
    }
    false
}

/// Binds the client; which server it gets, and whether the log has it.
async fn bind(
    universe: &Universe,
    running: &Running,
    key: &StickKey,
    servers: &[ServerView],
    choice: usize,
    wall: Timestamp,
) -> (usize, bool) {
    let Some(entry) = entry(&servers[choice], wall) else {
        return (choice, false);
    };
    let binding = running.binder.bind(key.clone(), entry);
    let bound = servers
        .iter()
        .position(|s| s.id == binding.entry.server)
        .unwrap_or(choice);
    if universe.planted == Planted::ForwardsBeforeCommit {
        return (bound, true);
    }
    let committed = tokio::time::timeout(scheduler::in_world(COMMIT_WAIT), binding.committed).await;
    (bound, matches!(committed, Ok(Ok(()))))
}

/// A binding to a server, made now.
fn entry(server: &ServerView, wall: Timestamp) -> Option<StickEntry> {
    Some(StickEntry {
        server: server.id,
        host: server.address?,
        bound_at: wall,
        used_at: wall,
        expire: Duration::from_secs(1800),
    })
}

/// A client that is bound to nobody is to go there.
fn newcomer(universe: &Universe, me: usize, server: &ServerView) {
    universe.with(|s| {
        let outcome = s.invariants.service.on_newcomer(me, world_now(), server.id);
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

/// The first byte goes to the server: what must be true of it. `acknowledged`: on a binding that was made for it
/// and committed; one that was there before is in the log anyway, and newer ones may be on their way there.
fn forwarded(
    universe: &Universe,
    me: usize,
    (key, server, acknowledged): (StickKey, &ServerView, bool),
    wall: Timestamp,
) {
    universe.with(|s| {
        s.counts.add("sessions");
        let holders = s.segment.holders();
        let outcome = s
            .invariants
            .service
            .on_session(me, world_now(), &holders, server.id);
        s.check(outcome);
        if acknowledged && let Some(entry) = entry(server, wall) {
            let before = s.invariants.bindings.len();
            s.invariants.bindings.on_acknowledged(key, entry);
            if s.invariants.bindings.len() > before {
                s.counts.add("clients bound");
            }
        }
    });
}
