//! Sessions that last: the holder carries them until one side ends them, the lease does, or the product cuts them.

use super::invariants::drains;
use super::machine::Running;
use super::plan::Theme;
use super::scheduler::{self, world_now};
use super::slots::Slot;
use super::story;
use super::universe::Universe;
use super::world::wall_of;
use ha_core::id::ServerId;
use ha_core::time::Instant;
use ha_core::trust::Credentials;
use ha_core::view::ServerView;
use ha_node::outside::{Boxed, SelfCheck};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of a thousand sessions, so many last.
const LASTING: u64 = 40;
/// For so long, in milliseconds.
const LASTS: (u64, u64) = (500, 20_000);
/// All of them where servers have few slots, and for so long.
const LASTS_IN_A_CROWD: (u64, u64) = (20, 300);
/// How often a session looks around, in milliseconds. By time and not by the view's channel: that wakes at random.
const LOOKS: u64 = 50;

/// Sessions per server that a process carries.
#[derive(Debug, Default)]
pub struct Open(Mutex<BTreeMap<ServerId, u32>>);

impl Open {
    fn counts(&self) -> MutexGuard<'_, BTreeMap<ServerId, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SelfCheck for Open {
    fn data_plane(&self) -> Boxed<Option<String>> {
        Box::pin(std::future::ready(None))
    }

    fn obstacle(&self) -> Option<String> {
        None
    }

    fn sessions(&self) -> BTreeMap<ServerId, u32> {
        self.counts().clone()
    }

    fn credentials(&self) -> Credentials {
        Credentials::default()
    }
}

struct Carried {
    open: Arc<Open>,
    server: ServerId,
}

impl Carried {
    fn begin(open: Arc<Open>, server: ServerId) -> Self {
        *open.counts().entry(server).or_default() += 1;
        Carried { open, server }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(count) = self.open.counts().get_mut(&self.server) {
            *count = count.saturating_sub(1);
        }
    }
}

/// A session to `server` that node `me` forwards goes on for a while with its slot, or ends at once. `closings`: of the
/// gate.
pub fn go_on(
    universe: &Arc<Universe>,
    me: usize,
    running: &Running,
    server: &ServerView,
    slot: Option<Slot>,
    closings: u64,
) {
    let crowded = universe.slots_each > 0;
    let Some(on) = server
        .address
        .and_then(|a| universe.node_with(a))
        .filter(|_| crowded || scheduler::happens(LASTING))
    else {
        return;
    };
    let (universe, running, server) = (universe.clone(), running.clone(), server.id);
    let (from, to) = if crowded { LASTS_IN_A_CROWD } else { LASTS };
    let lasts = scheduler::between(from, to) * 1_000_000;
    let carried = Carried::begin(running.open.clone(), server);
    scheduler::spawn_on(me, async move {
        let began = world_now();
        while world_now() < began + lasts {
            scheduler::world_ms(LOOKS).await;
            let holds = running.hands.gate.is_open(Instant(scheduler::clock_of(me)))
                && running.hands.gate.closings() == closings;
            let served =
                universe.with(|s| s.nodes[on].powered && s.nodes[on].broken_since.is_none());
            let cut = running
                .view
                .borrow()
                .routes
                .server(server)
                .map(|(_, now)| now.cut);
            let (true, true, Some(cut)) = (holds, served, cut) else {
                break;
            };
            let (node, wall) = (universe.id_of(on), wall_of(me));
            let age = (world_now() - began) / 1_000_000;
            let calm = universe.theme == Theme::Draining;
            universe.with(|s| {
                let ideal = &s.invariants.ideal;
                let outcome = match cut {
                    Some(cut) => drains::on_cut(ideal, node, cut, age, wall, calm),
                    // Elsewhere the log may stand still for long.
                    None if calm => drains::on_going_on(ideal, node, wall, world_now()),
                    None => Ok(()),
                };
                s.check(outcome);
            });
            if let Some(cut) = cut {
                story::note(&format!(
                    "a session of {age} ms to server {} is cut: {cut:?}",
                    server.0
                ));
                universe.with(|s| s.counts.add("sessions cut"));
                break;
            }
        }
        universe.with(|s| s.counts.add("sessions that lasted"));
        drop((carried, slot));
    });
}
