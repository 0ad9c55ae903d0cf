//! The seam to whoever decides bindings (the log, through the driver). Owns nothing.

use ha_core::dispatch::{Remembered, UnderWay};
use ha_core::stick::{StickEntry, StickKey};
use tokio::sync::oneshot;

/// Decides bindings. Called from the workers: must return at once and never block.
pub trait Binder: UnderWay + Send + Sync {
    /// Decides the binding of a client that has none, or whose server cannot be used any more: `proposal`,
    /// unless another session of the same key is being bound just now (or was, and the published view does
    /// not show it yet), then that one's.
    fn bind(&self, key: StickKey, proposal: StickEntry, remembered: Remembered) -> Binding;

    /// Has a use of a binding recorded. Several calls for one key may come in a row. A binding of the key that is made
    /// just now stands before it.
    fn refresh(&self, key: StickKey, entry: StickEntry) -> Binding;
}

/// A binding that is decided, and word of when it is safe.
#[derive(Debug)]
pub struct Binding {
    /// The server that the client gets.
    pub entry: StickEntry,
    /// Fires when the binding is committed. Dropped without firing: it never will be.
    pub committed: oneshot::Receiver<()>,
}
