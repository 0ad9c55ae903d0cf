//! What happens to one session until it has its server: choose, bind, wait for a slot, connect; again when that fails.
//!
//! ```text
//!   Arrived --> choose --> Bind (if new) --> Wait (a slot) --> Connect --> Commit (if new) --> Forward
//!                 ^          |  an older binding of this       |    |
//!                 |          +-- session first: Settle         |    +-- fails: Pause, or at once elsewhere --> choose
//!                 +---- queue full, server changed ------------+
//! ```
//!
//! [`Dispatch`] decides and does nothing: whoever carries a [`Step`] out tells what [`Happened`], and gets the next one.
//! Which server is right is decided by [`crate::balance`]. The data plane and the simulation carry out the same steps.

use crate::balance::{AllTurns, Loads, Pick, pick};
use crate::close::CloseReason;
use crate::id::ServerId;
use crate::stick::{StickEntry, StickKey};
use crate::time::Timestamp;
use crate::view::{BackendView, Newcomer, ServerView, View};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How long the first byte waits for a new binding to be committed, counted from when it was asked for.
pub const COMMIT_WAIT: Duration = Duration::from_millis(200);
/// Longest pause before the same server is tried again (HAProxy's turn-around).
const TURN_AROUND: Duration = Duration::from_secs(1);
/// How often a client is bound anew because the server that it was bound to meanwhile cannot be used.
const BIND_ROUNDS: u8 = 2;

/// What is to be done next for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait until the binding that was asked for before is committed or its time is over; then [`Happened::Settled`].
    Settle,
    /// Ask for a binding; then [`Happened::Bound`]. Its commitment is waited for later.
    Bind {
        /// Of which client.
        key: StickKey,
        /// To whom.
        proposal: StickEntry,
        /// Whether a binding that was committed a moment ago may be the answer. Not when it was, and its server
        /// turned out to be of no use to this session.
        remembered: Remembered,
    },
    /// Have a binding prolonged that has lived for a good part of its time; then [`Happened::Refreshed`].
    Refresh(StickKey, StickEntry),
    /// Take a slot of the server, in line behind others if need be; then one of [`Happened::GotSlot`],
    /// [`Happened::QueueFull`], [`Happened::ServerChanged`] and [`Happened::QueueTimeout`].
    Wait(Line),
    /// Connect; then [`Happened::Connected`] or [`Happened::ConnectFailed`].
    Connect {
        /// To whom.
        server: ServerId,
        /// Where.
        address: SocketAddr,
        /// For how long at most.
        within: Duration,
    },
    /// Give the slot back and do nothing for so long; then [`Happened::Paused`].
    Pause(Duration),
    /// Wait for the binding to be committed, as long as [`COMMIT_WAIT`] allows; then [`Happened::Committed`] or
    /// [`Happened::Uncommitted`].
    Commit,
    /// Carry bytes.
    Forward(Forward),
    /// Reset the client.
    GiveUp(CloseReason),
}

/// What a binding that was committed a moment ago is to a new question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// The answer: another session of the client has just decided.
    Counts,
    /// Replaced by what is proposed.
    IsReplaced,
}

/// A place in line for a slot of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Of which server.
    pub server: ServerId,
    /// Sessions that may wait for it; 0: as many as come.
    pub longest: u32,
    /// How long the wait may be.
    pub within: Duration,
}

/// A session that has its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// Which.
    pub server: ServerId,
    /// Silence of the client that ends it; zero: none does.
    pub client_timeout: Duration,
    /// Silence of the server that ends it; zero: none does.
    pub server_timeout: Duration,
    /// What the session rests on.
    pub binding: Binding,
}

/// What a session rests on when its first byte is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Nothing that was made for it: the client was bound before, or its backend binds nobody.
    AsBefore,
    /// A new binding that a majority has.
    Committed,
    /// A new binding that nobody was asked to wait for (`mode = "async"`).
    NotAwaited,
    /// A new binding that was not committed in time: availability comes first.
    Uncommitted,
}

/// What came of a [`Step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A client has come.
    Arrived,
    /// See [`Step::Settle`].
    Settled,
    /// The server that the client is bound to now: the one asked for, or the one of another session of its.
    Bound(StickEntry),
    /// See [`Step::Refresh`].
    Refreshed,
    /// A slot is there.
    GotSlot,
    /// As many wait as may.
    QueueFull,
    /// While it was waited for, the server became one that takes nobody.
    ServerChanged,
    /// The wait was too long.
    QueueTimeout,
    /// The server has accepted.
    Connected,
    /// It refused, was not reachable or took too long.
    ConnectFailed,
    /// See [`Step::Pause`].
    Paused,
    /// A majority has the binding.
    Committed,
    /// Nobody knows whether one has.
    Uncommitted,
}

/// What a decision is made from.
pub struct Around<'a> {
    /// The newest view.
    pub view: &'a View,
    /// The time that bindings are stamped with.
    pub now: Timestamp,
    /// Whose turn it is in each backend.
    pub turns: &'a mut AllTurns,
    /// What the servers carry.
    pub loads: &'a mut dyn Loads,
}

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
}

#[derive(Clone, Debug)]
struct Route {
    backend: Arc<BackendView>,
    client_timeout: Duration,
}

/// What is waited for. Servers are indexes into the route's backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Settling(usize, u8),
    Binding(usize, u8),
    Refreshing(usize),
    InLine(usize),
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
            (Phase::InLine(i), H::GotSlot) => self.connect(i),
            (Phase::InLine(i), H::QueueFull) => {
                self.full.extend(self.server(i).map(|s| s.id));
                self.choose(around)
            }
            (Phase::InLine(_), H::ServerChanged) => self.choose(around),
            (Phase::InLine(_), H::QueueTimeout) => Step::GiveUp(CloseReason::QueueTimeout),
            (Phase::Connecting(i), H::Connected) => self.connected(i),
            (Phase::Connecting(i), H::ConnectFailed) => self.failed(i, around),
            (Phase::Committing(i), H::Committed) => self.forward(i, Binding::Committed),
            (Phase::Committing(i), H::Uncommitted) => self.forward(i, Binding::Uncommitted),
            _ => Step::GiveUp(CloseReason::Internal),
        };
        debug_assert!(step != Step::GiveUp(CloseReason::Internal), "{happened:?}");
        step
    }

    /// Whether a server that is waited for still takes this session.
    pub fn still_wants(&self, server: ServerId, view: &View) -> bool {
        let found = view.routes.server(server);
        found.is_some_and(|(_, s)| usable(s, Newcomer::Bound))
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
        let (backend, stick, now) = (backend.clone(), &around.view.stick, around.now);
        self.route = Some(Route {
            backend: backend.clone(),
            client_timeout: frontend.spec.client_timeout,
        });
        let (client, of) = (self.client, backend.clone());
        let bound = |i| of.bound(stick, client, now) == Some(i);
        let again = self.again.take().and_then(|again| {
            let same = |s: &ServerView| s.id == again && usable(s, Newcomer::Bound);
            backend.servers.iter().position(same)
        });
        let (i, is_bound) = match again {
            Some(i) => (i, bound(i)),
            None => match self.pick(&backend, around) {
                Pick::Sticky(i) => (i, true),
                Pick::Balanced(i) => (i, false),
                Pick::Wait(i) => (i, bound(i)),
                Pick::Nothing => return Step::GiveUp(self.why_nothing()),
            },
        };
        if !is_bound {
            return self.bind(i, 0, around.now);
        }
        match self.refreshed(i, around) {
            Some((key, entry)) => {
                self.phase = Phase::Refreshing(i);
                Step::Refresh(key, entry)
            }
            None => self.wait(i),
        }
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

    /// Asks for a binding to that server, unless this session has it or its backend binds nobody.
    fn bind(&mut self, i: usize, round: u8, now: Timestamp) -> Step {
        let Some((key, proposal)) = self.proposal(i, now) else {
            return self.wait(i);
        };
        if round == 0 && self.asked == Some(proposal.server) {
            return self.wait(i);
        }
        // While an older binding of this session is under way, it is the answer to every question.
        if self.asked.is_some() {
            self.phase = Phase::Settling(i, round);
            return Step::Settle;
        }
        self.phase = Phase::Binding(i, round);
        // What was committed for another session a moment ago is the answer the first time; what this session has
        // found to be of no use is not.
        let remembered = if round == 0 && self.failed.is_empty() {
            Remembered::Counts
        } else {
            Remembered::IsReplaced
        };
        Step::Bind {
            key,
            proposal,
            remembered,
        }
    }

    /// Goes where the client is bound now, if that can be used; else it is bound once more.
    fn bound(&mut self, i: usize, round: u8, entry: StickEntry, now: Timestamp) -> Step {
        self.asked = Some(entry.server);
        let Some(backend) = self.backend() else {
            return Step::GiveUp(CloseReason::Internal);
        };
        let by_id = backend.servers.iter().position(|s| s.id == entry.server);
        let there = by_id.or_else(|| {
            let same_host = |s: &ServerView| s.address == Some(entry.host);
            backend.servers.iter().position(same_host)
        });
        let takes = |s: &ServerView| usable(s, Newcomer::Bound) && !self.excludes(s);
        match there {
            Some(there) if there == i || takes(&backend.servers[there]) => self.wait(there),
            _ if round + 1 < BIND_ROUNDS => self.bind(i, round + 1, now),
            _ => self.wait(i),
        }
    }

    /// The binding that the client has, if a use of it is worth a log entry.
    fn refreshed(&self, i: usize, around: &Around<'_>) -> Option<(StickKey, StickEntry)> {
        let (key, proposal) = self.proposal(i, around.now)?;
        let old = around.view.stick.get(&key, around.now)?;
        old.wants_refresh(around.now).then_some((
            key,
            StickEntry {
                used_at: proposal.used_at,
                ..*old
            },
        ))
    }

    fn proposal(&self, i: usize, now: Timestamp) -> Option<(StickKey, StickEntry)> {
        let backend = self.backend()?;
        let expire = backend.persistence.as_ref()?.expire;
        let server = backend.servers.get(i)?;
        let entry = StickEntry {
            server: server.id,
            host: server.address?,
            bound_at: now,
            used_at: now,
            expire,
        };
        Some((backend.stick_key(self.client)?, entry))
    }

    fn wait(&mut self, i: usize) -> Step {
        let Some((backend, server)) = self.backend().zip(self.server(i)) else {
            return Step::GiveUp(CloseReason::Internal);
        };
        let line = Line {
            server: server.id,
            longest: backend.maxqueue,
            within: backend.queue_timeout,
        };
        if server.address.is_none() {
            return Step::GiveUp(CloseReason::NoServer);
        }
        self.phase = Phase::InLine(i);
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
            None => self.forward(i, Binding::AsBefore),
            Some(_) if !commits => self.forward(i, Binding::NotAwaited),
            Some(_) => {
                self.phase = Phase::Committing(i);
                Step::Commit
            }
        }
    }

    /// Prepares the next try, or says that there is none.
    fn failed(&mut self, i: usize, around: &mut Around<'_>) -> Step {
        let Some((backend, server)) = self.backend().zip(self.server(i)) else {
            return Step::GiveUp(CloseReason::Internal);
        };
        let (retries, redispatch, id) = (backend.retries, backend.redispatch, server.id);
        let pause = backend.connect_timeout.min(TURN_AROUND);
        if self.retried >= retries {
            return Step::GiveUp(CloseReason::ConnectFailed);
        }
        self.retried += 1;
        self.full.clear();
        if redispatch {
            self.failed.push(id);
            return self.choose(around);
        }
        self.again = Some(id);
        self.phase = Phase::Pausing;
        Step::Pause(pause)
    }

    fn forward(&self, i: usize, binding: Binding) -> Step {
        let Some((route, server)) = self.route.as_ref().zip(self.server(i)) else {
            return Step::GiveUp(CloseReason::Internal);
        };
        // What was bound is another server, which could not be used: this session rests on nothing.
        let binding = match self.asked {
            Some(asked) if asked != server.id => Binding::Uncommitted,
            _ => binding,
        };
        Step::Forward(Forward {
            server: server.id,
            client_timeout: route.client_timeout,
            server_timeout: route.backend.server_timeout,
            binding,
        })
    }

    fn excludes(&self, server: &ServerView) -> bool {
        server.cut.is_some() || self.failed.contains(&server.id) || self.full.contains(&server.id)
    }
}

/// A server whose sessions are being cut takes nobody, bound or not.
fn usable(server: &ServerView, who: Newcomer) -> bool {
    server.accepts(who) && server.cut.is_none()
}

#[cfg(test)]
mod tests;
