//! One node, exactly as it runs and as it is simulated: consensus, lease, driver, bindings.
//!
//! ```text
//!   peers --incoming--> consensus ---applied---> driver --Event--> Controller (ha-core)
//!                        ^    ^                    |  <--Action--
//!                 binder-+    +----propose---------+--> View (published)
//!               reporter-+--------Own, Sessions--->|
//! ```
//!
//! [`Node::start`] starts them all, in the program as in the simulation.
//!
//! Everything that touches the outside comes through the small traits of [`outside`]; the simulation replaces those
//! and nothing else. There is no socket, no disk and no clock in here.

#![forbid(unsafe_code)]

pub mod binder;
pub mod consensus;
pub mod driver;
pub mod founding;
pub mod incoming;
pub mod knock;
pub mod log_store;
pub mod node;
pub mod outside;
mod report;

pub use node::Node;
