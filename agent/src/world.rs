//! The one door to the outside. The simulation replaces the [`World`] and nothing else.
//!
//! ```text
//!   driver, consensus --> World: clock, tasks, randomness, peers, disk, addresses, probes
//!                           |
//!              real.rs (sockets, kernel, OS)   or   the simulator
//! ```

pub mod entrance;
pub mod limiter;
pub mod real;
pub mod wire;

use crate::consensus::log_store::LogStore;
use crate::consensus::types::Runtime;
use ha_core::check::{CheckResult, Probe};
use ha_core::id::NodeId;
use ha_core::model::VirtualIp;
use ha_core::time::{Instant, Timestamp};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A future that can be kept in a trait object.
pub type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What one node asks of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Replication and heartbeats.
    AppendEntries,
    /// An election.
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
    /// Who.
    pub node: NodeId,
    /// Where, `host:port`.
    pub at: String,
}

/// Everything that a node needs from the outside.
pub trait World: Send + Sync + 'static {
    /// Tasks, timers and random numbers of the consensus library.
    type Runtime: Runtime;

    /// Time since boot, suspended time included.
    fn now(&self) -> Instant;
    /// Unix time.
    fn wall(&self) -> Timestamp;
    /// A random number.
    fn random(&self) -> u64;
    /// Starts a task. Its name is for logs.
    fn spawn(&self, name: &'static str, task: Boxed<()>);
    /// Waits.
    fn sleep(&self, duration: Duration) -> Boxed<()>;
    /// Asks a peer, for at most `within`.
    fn call(
        &self,
        to: Addressee,
        call: Call,
        body: Vec<u8>,
        within: Duration,
    ) -> Boxed<Result<Vec<u8>, CallError>>;
    /// Looks at a server.
    fn probe(&self, probe: Probe) -> Boxed<CheckResult>;
    /// This node's disk.
    fn store(&self) -> Arc<dyn LogStore>;
    /// This node's hands on the virtual IPs.
    fn addresses(&self) -> Arc<dyn Addresses>;
}

/// The virtual IPs as one node can hold them. No method blocks.
pub trait Addresses: Send + Sync + 'static {
    /// Which addresses are managed, and which ports of them go to the proxy. Called at each change.
    fn configure(&self, virtual_ips: &[VirtualIp], intercepted: &[Intercepted]);
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
    /// The virtual IP.
    pub address: IpAddr,
    /// Inclusive ranges.
    pub ports: Vec<(u16, u16)>,
}
