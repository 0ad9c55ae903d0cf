//! One module for each group of commands. This one only chooses.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::CommandFactory;

use crate::args::{Cli, Command, ConfigCommand, ExplainCommand};
use crate::client::{Cluster, LOCAL};
use crate::clock;
use crate::context::{self, Context as ContextFile};
use crate::demo;
use crate::exit::{Exit, Failure};
use crate::output::{Output, note};

mod age;
mod config;
mod confirm;
mod drain;
mod events;
mod leader;
mod member;
mod page;
mod problem;
mod rolling;
mod sessions;
mod state;
mod status;
mod trust;
mod verdict;
mod wait;

/// What every command works with.
#[derive(Debug)]
pub struct Context {
    pub cluster: Cluster,
    pub out: Output,
}

/// Does what the command line says.
///
/// # Errors
/// Why it was not done; carries the exit code.
pub async fn run(cli: Cli, out: Output) -> Result<Exit, Failure> {
    let needs_nobody = matches!(
        cli.command,
        Command::Demo(_) | Command::Completions { .. } | Command::Manual { .. }
    );
    let (cluster, used) = if needs_nobody {
        (Cluster::new(Vec::new(), None, cli.timeout), None)
    } else {
        choose_cluster(cli.address, cli.context, cli.timeout)?
    };
    let mut ctx = Context { cluster, out };
    let done = dispatch(cli.command, &mut ctx).await;
    if let Some((path, file)) = used
        && done.is_ok()
        && file.is_due(clock::unix_ms(), ctx.cluster.shown_authority().as_deref())
    {
        // What was asked for is done; this can be done another time.
        if let Err(failure) = trust::user::renew(&mut ctx, &path, file).await {
            note(&format!(
                "the certificate of {} could not be renewed: {failure}",
                path.display()
            ));
        }
    }
    done
}

/// Where an agent's own socket is: as a service, and started by hand with the data where they are in the examples.
const SOCKETS: [&str; 2] = [
    "/run/ha-agent/control.sock",
    "/var/lib/ha-agent/control.sock",
];

/// The sockets that this user may open, and one that is there but not open to this user.
fn sockets_here() -> (Vec<&'static str>, Option<&'static str>) {
    #[cfg(unix)]
    {
        use std::os::unix::net::UnixStream;
        let there = SOCKETS.into_iter().filter(|s| Path::new(s).exists());
        // Whatever else is wrong with one is told when it is asked.
        let (closed, open): (Vec<_>, Vec<_>) = there.partition(|s| {
            UnixStream::connect(s).is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied)
        });
        (open, closed.first().copied())
    }
    #[cfg(not(unix))]
    (Vec::new(), None)
}

/// The agents to ask and the context to come with, from the command line or from what is on this machine.
fn choose_cluster(
    mut addresses: Vec<String>,
    named: Option<String>,
    timeout: Duration,
) -> Result<(Cluster, Option<(PathBuf, ContextFile)>), Failure> {
    let by_network = |addresses: &[String]| addresses.iter().any(|a| !a.starts_with(LOCAL));
    let (sockets, closed) = if addresses.is_empty() && named.is_none() {
        sockets_here()
    } else {
        (Vec::new(), None)
    };
    let path = match named {
        Some(named) => Some(context::path_of(&named)),
        None if by_network(&addresses) => context::default_path(),
        None if addresses.is_empty() && !sockets.is_empty() => {
            addresses.extend(sockets.iter().map(|s| format!("{LOCAL}{s}")));
            None
        }
        None if addresses.is_empty() => Some(context::default_path().ok_or_else(|| {
            if let Some(socket) = closed {
                return Failure::new(Exit::Usage, format!("an agent runs on this machine, but its socket {socket} is not open to you, and there is no context")).remedy(
                    "be root or in the group ha-admin (log in again after you were added), or name a context with --context FILE (an admin makes one with `ha-cli user add`)",
                );
            }
            Failure::new(Exit::Usage, format!("no agent runs on this machine (there is no {}), and there is no context", SOCKETS.join(" and no ")))
                .remedy("name an agent's socket with --address unix:DATA_DIR/control.sock, or a context with --context FILE (an admin makes one with `ha-cli user add`)")
        })?),
        None => None,
    };
    let Some(path) = path else {
        if by_network(&addresses) {
            return Err(Failure::new(Exit::Usage, "an address over the network needs a context: who comes shows a certificate")
                .remedy("add --context FILE (an admin makes one with `ha-cli user add NAME --role ROLE`), or on the node itself use --address unix:DATA_DIR/control.sock"));
        }
        return Ok((Cluster::new(addresses, None, timeout), None));
    };
    let file = ContextFile::load(&path)?;
    if addresses.is_empty() {
        addresses.clone_from(&file.endpoints);
    }
    Ok((
        Cluster::new(addresses, Some(file.credentials()?), timeout),
        Some((path, file)),
    ))
}

async fn dispatch(command: Command, ctx: &mut Context) -> Result<Exit, Failure> {
    let out = ctx.out;
    match command {
        Command::Status { watch: true, .. } => status::watch(ctx).await,
        Command::Status { check: true, .. } => status::check(ctx).await,
        Command::Status { .. } => status::once(ctx).await,
        Command::Drain(args) => state::drain(ctx, args).await,
        Command::RollingRestart(args) => rolling::run(ctx, args).await,
        Command::Ready(args) => state::ready(ctx, args).await,
        Command::Maintenance(args) => state::maintenance(ctx, args).await,
        Command::Apply {
            file,
            yes,
            expect_version,
        } => config::apply(ctx, &file, yes.yes, expect_version).await,
        Command::Diff { file } => config::diff(ctx, &file).await,
        Command::Rollback { version, yes } => config::rollback(ctx, version, yes.yes).await,
        Command::Config(ConfigCommand::History) => config::history(ctx).await,
        Command::Config(ConfigCommand::Show { version }) => config::show(ctx, version).await,
        Command::Member(command) => member::run(ctx, command).await,
        Command::Backup {
            file,
            passphrase_file,
        } => trust::backup::run(ctx, &file, passphrase_file.as_deref()).await,
        Command::Token(command) => trust::token::run(ctx, command).await,
        Command::User(command) => trust::user::run(ctx, command).await,
        Command::Ca(command) => trust::authority::run(ctx, command).await,
        Command::MoveLeader { node, wait } => leader::hand_over(ctx, node, wait).await,
        Command::Sessions {
            client,
            server,
            limit,
        } => sessions::list(ctx, client, server, limit).await,
        Command::Whereis { client } => sessions::whereis(ctx, client).await,
        Command::Events {
            follow,
            since,
            grep,
            limit,
        } => {
            let filter = events::Filter { since, grep, limit };
            events::run(ctx, filter, follow).await
        }
        Command::Explain(ExplainCommand::Vip { name }) => status::explain(ctx, name).await,
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
