//! A session waits for a slot, as the proxy has it wait: until its turn, its time is over, or what it waits for is no more.

use super::Way;
use crate::cluster::planted::Planted;
use crate::cluster::scheduler::{self, world_now};
use crate::cluster::world::wall_of;
use ha_core::dispatch::{Dispatch, Happened, PlaceInLine};
use ha_core::waiters::Queue;
use std::time::Duration;

/// How often who waits looks around, in milliseconds.
const LOOKS: u64 = 50;

impl Way<'_> {
    /// Takes a slot, in line if need be.
    pub(super) async fn wait(
        &mut self,
        line: PlaceInLine,
        dispatch: &Dispatch,
        is_cut: &(dyn Fn() -> bool + Sync),
    ) -> Option<Happened> {
        self.slot = None;
        let slots = &self.running.slots;
        let may = self.may_use(&line.queue);
        let queue = match &line.queue {
            Queue::Backend { except } if self.universe.planted == Planted::WaitsForOne => {
                let pools = slots.pools();
                let mut open = pools.iter().filter(|(s, p)| p.open && !except.contains(s));
                open.next()
                    .map_or(line.queue.clone(), |(s, _)| Queue::Server(*s))
            }
            asked_for => asked_for.clone(),
        };
        let mut place = slots.enter(queue, self.client, may);
        let ends_at = world_now() + scheduler::in_world(line.within).as_nanos() as u64;
        if place.turn.is_empty() {
            let any = matches!(line.queue, Queue::Backend { .. });
            self.universe.with(|s| {
                s.counts.add("waits for a slot");
                s.counts.add_many("waits for any slot", any.into());
            });
        }
        loop {
            let within = Duration::from_millis(LOOKS);
            if let Ok(got) = tokio::time::timeout(within, &mut place.turn).await {
                // Only who leaves the line is left by it.
                let slot = got.ok()?;
                let server = slot.server();
                self.slot = Some(slot);
                return Some(Happened::GotSlot(server));
            }
            slots.look();
            let view = self.running.view.borrow().clone();
            if is_cut() || self.is_left() {
                return None;
            }
            if !dispatch.still_wants(&line.queue, &view, wall_of(self.me)) {
                return Some(Happened::ServerChanged);
            }
            if world_now() >= ends_at {
                return Some(Happened::QueueTimeout);
            }
        }
    }

    /// What may serve this client, by what is known of it: who is bound nowhere is served by whoever takes newcomers and
    /// has not failed it, whatever it waits for.
    fn may_use(&self, waits_for: &Queue) -> Queue {
        if self.asked.is_some() || self.own(&self.decided).is_some() {
            return waits_for.clone();
        }
        let servers = self.decided.routes.backends.iter().flat_map(|b| &b.servers);
        let excluded = servers.filter(|s| s.cut.is_some() || self.failed.contains(&s.id));
        Queue::Backend {
            except: excluded.map(|s| s.id).collect(),
        }
    }
}
