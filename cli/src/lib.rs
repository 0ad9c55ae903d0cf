//! `ha-cli`: what an operator says to a cluster of `ha-agent` nodes.
//!
//! ```text
//!  args --> commands --> client --gRPC--> any agent (a follower forwards)
//!               |
//!               +--> output <-- table, paint, human
//!  demo: three agents, three servers and a client on this machine
//! ```
//!
//! Commands call methods of `client::Cluster` and print the messages of control.proto as they come:
//! its field names are the keys of `--output json`. Standard output carries the result, standard
//! error everything else; `exit` lists the exit codes.

pub mod args;
pub mod client;
pub mod clock;
pub mod commands;
pub mod context;
pub mod demo;
pub mod exit;
pub mod human;
pub mod output;
pub mod paint;
pub mod signal;
pub mod table;
