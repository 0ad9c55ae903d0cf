//! `ha-cli`: what an operator says to a cluster of `ha-agent` nodes.
//!
//! ```text
//!  args --> commands --> client/convert --gRPC--> any agent (a follower forwards)
//!               |              |
//!               |              +--> report: plain structs, the keys of `--output json`
//!               +--> output <-- table, paint, human
//!  demo: three agents, three servers and a client on this machine
//! ```
//!
//! Standard output carries the result, standard error everything else; `exit` lists the exit codes.

pub mod args;
pub mod client;
pub mod clock;
pub mod commands;
pub mod context;
pub mod convert;
pub mod demo;
pub mod exit;
pub mod human;
pub mod output;
pub mod paint;
pub mod report;
pub mod signal;
pub mod table;
