//! One module for each group of commands. This one only chooses.

use std::io;
use std::path::Path;

use clap::CommandFactory;

use crate::args::{Cli, Command, ConfigCommand, ExplainCommand};
use crate::client::Cluster;
use crate::demo;
use crate::exit::{Exit, Failure};
use crate::output::Output;

mod config;
mod drain;
mod events;
mod leader;
mod member;
mod page;
mod sessions;
mod state;
mod status;
mod wait;

/// What every command works with.
#[derive(Debug)]
pub struct Context {
    /// Whom to ask.
    pub cluster: Cluster,
    /// Where results go.
    pub out: Output,
}

/// Does what the command line says.
///
/// # Errors
/// Why it was not done; carries the exit code.
pub async fn run(cli: Cli, out: Output) -> Result<Exit, Failure> {
    let mut ctx = Context { cluster: Cluster::new(cli.address, cli.timeout), out };
    match cli.command {
        Command::Status { watch: false } => status::once(&mut ctx).await,
        Command::Status { watch: true } => status::watch(&mut ctx).await,
        Command::Drain(args) => state::drain(&mut ctx, args).await,
        Command::Ready(args) => state::ready(&mut ctx, args).await,
        Command::Maintenance(args) => state::maintenance(&mut ctx, args).await,
        Command::Apply { file, yes, expect_version } => config::apply(&mut ctx, &file, yes, expect_version).await,
        Command::Diff { file } => config::diff(&mut ctx, &file).await,
        Command::Rollback { version } => config::rollback(&mut ctx, version).await,
        Command::Config(ConfigCommand::History) => config::history(&mut ctx).await,
        Command::Config(ConfigCommand::Show { version }) => config::show(&mut ctx, version).await,
        Command::Member(command) => member::run(&mut ctx, command).await,
        Command::MoveLeader { node, wait } => leader::hand_over(&mut ctx, node, wait).await,
        Command::Sessions { client, server, limit } => sessions::list(&mut ctx, client, server, limit).await,
        Command::Whereis { client } => sessions::whereis(&mut ctx, client).await,
        Command::Events { follow, since, grep, limit } => {
            let filter = events::Filter { since, grep, limit };
            events::run(&mut ctx, filter, follow).await
        }
        Command::Explain(ExplainCommand::Vip { name }) => status::explain(&mut ctx, name).await,
        Command::Demo(args) => demo::run(args, out).await,
        Command::Completions { shell } => completions(shell, &out),
        Command::Manual { directory } => manual(&directory),
    }
}

fn manual(directory: &Path) -> Result<Exit, Failure> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Cli::command(), directory)?;
    Ok(Exit::Done)
}

/// The completions are made in memory first: clap_complete would panic on a closed pipe.
fn completions(shell: clap_complete::Shell, out: &Output) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ha-cli", &mut script);
    let script = String::from_utf8(script).map_err(io::Error::other)?;
    out.text(&script)?;
    Ok(Exit::Done)
}
