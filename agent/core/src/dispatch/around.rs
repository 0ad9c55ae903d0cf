//! What a decision is made from: the world as one session finds it.

use crate::balance::{AllTurns, Loads};
use crate::stick::StickKey;
use crate::time::Timestamp;
use crate::view::View;

/// What a decision is made from.
pub struct Around<'a> {
    pub view: &'a View,
    /// The time that bindings are stamped with.
    pub now: Timestamp,
    /// Whose turn it is in each backend.
    pub turns: &'a mut AllTurns,
    /// What the servers carry.
    pub loads: &'a mut dyn Loads,
    /// Bindings that the view cannot show yet.
    pub under_way: &'a dyn UnderWay,
}

/// Whoever puts bindings into the log.
pub trait UnderWay {
    /// Whether a binding of this client was asked for and is not committed: once it is, the view's is the older one.
    fn is_under_way(&self, key: &StickKey) -> bool;
}
