//! The pure half of `ha-agent`: everything that is decided, nothing that acts.
//!
//! ```text
//!   model ----> state (what all nodes agree on, changed by commands only)
//!                 |
//!                 v
//!   lease, check, stick --> controller: step(now, event) -> actions
//!   balance --> dispatch: step(news) -> next step of a session
//!                                         |
//!                                         v
//!                                       view (the one snapshot that proxy and API read)
//! ```
//!
//! There is no clock, socket, lock or random source here: `now` is an argument.

#![forbid(unsafe_code)]

pub mod balance;
pub mod changes;
pub mod check;
pub mod close;
pub mod command;
pub mod controller;
pub mod dispatch;
pub mod events;
pub mod gate;
pub mod id;
pub mod lease;
pub mod meeting;
pub mod model;
pub mod own_address;
pub mod placement;
pub mod request;
pub mod state;
pub mod stick;
pub mod text;
pub mod time;
pub mod trust;
pub mod version;
pub mod view;
pub mod waiters;

#[cfg(test)]
mod testing;
