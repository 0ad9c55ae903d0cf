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

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use exit::{Exit, Failure};
use output::{Format, Output};

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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) if wrong.use_stderr() && wants_json(std::env::args_os()) => {
            Output::new(Format::Json).failure(&usage(&wrong));
            return Exit::Usage.into();
        }
        // Help and version, and for people what clap says.
        Err(other) => other.exit(),
    };
    let out = Output::new(cli.output);
    match commands::run(cli, out).await {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out.failure(&failure);
            failure.exit.into()
        }
    }
}

/// Whether a command line that is wrong elsewhere asks for JSON.
fn wants_json(words: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<OsString> = words.collect();
    let apart = words
        .windows(2)
        .any(|two| two[0] == "--output" && two[1] == "json");
    apart || words.iter().any(|word| word == "--output=json")
}

/// What is wrong with the command line, without the layout for a terminal.
fn usage(wrong: &clap::Error) -> Failure {
    let text = wrong.to_string();
    let lines = text.lines().map(str::trim).take_while(|l| !l.is_empty());
    let first = lines.collect::<Vec<_>>().join(" ");
    let message = first.strip_prefix("error: ").unwrap_or(&first);
    Failure::new(Exit::Usage, message).remedy("`ha-cli --help` lists commands and options")
}
