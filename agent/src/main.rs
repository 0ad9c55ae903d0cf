//! `ha-agent`: found a cluster, join one, run.

use clap::{Parser, Subcommand, ValueEnum};
use ha_agent::agent::{self, Failure};
use ha_agent::config::{self, AgentConfig, parse_cluster};
use ha_core::id::NodeId;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 it failed (the message says why), 2 wrong usage, 8 a configuration file is wrong.";

#[derive(Parser)]
#[command(name = "ha-agent", version, about = "High availability without a fourth machine: one agent per server", after_help = EXIT_CODES)]
struct Args {
    #[command(subcommand)]
    command: What,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Subcommand)]
enum What {
    /// Found a new cluster with this node as its first.
    Init {
        /// This node's file.
        #[arg(long)]
        config: PathBuf,
        /// The cluster's file; it is needed only here.
        #[arg(long)]
        cluster: PathBuf,
        /// This node's id, a UUID; made when it is not given.
        #[arg(long)]
        id: Option<NodeId>,
    },
    /// Ask any member to let this node in.
    Join {
        /// `listen` address of any member.
        address: String,
        /// This node's file.
        #[arg(long)]
        config: PathBuf,
        /// This node's id, a UUID; made when it is not given.
        #[arg(long)]
        id: Option<NodeId>,
    },
    /// Run, until SIGTERM or SIGINT.
    Run {
        /// This node's file.
        #[arg(long)]
        config: PathBuf,
    },
    /// Say whether the files are right, without starting anything.
    Check {
        /// This node's file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// The cluster's file.
        #[arg(long)]
        cluster: Option<PathBuf>,
    },
    /// Take the addresses off when the agent, whose words come on standard input, falls silent. Started by `run`.
    #[command(hide = true)]
    Warden {
        /// By which managed addresses are found.
        mark: u8,
    },
    /// Remove managed addresses and tables that a crashed agent left.
    Cleanup {
        /// This node's file.
        #[arg(long)]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("HA_LOG").unwrap_or_else(|_| EnvFilter::new("info,openraft=error,sled=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).with_target(false).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("ha-control").enable_all().build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(act(args.command, args.output));
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            result
        }
        Err(e) => Err(e.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let wrong_file = e.downcast_ref::<config::Problems>().is_some();
            if args.output == Output::Json {
                println!("{}", serde_json::json!({ "error": e.to_string() }));
            } else {
                eprintln!("{e}");
            }
            ExitCode::from(if wrong_file { 8 } else { 1 })
        }
    }
}

async fn act(what: What, output: Output) -> Result<(), Failure> {
    match what {
        What::Init { config, cluster, id } => {
            let agent = read_agent(&config)?;
            let text = config::read(&cluster)?;
            let parsed = parse_cluster(&cluster.display().to_string(), &text)?;
            let identity = agent::found(&agent, parsed, text, id).await?;
            let say = format!("cluster {} is founded, this node is {} ({})\nnext: ha-agent run --config {}", identity.cluster_id, agent.name, identity.node_id, config.display());
            tell(output, &say, &serde_json::json!({ "cluster_id": identity.cluster_id, "node_id": identity.node_id, "name": agent.name }));
        }
        What::Join { address, config, id } => {
            let agent = read_agent(&config)?;
            let (identity, cluster) = agent::join(&agent, &address, id).await?;
            let say = format!("{} ({}) is let into cluster {cluster}\nnext: ha-agent run --config {}", agent.name, identity.node_id, config.display());
            tell(output, &say, &serde_json::json!({ "cluster": cluster, "cluster_id": identity.cluster_id, "node_id": identity.node_id, "name": agent.name }));
        }
        What::Run { config } => {
            let agent = read_agent(&config)?;
            let stop = CancellationToken::new();
            stop_on_signal(&stop)?;
            agent::run(agent, stop).await?;
        }
        What::Check { config, cluster } => {
            let mut problems = Vec::new();
            if let Some(path) = &config {
                problems.extend(read_agent(path).err().into_iter().flat_map(|p| p.0));
            }
            if let Some(path) = &cluster {
                let parsed = config::read(path).and_then(|text| parse_cluster(&path.display().to_string(), &text));
                problems.extend(parsed.err().into_iter().flat_map(|p| p.0));
            }
            if !problems.is_empty() {
                return Err(config::Problems(problems).into());
            }
            tell(output, "the configuration is right", &serde_json::json!({ "ok": true }));
        }
        What::Warden { mark } => warden(mark)?,
        What::Cleanup { config } => cleanup(&read_agent(&config)?, output)?,
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn warden(mark: u8) -> Result<(), Failure> {
    Ok(ha_agent::vip::warden::run(mark, std::io::stdin())?)
}

#[cfg(not(target_os = "linux"))]
fn warden(_: u8) -> Result<(), Failure> {
    Err("there is none on this system".into())
}

#[cfg(target_os = "linux")]
fn cleanup(agent: &AgentConfig, output: Output) -> Result<(), Failure> {
    let removed = ha_agent::vip::cleanup(&ha_agent::vip::VipSettings::new(agent.address), &[])?;
    let names: Vec<String> = removed.iter().map(ToString::to_string).collect();
    tell(output, &format!("removed: {}", if names.is_empty() { "nothing was left".to_owned() } else { names.join(", ") }), &serde_json::json!({ "removed": names }));
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn cleanup(_: &AgentConfig, output: Output) -> Result<(), Failure> {
    tell(output, "nothing is left behind on this system", &serde_json::json!({ "removed": [] }));
    Ok(())
}

fn read_agent(path: &Path) -> Result<AgentConfig, config::Problems> {
    AgentConfig::parse(&path.display().to_string(), &config::read(path)?)
}

fn tell(output: Output, text: &str, json: &serde_json::Value) {
    if output == Output::Json { println!("{json}") } else { println!("{text}") }
}

#[allow(clippy::disallowed_methods, reason = "the one task that is not the agent's: it waits for a signal")]
fn stop_on_signal(stop: &CancellationToken) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}
