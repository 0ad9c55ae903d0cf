//! Clients that come, come back and find the address by their neighbour cache; what the holder's proxy
//! decides for them: the product's own dispatch, carried out here over simulated servers.

use super::configuration::EXPIRE;
use super::machine::Running;
use super::planted::Planted;
use super::scheduler::{self, WORLD, world_now};
use super::slots::Carried;
use super::universe::{CLIENTS, Universe, VIP};
use super::way::Way;
use super::world::wall_of;
use ha_core::balance::AllTurns;
use ha_core::dispatch::{Around, Dispatch, Happened, Step};
use ha_core::time::Instant;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Of a thousand connections, so many come from an address that never came before.
const NEWCOMERS: u64 = 20;
/// The same where servers have few slots: who is bound nowhere may use any.
const NEWCOMERS_IN_A_CROWD: u64 = 300;
/// Who has not reached a server after this goes away.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// After so many of a thousand, a client stays away until its binding has almost ended.
const STAY_AWAY: u64 = 10;
const PORTS: [u16; 4] = [5012, 5014, 5019, 5022];

/// When each client was last served, in world time.
pub type Served = Arc<std::sync::Mutex<Vec<u64>>>;

/// Starts all clients, for ever.
pub fn start(universe: &Arc<Universe>) -> Served {
    let served: Served = Arc::new(std::sync::Mutex::new(vec![0; CLIENTS]));
    for client in 0..CLIENTS {
        let (universe, served) = (universe.clone(), served.clone());
        scheduler::spawn_on(WORLD, async move {
            let mut who = client;
            let newcomers = match universe.slots_each {
                0 => NEWCOMERS,
                _ => NEWCOMERS_IN_A_CROWD,
            };
            loop {
                scheduler::world_ms(scheduler::between(50, 500)).await;
                // Now and then somebody else sits there: nobody knows that address yet.
                if scheduler::happens(newcomers) {
                    who += CLIENTS;
                }
                if scheduler::happens(STAY_AWAY) {
                    let expire = EXPIRE.as_millis() as u64;
                    scheduler::world_ms(scheduler::between(expire * 8 / 10, expire * 97 / 100))
                        .await;
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
    matches!(tokio::time::timeout(PATIENCE, session).await, Ok(Ok(true)))
}

/// Nobody answered: the client asks the segment again, and tries later.
async fn resolve(universe: &Arc<Universe>, client: usize) -> bool {
    scheduler::world_ms(scheduler::between(200, 1000)).await;
    universe.with(|s| s.segment.neighbour[client] = s.segment.holders().first().copied());
    false
}

pub(super) fn address_of(client: usize) -> IpAddr {
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
    let mut way = Way::of(universe, me, running, client);
    let mut dispatch = Dispatch::new(address_of(client), SocketAddr::new(VIP, port));
    let (mut turns, mut happened) = (AllTurns::default(), Happened::Arrived);
    loop {
        let view = way.seen();
        let chooses = !matches!(happened, Happened::Bound(_) | Happened::Connected);
        let step = dispatch.step(
            happened,
            &mut Around {
                view: &view,
                now: wall_of(me),
                turns: &mut turns,
                loads: &mut Carried(&running.slots),
                under_way: &*running.binder,
            },
        );
        if chooses && matches!(step, Step::Bind { .. } | Step::Refresh(..) | Step::Wait(_)) {
            way.decided_from(view);
        }
        if is_cut() || way.is_left() {
            return false;
        }
        happened = match step {
            Step::Forward(forward) => return way.forward(&forward, closings),
            Step::GiveUp(_) => return false,
            other => match way.carry_out(other, &dispatch, &is_cut).await {
                Some(happened) => happened,
                None => return false,
            },
        };
    }
}
