//! How long this node may serve, and word of each change to whoever waits for one.

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

    /// Lets sessions in until `until`, or until it is closed.
    pub fn open(&self, until: Instant) {
        self.gate.open(until);
        self.changed.send_replace(());
    }

    /// Serve nobody from now on: no accept, and all sessions are reset.
    pub fn close(&self) {
        self.gate.close();
        self.changed.send_replace(());
    }

    /// A receiver that is told of every [`open`](WatchedGate::open) and [`close`](WatchedGate::close).
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
