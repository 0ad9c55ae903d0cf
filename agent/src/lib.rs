//! `ha-agent`, put together: what runs on a machine around one node of the cluster.
//!
//! ```text
//!   run > { grpc > operate > permissions   wire   entrance   store   outside   hands   preflight } > { config  sys }
//!            and each of them on its crates: ha-node, ha-proxy, ha-address, ha-check, ha-trust, ha-core
//! ```
//!
//! Decisions stand in `ha-core`, what is simulated in `ha-node`; here they meet sockets, disk and kernel.

pub mod cleanup;
pub mod config;
pub mod entrance;
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
pub mod wire;
pub mod written;
