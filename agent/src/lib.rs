//! `ha-agent`, put together: what runs on a machine around one node of the cluster.
//!
//! Each line uses those below it, none the other way round (`tests/tests/tidy/circles.rs`):
//!
//! ```text
//!   run                                            readers, ways_in: for tests
//!   grpc
//!   operate        preflight
//!   permissions    found
//!   entrance       outside   meet
//!   hands   identity   store   threads             install   cleanup   stderr
//!   config   error   sys   wire   written
//! ```
//!
//! and each of them its crates: ha-node, ha-proxy, ha-address, ha-check, ha-trust, ha-record, ha-core.
//!
//! Decisions stand in `ha-core`, what is simulated in `ha-node`; here they meet sockets, disk and kernel.

pub mod cleanup;
pub mod config;
pub mod entrance;
pub mod error;
pub mod found;
pub mod grpc;
pub mod hands;
pub mod identity;
pub mod install;
pub mod meet;
pub mod operate;
pub mod outside;
pub mod permissions;
pub mod preflight;
pub mod readers;
pub mod run;
pub mod stderr;
pub mod store;
pub mod sys;
pub mod threads;
pub mod ways_in;
pub mod wire;
pub mod written;
