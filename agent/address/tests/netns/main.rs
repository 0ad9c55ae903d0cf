//! The virtual IP in real kernels: network namespaces on one bridge, made and removed here.
//!
//! Needs root; without it every test says that it is skipped, except where `CI=true`, which makes
//! that a failure.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "real time and real failures are what is tested"
)]

mod net;
mod probes;
mod syns;
mod tools;

mod claims;
mod fence;
mod intercept;
mod interfaces;
mod life;
mod neighbours;
mod news;
mod own;
mod parking;
mod rules;
