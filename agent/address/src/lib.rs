//! The virtual IPs as one node can hold them.
//!
//! ```text
//!   configure, hold(until), release --> bind: the addresses are there already, the proxy binds them
//!                                  \--> platform (linux/): addresses, fence, announcements, interception
//! ```
//!
//! Decides nothing: the caller says until when the addresses may be held, and this crate sees to it that this
//! machine answers for them until then and not after. What passes through them is opened and closed with them
//! ([`Traffic`]), whatever carries it.

mod bind;
#[cfg(not(target_os = "linux"))]
pub mod elsewhere;
#[cfg(target_os = "linux")]
pub mod linux;
mod types;

pub use bind::Bound;
#[cfg(not(target_os = "linux"))]
pub use elsewhere as platform;
#[cfg(target_os = "linux")]
pub use linux as platform;
pub use types::{
    ActiveFence, Done, FenceMode, Foreign, HeldBy, Intercept, Interface, OnClaim, Taken, Vip,
    VipError, VipEvent, VipSettings, mac_words,
};

use ha_core::time::Instant;
use std::net::IpAddr;

/// The virtual IPs of one node. No method blocks.
pub trait VirtualIps: Send + Sync + 'static {
    /// Which addresses are managed, and which of their ports are intercepted. Called at each change.
    fn configure(&self, vips: Vec<Vip>, intercepts: Vec<Intercept>);
    /// Holds them until then: claims at the first call after a release, renews at further ones.
    /// `first_ever`: no node of this cluster has held before, so a machine that answers is a foreign one.
    fn hold(&self, until: Instant, first_ever: bool);
    /// Which of these, that are not managed yet, this machine or another has, and what helps, in words. The network
    /// is asked: takes about 300 ms for each 32 of them.
    fn taken(&self, vips: &[Vip]) -> Vec<(IpAddr, Taken)>;
    /// Drops them now; `done` is called when this node no longer answers for them.
    fn release(&self, why: Release, done: Box<dyn FnOnce() + Send>);
    /// Tells the neighbours again.
    fn announce(&self);
    /// What enforces the lease beside the agent, in words.
    fn fence(&self) -> String;
    /// Why this node cannot hold them, if it cannot.
    fn obstacle(&self) -> Option<String>;
}

/// Why the addresses are released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Another node takes over at once: clients' first packets that still come here are passed on to it.
    Handover,
    /// The right to hold has ended.
    Ended,
}

/// What passes through the addresses: opened and closed with them.
pub trait Traffic: Send + Sync + 'static {
    /// It may flow until then; time alone ends it.
    fn open(&self, until: Instant);
    /// Nothing flows from now on, and what is open is reset.
    fn close(&self);
    /// Sessions that are open.
    fn sessions(&self) -> u64;
}
