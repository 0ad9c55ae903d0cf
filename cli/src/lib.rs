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

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use output::Output;

mod args;
mod client;
pub mod clock;
mod commands;
mod context;
mod demo;
mod exit;
mod human;
mod output;
mod paint;
mod signal;
mod table;

/// The life of the process: reads the command line, does what it says, and on standard error says why not.
/// The result is one of the codes that `--help` lists.
pub async fn run() -> ExitCode {
    let cli = Cli::parse();
    let out = Output::new(cli.output);
    match commands::run(cli, out).await {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out.failure(&failure);
            failure.exit.into()
        }
    }
}
