//! The life of the process: read the command line, do it, say why not, end with its code.

use std::process::ExitCode;

use clap::Parser;
use ha_cli::args::Cli;
use ha_cli::commands;
use ha_cli::output::Output;

/// One thread: the demo's agents die with the thread that started them, so that must be the main one.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
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
