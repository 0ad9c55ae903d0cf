//! Deterministic simulation: one seed, one run, every time the same.
//!
//! Two speeds: `cluster` runs whole clusters of the product's `Driver`, `Controller` and `consensus` in a
//! world of our own making; `controllers` runs controllers alone over an ideal log, much faster.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod controllers;
pub mod shrink;
pub mod sweep;
