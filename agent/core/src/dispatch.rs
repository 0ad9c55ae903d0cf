//! What happens to one session until it has its server: choose, bind, wait for a slot, connect; again when that fails.
//!
//! ```text
//!   Arrived --> choose --> Bind (if new) --> Wait (a slot) --> Connect --> Commit (if new) --> Forward
//!                 ^   \      |  an older binding of this      |    |
//!                 |    \     +-- session first: Settle        |    +-- fails: Pause and the same server again,
//!                 |     \                                     |        or at once elsewhere --> choose
//!                 |      +-- all full: Wait (any) --> Bind ---+
//!                 +---- queue full, server changed -----------+
//! ```
//!
//! A client that belongs to a server, by its binding or its hash, is tried there again after the turn-around and goes
//! elsewhere with its last try only; any other goes elsewhere at once. That is what HAProxy does.
//!
//! [`Dispatch`] decides and does nothing: whoever carries a [`Step`] out tells what [`Happened`], and gets the next one.
//! Which server is right is decided by [`crate::balance`]. The data plane and the simulation carry out the same steps.

mod around;
mod binding;
mod failing;
mod in_line;
mod step;

pub use around::{Around, UnderWay};
pub use step::{BindingState, COMMIT_WAIT, Forward, Happened, PlaceInLine, Remembered, Step};

use crate::balance::{Pick, pick};
use crate::close::CloseReason;
use crate::id::ServerId;
use crate::model::Balance;
use crate::time::Timestamp;
use crate::view::{BackendView, Newcomer, ServerView, View};
use crate::waiters::Queue;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// One session on its way to a server.
#[derive(Debug)]
pub struct Dispatch {
    client: IpAddr,
    local: SocketAddr,
    phase: Phase,
    /// What the present try was decided from.
    route: Option<Route>,
    /// Servers that could not be connected to.
    failed: Vec<ServerId>,
    /// Servers whose queue was full.
    full: Vec<ServerId>,
    /// The server to try once more.
    again: Option<ServerId>,
    retried: u32,
    /// The server of the binding that was asked for, until that is settled.
    asked: Option<ServerId>,
    /// The server of which a slot is held.
    slot: Option<ServerId>,
    /// The client belongs to the present server, by its binding or its hash: no other would do as well.
    belongs: bool,
    /// The client's own server cannot be had for a reason that says nothing of its health: the session goes elsewhere,
    /// and the binding stays as it is.
    meanwhile: bool,
    /// The server towards which no port was left.
    no_port: Option<ServerId>,
}

#[derive(Clone, Debug)]
struct Route {
    backend: Arc<BackendView>,
    client_timeout: Duration,
    client_fin_timeout: Duration,
    client_keepalive: Duration,
}

/// What is waited for. Servers are indexes into the route's backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Settling(usize, u8),
    Binding(usize, u8),
    Refreshing(usize),
    InLine(usize),
    InLineForAny,
    Connecting(usize),
    Pausing,
    Committing(usize),
    Over,
}

impl Dispatch {
    /// Of a client that asked for `local`.
    pub fn new(client: IpAddr, local: SocketAddr) -> Dispatch {
        Dispatch {
            client,
            local,
            phase: Phase::New,
            route: None,
            failed: Vec::new(),
            full: Vec::new(),
            again: None,
            retried: 0,
            asked: None,
            slot: None,
            belongs: false,
            meanwhile: false,
            no_port: None,
        }
    }

    /// The next step, after what came of the last one. What does not belong to it is a defect and ends the session.
    pub fn step(&mut self, happened: Happened, around: &mut Around<'_>) -> Step {
        use Happened as H;
        let step = match (std::mem::replace(&mut self.phase, Phase::Over), happened) {
            (Phase::New, H::Arrived) | (Phase::Pausing, H::Paused) => self.choose(around),
            (Phase::Settling(i, round), H::Settled) => {
                self.asked = None;
                self.bind(i, round, around.now)
            }
            (Phase::Binding(i, round), H::Bound(entry)) => self.bound(i, round, entry, around.now),
            (Phase::Refreshing(i), H::Refreshed) => self.wait(i),
            (Phase::InLine(i), H::GotSlot(server)) => {
                self.slot = Some(server);
                self.connect(i)
            }
            (Phase::InLineForAny, H::GotSlot(server)) => self.got_any(server, around),
            (Phase::InLine(i), H::QueueFull) => {
                self.full.extend(self.server(i).map(|s| s.id));
                self.choose(around)
            }
            (Phase::InLine(_) | Phase::InLineForAny, H::ServerChanged) => self.choose(around),
            (Phase::InLine(_) | Phase::InLineForAny, H::QueueTimeout) => {
                Step::GiveUp(CloseReason::QueueTimeout)
            }
            (Phase::Connecting(i), H::Connected) => self.connected(i),
            (Phase::Connecting(i), H::ConnectFailed | H::ConnectTimedOut | H::NoPortLeft) => {
                self.failed(i, happened, around)
            }
            (Phase::Committing(i), H::Committed) => self.forward(i, BindingState::Committed),
            (Phase::Committing(i), H::Uncommitted) => self.forward(i, BindingState::Uncommitted),
            _ => Step::GiveUp(CloseReason::Internal),
        };
        debug_assert!(step != Step::GiveUp(CloseReason::Internal), "{happened:?}");
        step
    }

    /// The backend that the present try was decided from.
    pub fn backend(&self) -> Option<&BackendView> {
        self.route.as_ref().map(|r| r.backend.as_ref())
    }

    /// Servers that could not be connected to.
    pub fn failures(&self) -> &[ServerId] {
        &self.failed
    }

    fn server(&self, i: usize) -> Option<&ServerView> {
        self.backend()?.servers.get(i)
    }

    fn choose(&mut self, around: &mut Around<'_>) -> Step {
        let routes = &around.view.routes;
        let frontend = routes.frontend_at(self.local.ip(), self.local.port());
        let Some((frontend, backend)) =
            frontend.and_then(|f| Some((f, routes.backends.get(f.backend)?)))
        else {
            return Step::GiveUp(CloseReason::NoFrontend);
        };
        let backend = backend.clone();
        self.slot = None;
        self.route = Some(Route {
            backend: backend.clone(),
            client_timeout: frontend.spec.client_timeout,
            client_fin_timeout: frontend.spec.client_fin_timeout,
            client_keepalive: frontend.spec.keepalive,
        });
        let own = self.own_in(&backend, around.view, around.now);
        let again = self.again.take().and_then(|again| {
            let same = |s: &ServerView| s.id == again && s.accepts(Newcomer::Bound);
            backend.servers.iter().position(same)
        });
        let i = match again.map_or_else(|| self.pick(&backend, around), Pick::Sticky) {
            Pick::Sticky(i) | Pick::Balanced(i) | Pick::Wait(i) => i,
            Pick::WaitForAny => {
                (self.belongs, self.meanwhile) = (false, own.is_some());
                return self.wait_for_any();
            }
            Pick::Nothing => return Step::GiveUp(self.why_nothing()),
        };
        self.meanwhile = own.is_some_and(|own| own != i);
        self.belongs = own == Some(i) || (backend.balance == Balance::Source && own.is_none());
        self.go_to(i, own == Some(i), around)
    }

    /// To that server, whose slot is had or waited for; the client is bound to it if it is not, and is to be.
    ///
    /// A binding that is under way may name another server than the view: sessions have been forwarded on it, maybe,
    /// and it counts as soon as it is committed. Who puts it into the log says which it is.
    fn go_to(&mut self, i: usize, is_bound: bool, around: &Around<'_>) -> Step {
        if self.meanwhile {
            return self.wait(i);
        }
        if !is_bound || self.is_under_way(around) {
            return self.bind(i, 0, around.now);
        }
        match self.refreshed(i, around) {
            Some((key, entry)) => {
                self.asked = Some(entry.server);
                self.phase = Phase::Refreshing(i);
                Step::Refresh(key, entry)
            }
            None => self.wait(i),
        }
    }

    /// The server that the client is bound to, if it may be kept: it is usable and has not failed this session.
    fn own_in(&self, backend: &BackendView, view: &View, now: Timestamp) -> Option<usize> {
        let bound = backend.bound(&view.stick, self.client, now)?;
        let server = &backend.servers[bound];
        let kept = !self.excludes(server) || self.no_port == Some(server.id);
        (server.accepts(Newcomer::Bound) && kept).then_some(bound)
    }

    fn is_under_way(&self, around: &Around<'_>) -> bool {
        let key = self.backend().and_then(|b| b.stick_key(self.client));
        key.is_some_and(|key| around.under_way.is_under_way(&key))
    }

    fn pick(&self, backend: &BackendView, around: &mut Around<'_>) -> Pick {
        let excluded: Vec<usize> = backend
            .servers
            .iter()
            .enumerate()
            .filter(|(_, s)| self.excludes(s))
            .map(|(i, _)| i)
            .collect();
        pick(
            backend,
            &around.view.stick,
            self.client,
            around.now,
            around.turns.of(&backend.name),
            around.loads,
            &excluded,
        )
    }

    fn why_nothing(&self) -> CloseReason {
        if !self.full.is_empty() {
            CloseReason::QueueFull
        } else if !self.failed.is_empty() {
            CloseReason::ConnectFailed
        } else {
            CloseReason::NoServer
        }
    }

    fn wait(&mut self, i: usize) -> Step {
        let Some((backend, server)) = self.backend().zip(self.server(i)) else {
            return Step::GiveUp(CloseReason::Internal);
        };
        if server.address.is_none() {
            return Step::GiveUp(CloseReason::NoServer);
        }
        if self.slot == Some(server.id) {
            return self.connect(i);
        }
        let line = PlaceInLine {
            queue: Queue::Server(server.id),
            longest: backend.maxqueue,
            within: backend.queue_timeout,
        };
        (self.phase, self.slot) = (Phase::InLine(i), None);
        Step::Wait(line)
    }

    fn connect(&mut self, i: usize) -> Step {
        let Some((backend, server)) = self.backend().zip(self.server(i)) else {
            return Step::GiveUp(CloseReason::Internal);
        };
        let Some(address) = server.address else {
            return Step::GiveUp(CloseReason::NoServer);
        };
        let step = Step::Connect {
            server: server.id,
            address: SocketAddr::new(address, server.port.unwrap_or(self.local.port())),
            within: backend.connect_timeout,
        };
        self.phase = Phase::Connecting(i);
        step
    }

    fn connected(&mut self, i: usize) -> Step {
        let commits = self.backend().is_some_and(BackendView::commits_bindings);
        match self.asked {
            None => self.forward(i, BindingState::AsBefore),
            Some(_) if !commits => self.forward(i, BindingState::NotAwaited),
            Some(_) => {
                self.phase = Phase::Committing(i);
                Step::Commit
            }
        }
    }

    fn forward(&self, i: usize, binding: BindingState) -> Step {
        let Some((route, server)) = self.route.as_ref().zip(self.server(i)) else {
            return Step::GiveUp(CloseReason::Internal);
        };
        // What was bound is another server, which could not be used: this session rests on nothing.
        let binding = match self.asked {
            Some(asked) if asked != server.id => BindingState::Uncommitted,
            _ => binding,
        };
        Step::Forward(Forward {
            server: server.id,
            client_timeout: route.client_timeout,
            server_timeout: route.backend.server_timeout,
            client_fin_timeout: route.client_fin_timeout,
            server_fin_timeout: route.backend.server_fin_timeout,
            client_keepalive: route.client_keepalive,
            server_keepalive: route.backend.keepalive,
            binding,
        })
    }

    fn excludes(&self, server: &ServerView) -> bool {
        server.cut.is_some() || self.failed.contains(&server.id) || self.full.contains(&server.id)
    }
}

#[cfg(test)]
mod tests;
