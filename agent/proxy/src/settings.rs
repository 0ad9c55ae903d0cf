//! What the proxy is told once, at start: clock, how traffic reaches it, sizes. Owns no state.

use ha_core::time::{Instant, Timestamp};
use std::net::SocketAddr;

/// Where the proxy reads the time. Functions, because they are called for every accept and must be cheap.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Boot time, suspended time included.
    pub now: fn() -> Instant,
    /// The time that bindings are stamped with.
    pub wall: fn() -> Timestamp,
}

/// How clients' connections come to this node's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The kernel (`tproxy`) hands connections for any configured port to one transparent listener per
    /// worker on 127.0.0.1 and `::1`. The listeners stay open while the gate is closed and reset what comes.
    Transparent {
        /// The port of those listeners.
        port: u16,
    },
    /// Listeners on the frontends' own addresses, open only while the gate is open. One socket per
    /// address and port in the whole machine: a second process that tries gets `EADDRINUSE`.
    Bind,
}

/// Sizes of the proxy.
#[derive(Clone, Copy, Debug)]
pub struct ProxySettings {
    /// Threads that carry sessions; at least 1 is used, at most 64.
    pub workers: usize,
    pub reach: Reach,
    /// Sessions at once; newcomers above it are reset. 0: as many as the limit on open files allows.
    pub sessions_max: usize,
}

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// A listener could not be made.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A thread, runtime or file descriptor could not be had.
    #[error("cannot start a proxy worker: {0}")]
    Worker(#[from] std::io::Error),
}
