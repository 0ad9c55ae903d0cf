//! The data plane on loopback: where sessions go, what they carry, when they end.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; its tasks belong to its runtime"
)]

#[path = "../lab/mod.rs"]
mod lab;

mod bindings;
mod carry;
mod lease;
mod route;
mod slots;
