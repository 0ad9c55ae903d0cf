//! How long this node may serve, and word to whoever waits that it begins or ends.

use ha_core::gate::Gate;
use ha_core::time::Instant;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::watch;

/// [`ha_core::gate::Gate`] that tells its workers when it is opened or closed.
#[derive(Debug)]
pub struct WatchedGate {
    gate: Gate,
    changed: watch::Sender<()>,
}

impl WatchedGate {
    pub fn new() -> Arc<WatchedGate> {
        Arc::new(WatchedGate {
            gate: Gate::new(),
            changed: watch::Sender::new(()),
        })
    }

    /// Serve until `until`. That a lease goes on is told to nobody: who waits for its end looks again then.
    pub fn open(&self, until: Instant) {
        let goes_on = self.gate.would_go_on(until);
        self.gate.open(until);
        if !goes_on {
            self.changed.send_replace(());
        }
    }

    /// Serve nobody from now on: no accept, and all sessions are reset.
    pub fn close(&self) {
        self.gate.close();
        self.changed.send_replace(());
    }

    /// A receiver that is told of every [`close`](WatchedGate::close) of the first [`open`](WatchedGate::open)
    /// after it, and of one that shortens the lease.
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// What can be asked of it.
impl Deref for WatchedGate {
    type Target = Gate;

    fn deref(&self) -> &Gate {
        &self.gate
    }
}
