//! How long this node may serve, and word of each change to whoever waits for one.

use ha_core::gate::Gate as Lasting;
use ha_core::time::Instant;
use std::ops::Deref;
use std::sync::Arc;
use tokio::sync::watch;

/// [`ha_core::gate::Gate`] that tells its workers when it is opened or closed.
#[derive(Debug)]
pub struct Gate {
    gate: Lasting,
    changed: watch::Sender<()>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Arc<Gate> {
        Arc::new(Gate {
            gate: Lasting::new(),
            changed: watch::Sender::new(()),
        })
    }

    /// Serve until `until`.
    pub fn open(&self, until: Instant) {
        self.gate.open(until);
        self.changed.send_replace(());
    }

    /// Serve nobody from now on: no accept, and all sessions are reset.
    pub fn close(&self) {
        self.gate.close();
        self.changed.send_replace(());
    }

    /// A receiver that is told of every [`open`](Gate::open) and [`close`](Gate::close).
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// What can be asked of it.
impl Deref for Gate {
    type Target = Lasting;

    fn deref(&self) -> &Lasting {
        &self.gate
    }
}
