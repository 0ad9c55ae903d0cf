//! What is to be done for a session, and what may come of it. Plain data.

use crate::close::CloseReason;
use crate::id::ServerId;
use crate::stick::{StickEntry, StickKey};
use crate::waiters::Queue;
use std::net::SocketAddr;
use std::time::Duration;

/// How long the first byte waits for a new binding to be committed, counted from when it was asked for.
pub const COMMIT_WAIT: Duration = Duration::from_millis(200);

/// What is to be done next for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Wait until the binding that was asked for before is committed or its time is over; then [`Happened::Settled`].
    Settle,
    /// Ask for a binding; then [`Happened::Bound`]. Its commitment is waited for later.
    Bind {
        key: StickKey,
        proposal: StickEntry,
        /// Whether a binding that was committed a moment ago may be the answer. Not when it was, and its server
        /// turned out to be of no use to this session.
        remembered: Remembered,
    },
    /// Have a use of a binding recorded; then [`Happened::Refreshed`]. Its commitment is waited for later, as that of
    /// a new one: else the next holder would not know of the use, and the binding would end too early.
    Refresh(StickKey, StickEntry),
    /// Give back a slot that is held, and take one there, in line behind others if need be; then one of
    /// [`Happened::GotSlot`], [`Happened::QueueFull`], [`Happened::ServerChanged`] and [`Happened::QueueTimeout`].
    Wait(PlaceInLine),
    /// Connect; then [`Happened::Connected`], or give the slot back and tell one of [`Happened::ConnectFailed`],
    /// [`Happened::ConnectTimedOut`] and [`Happened::NoPortLeft`].
    Connect {
        server: ServerId,
        address: SocketAddr,
        /// For how long at most.
        within: Duration,
    },
    /// Do nothing for so long; then [`Happened::Paused`].
    Pause(Duration),
    /// Wait for the binding to be committed, as long as [`COMMIT_WAIT`] allows; then [`Happened::Committed`] or
    /// [`Happened::Uncommitted`].
    Commit,
    Forward(Forward),
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

/// A place in line for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceInLine {
    /// Of which server, or of any.
    pub queue: Queue,
    /// Sessions that may wait for one server; 0: as many as come. The line of a backend has no bound of its own.
    pub longest: u32,
    /// How long the wait may be.
    pub within: Duration,
}

/// A session that has its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    pub server: ServerId,
    /// Silence of the client that ends it; zero: none does.
    pub client_timeout: Duration,
    /// Silence of the server that ends it; zero: none does.
    pub server_timeout: Duration,
    /// In the place of `client_timeout` once one side has said all; zero: that one goes on.
    pub client_fin_timeout: Duration,
    /// In the place of `server_timeout` once one side has said all; zero: that one goes on.
    pub server_fin_timeout: Duration,
    /// Silence after which the client is asked whether it is there; zero: it never is.
    pub client_keepalive: Duration,
    /// Silence after which the server is asked whether it is there; zero: it never is.
    pub server_keepalive: Duration,
    /// What the session rests on.
    pub binding: BindingState,
}

/// What a session rests on when its first byte is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingState {
    /// Nothing that was written for it: the client was bound before, or its backend binds nobody.
    AsBefore,
    /// A binding, new or used anew, that a majority has.
    Committed,
    /// One that nobody was asked to wait for (`mode = "async"`).
    NotAwaited,
    /// One that was not committed in time: availability comes first.
    Uncommitted,
}

/// What came of a [`Step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A client has come.
    Arrived,
    Settled,
    /// The server that the client is bound to now: the one asked for, or the one of another session of its.
    Bound(StickEntry),
    Refreshed,
    /// A slot of this server is there, and the session holds it.
    GotSlot(ServerId),
    /// As many wait as may.
    QueueFull,
    /// While it was waited for, the server became one that takes nobody.
    ServerChanged,
    /// The wait was too long.
    QueueTimeout,
    /// The server has accepted.
    Connected,
    /// It refused or was not reachable.
    ConnectFailed,
    /// It took too long.
    ConnectTimedOut,
    /// This machine has no port left towards it: not its fault, and another may be had.
    NoPortLeft,
    Paused,
    /// A majority has the binding.
    Committed,
    /// Nobody knows whether one has.
    Uncommitted,
}
