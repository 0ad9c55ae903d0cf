//! One session on its way to a server: what the product's dispatch decides is carried out here over simulated servers.

mod in_line;

use super::configuration;
use super::invariants::affinity::How;
use super::invariants::suspicion;
use super::machine::{Running, Service};
use super::planted::Planted;
use super::scheduler::{self, world_now};
use super::sessions;
use super::slots::Slot;
use super::story;
use super::traffic::{PATIENCE, address_of};
use super::universe::Universe;
use super::world::wall_of;
use ha_core::controller::Event;
use ha_core::dispatch::{BindingState, COMMIT_WAIT, Dispatch, Forward, Happened, Step};
use ha_core::id::ServerId;
use ha_core::stick::{StickEntry, StickKey, StickTable};
use ha_core::time::Timestamp;
use ha_core::view::{Newcomer, ServerView, View};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// The wall clocks of nodes are a little apart.
const SLACK: Duration = Duration::from_millis(100);

/// One session on its way to a server.
pub(super) struct Way<'a> {
    universe: &'a Arc<Universe>,
    me: usize,
    running: &'a Running,
    client: usize,
    /// What the last choice was made from.
    decided: Arc<View>,
    /// When: that is the use of a binding, however long its session waits for a slot then.
    decided_at: Timestamp,
    /// Servers that did not answer, as the world knows it.
    failed: Vec<ServerId>,
    /// The client's own, if it did nothing but refuse, and when first.
    refused: BTreeMap<ServerId, u64>,
    asked: Option<(StickKey, StickEntry, oneshot::Receiver<()>)>,
    /// What it has of its server.
    slot: Option<Slot>,
    /// When the client goes away, in world time.
    goes_at: u64,
}

impl<'a> Way<'a> {
    /// Of a client that node `me` has accepted.
    pub(super) fn of(
        universe: &'a Arc<Universe>,
        me: usize,
        running: &'a Running,
        client: usize,
    ) -> Way<'a> {
        Way {
            universe,
            me,
            running,
            client,
            decided: running.view.borrow().clone(),
            decided_at: wall_of(me),
            failed: Vec::new(),
            refused: BTreeMap::new(),
            asked: None,
            slot: None,
            goes_at: world_now() + PATIENCE.as_nanos() as u64,
        }
    }

    /// The client has gone away: nothing is decided for it any more, and its next session may be elsewhere by now.
    pub(super) fn is_left(&self) -> bool {
        world_now() >= self.goes_at
    }

    /// The last choice was made from this view.
    pub(super) fn decided_from(&mut self, view: Arc<View>) {
        (self.decided, self.decided_at) = (view, wall_of(self.me));
    }

    /// The newest view, as the dispatch gets it.
    pub(super) fn seen(&self) -> Arc<View> {
        let view = self.running.view.borrow().clone();
        let suspect = self.own(&view).is_some_and(|own| own.suspect);
        if suspect && self.universe.planted == Planted::SuspicionRebinds {
            let routes = view.routes.clone();
            let stick = StickTable::default();
            return Arc::new(View { routes, stick });
        }
        view
    }

    /// The server that the client is bound to.
    fn own<'v>(&self, view: &'v View) -> Option<&'v ServerView> {
        let backend = view.routes.backends.first()?;
        let own = backend.bound(&view.stick, address_of(self.client), wall_of(self.me))?;
        backend.servers.get(own)
    }

    /// The client is to be bound to `proposed`: what must be true then.
    fn bound_anew(&self, proposed: ServerId) {
        let view = self.running.view.borrow().clone();
        let Some(own) = self.own(&view).filter(|own| own.id != proposed) else {
            return;
        };
        let node = own.address.and_then(|a| self.universe.node_with(a));
        let refused = node.zip(self.refused.get(&own.id));
        self.universe.with(|s| {
            let outcome = suspicion::on_bind(self.client, own, proposed, &self.failed);
            s.check(outcome);
            if let Some((node, at)) = refused
                && own.accepts(Newcomer::Bound)
            {
                s.invariants
                    .turn_around
                    .on_left(node, self.client, own.id, *at);
            }
        });
    }

    /// Does what is to be done, and says what came of it; nothing when the client went away or the session was cut.
    pub(super) async fn carry_out(
        &mut self,
        step: Step,
        dispatch: &Dispatch,
        is_cut: &(dyn Fn() -> bool + Sync),
    ) -> Option<Happened> {
        Some(match step {
            Step::Bind {
                key,
                proposal,
                remembered,
            } => {
                self.expect(proposal.server, How::Proposed);
                // Who is bound there asks too, while something else is under way.
                if self.own(&self.decided).map(|own| own.id) != Some(proposal.server) {
                    newcomer(self.universe, self.me, proposal.server);
                }
                self.bound_anew(proposal.server);
                let proposal = match self.universe.planted {
                    Planted::DiesEarly => StickEntry {
                        expire: proposal.expire * 4 / 5,
                        ..proposal
                    },
                    _ => proposal,
                };
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
                let binding = self.running.binder.refresh(key.clone(), used);
                self.asked = Some((key, binding.entry, binding.committed));
                Happened::Refreshed
            }
            Step::Connect { server, .. } => self.connect(server).await,
            Step::Pause(pause) => {
                scheduler::sleep(pause).await;
                Happened::Paused
            }
            Step::Commit if self.is_committed().await => Happened::Committed,
            Step::Commit => Happened::Uncommitted,
            Step::Wait(line) => return self.wait(line, dispatch, is_cut).await,
            Step::Forward(_) | Step::GiveUp(_) => Happened::Arrived,
        })
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
        let belonged = self.own(&self.decided).is_some_and(|own| own.id == id);
        attempted(self.universe, self.me, server);
        let reached = reach(self.universe, self.me, server).await;
        let denied = self.universe.planted == Planted::RedispatchesUsable && scheduler::happens(50);
        match reached {
            Reached::Accepted if denied => {
                self.slot = None;
                return Happened::ConnectFailed;
            }
            Reached::Accepted => return Happened::Connected,
            Reached::Refused if belonged && !self.failed.contains(&id) => {
                self.refused.insert(id, world_now());
            }
            Reached::Refused => {}
            Reached::Nothing => drop(self.refused.remove(&id)),
        }
        self.slot = None;
        self.running.driver.tell(Event::ConnectFailed(id));
        self.failed.push(id);
        match reached {
            Reached::Nothing => Happened::ConnectTimedOut,
            _ => Happened::ConnectFailed,
        }
    }

    /// The first byte goes to the server.
    pub(super) fn forward(&mut self, forward: &Forward, closings: u64) -> bool {
        let now = self.running.view.borrow().clone();
        if server_of(&now, forward.server).is_none_or(|s| s.cut.is_some()) {
            // Its sessions are being cut, and this is one.
            return false;
        }
        let own = self.own(&self.decided).map(|own| own.id);
        let how = match forward.binding {
            BindingState::AsBefore if own.is_some_and(|own| own != forward.server) => {
                How::Meanwhile
            }
            BindingState::AsBefore => How::Bound,
            BindingState::Committed => How::Acknowledged,
            BindingState::NotAwaited | BindingState::Uncommitted => How::Proposed,
        };
        self.expect(forward.server, how);
        let acknowledged = self
            .asked
            .as_ref()
            .filter(|_| how == How::Acknowledged)
            .map(|(key, entry, _)| (key.clone(), *entry));
        forwarded(self.universe, self.me, forward.server, acknowledged);
        if let Some(server) = server_of(&now, forward.server) {
            let slot = self.slot.take();
            sessions::go_on(self.universe, self.me, self.running, server, slot, closings);
        }
        true
    }

    /// A session or a binding goes there: nowhere else than before, unless that could not be had.
    fn expect(&self, server: ServerId, how: How) {
        expect(
            self.universe,
            self.client,
            (&self.decided, self.decided_at),
            server,
            how,
            &self.failed,
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

/// What came of a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    Accepted,
    Refused,
    Nothing,
}

async fn reach(universe: &Universe, me: usize, server: &ServerView) -> Reached {
    let Some(node) = server.address.and_then(|a| universe.node_with(a)) else {
        return Reached::Nothing;
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
            match service {
                Service::Up => Reached::Accepted,
                _ => Reached::Refused,
            }
        }
        None => {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Reached::Nothing
        }
    }
}

/// A session or a binding goes there: nowhere else than before, unless that could not be had.
/// `view`: what it was decided from, and when.
fn expect(
    universe: &Universe,
    client: usize,
    (view, now): (&View, Timestamp),
    server: ServerId,
    how: How,
    failed: &[ServerId],
) {
    let expire = configuration::expire(universe);
    universe.with(|s| {
        let last = s.invariants.affinity.server_of(client, now, expire - SLACK);
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
            .on_session(client, server, how, usable, now);
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
