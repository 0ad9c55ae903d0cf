//! What a node needs from the outside, as small traits: the program implements them with sockets, kernel and disk,
//! the simulation with a world of its own.
//!
//! ```text
//!   driver, consensus --> Clock, Tasks, Peers, Prober, LogStore, Addresses
//!   reporter ---------> SelfCheck
//! ```

use crate::log_store::LogStore;
use ha_core::check::{CheckResult, Probe};
use ha_core::controller::Stalls;
use ha_core::id::{NodeId, ServerId};
use ha_core::model::VirtualIp;
use ha_core::time::{Instant, Timestamp};
use ha_core::trust::Credentials;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A future that can be kept in a trait object.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Largest message of a peer that is accepted, in bytes. Snapshots travel in pieces.
pub const MESSAGE_MAX: usize = 8 << 20;

/// What one node asks of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    AppendEntries,
    Vote,
    /// The question before an election.
    PreVote,
    /// "You lead from now on."
    TransferLeader,
    /// A whole state, for a node that is far behind.
    InstallSnapshot,
    /// The lease protocol; answered from memory.
    Lease,
    /// The end of a hold; answered from memory.
    Release,
}

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// Nobody is there: the call was not delivered.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// No answer in time, or the connection broke: it may have been delivered.
    #[error("no answer: {0}")]
    NoAnswer(String),
}

/// Whom a call is for. Another node that has come to the same address does not hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    pub node: NodeId,
    /// Where it listens, as `host:port`.
    pub at: String,
}

/// The time on this node.
pub trait Clock: Send + Sync + 'static {
    /// Time since boot, suspended time included.
    fn now(&self) -> Instant;
    /// The time since 1970 by the machine's own clock.
    fn wall(&self) -> Timestamp;
    /// Ends when so much of this clock's time has passed.
    fn sleep(&self, duration: Duration) -> Boxed<()>;
}

/// Where this node's tasks run.
pub trait Tasks: Send + Sync + 'static {
    /// Starts a task. Its name is for logs.
    fn spawn(&self, name: &'static str, task: Boxed<()>);
}

/// The way to the other nodes.
pub trait Peers: Send + Sync + 'static {
    /// Asks a peer, for at most `within`.
    fn call(
        &self,
        to: Addressee,
        call: Call,
        body: Vec<u8>,
        within: Duration,
    ) -> Boxed<Result<Vec<u8>, CallError>>;
}

/// The way to the servers.
pub trait Prober: Send + Sync + 'static {
    /// Asks a server once how it is.
    fn probe(&self, probe: Probe) -> Boxed<CheckResult>;
}

/// Everything outside of one node.
#[derive(Clone)]
pub struct Outside {
    pub clock: Arc<dyn Clock>,
    pub tasks: Arc<dyn Tasks>,
    pub peers: Arc<dyn Peers>,
    pub prober: Arc<dyn Prober>,
    pub store: Arc<dyn LogStore>,
    /// This node's hands on the virtual IPs.
    pub addresses: Arc<dyn Addresses>,
}

/// The virtual IPs as one node can hold them. No method blocks.
pub trait Addresses: Send + Sync + 'static {
    /// Which addresses are managed, and which ports of them go to the proxy. Called at each change.
    fn configure(&self, virtual_ips: &[VirtualIp], intercepted: &[Intercepted]);
    /// Which of these, that are not managed yet, this machine or another one on the segment has already, by name
    /// and with what was seen. Waits for answers, at most about a second; must not be called from a task.
    fn taken(&self, _virtual_ips: &[VirtualIp]) -> Vec<(String, String)> {
        Vec::new()
    }
    /// Hold until then: claims at the first call after a release, renews at further ones.
    /// `first_ever`: no node of this cluster has held before, so a machine that answers is foreign.
    fn hold(&self, until: Instant, first_ever: bool);
    /// Drop now; `done` is called when this node no longer answers for them.
    fn release(&self, why: Release, done: Box<dyn FnOnce() + Send>);
    /// Tell the neighbours again.
    fn announce(&self);
    /// What enforces the lease beside the agent, in words.
    fn fence(&self) -> String;
}

/// How this machine is, beyond what checks of servers find: asked a few times a second, reported to the leader.
pub trait SelfCheck: Send + Sync + 'static {
    /// Why the data plane does not work, if it does not. Bounds itself; nothing else of the report waits for it.
    fn data_plane(&self) -> Boxed<Option<String>>;
    /// Why the addresses could not be held here at this moment, if so. Does not block.
    fn obstacle(&self) -> Option<String>;
    /// Sessions, and clients that wait for one, by server. Does not block.
    fn sessions(&self) -> BTreeMap<ServerId, u32>;
    /// Whom this node believes and what it shows. Does not block.
    fn credentials(&self) -> Credentials;
    /// When this machine ran nothing. Does not block.
    fn stalls(&self) -> Stalls {
        Stalls::default()
    }
}

/// Why the addresses are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Another node takes over at once: clients' first packets that still come here are passed on to it.
    Handover,
    /// The right to hold has ended.
    Ended,
}

/// Ports of one virtual IP that the proxy accepts on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intercepted {
    pub address: IpAddr,
    /// Inclusive ranges, first and last port.
    pub ports: Vec<(u16, u16)>,
}
