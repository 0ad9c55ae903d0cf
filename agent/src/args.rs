//! The command line of `ha-agent`. Its doc comments are the texts of `--help` and the manual pages.

use clap::{Parser, Subcommand, ValueEnum};
use ha_core::id::NodeId;
use ha_core::model::Timing;
use std::path::PathBuf;

/// Where this node's file is when nothing else is said.
const AGENT_FILE: &str = "/etc/ha-agent/agent.toml";

const EXIT_CODES: &str = "Exit codes: 0 done, 1 it failed (the message says why), 2 wrong usage, 8 somebody must change something first: a configuration file is wrong, or the cluster went on without this node.";

#[derive(Parser)]
#[command(name = "ha-agent", version, about = "High availability without a fourth machine: one agent per server", after_help = EXIT_CODES)]
pub struct Args {
    #[command(subcommand)]
    pub command: AgentCommand,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Subcommand)]
pub enum AgentCommand {
    /// Found a new cluster with this node as its first.
    Init {
        /// This node's file.
        #[arg(long, default_value = AGENT_FILE)]
        config: PathBuf,
        /// The cluster's file; it is needed only here.
        #[arg(long)]
        cluster: PathBuf,
        /// This node's id, a UUID; made when it is not given.
        #[arg(long)]
        id: Option<NodeId>,
        /// Even if a check of `preflight` fails.
        #[arg(long)]
        skip_preflight: bool,
    },
    /// Ask any member to let this node in.
    Join {
        /// `listen` address of any member.
        address: String,
        /// What `ha-cli token create` printed on a member.
        #[arg(long, env = "HA_TOKEN", hide_env_values = true)]
        token: Option<String>,
        /// This node's file.
        #[arg(long, default_value = AGENT_FILE)]
        config: PathBuf,
        /// This node's id, a UUID; made when it is not given.
        #[arg(long)]
        id: Option<NodeId>,
        /// Even if a check of `preflight` fails.
        #[arg(long)]
        skip_preflight: bool,
    },
    /// Found a cluster from a backup of an earlier one, which must be gone: the same identity, configuration and authority.
    Restore(RestoreArgs),
    /// Write a backup of what this node knows, while its agent is stopped: it needs no majority. `restore` reads it.
    Export(ExportArgs),
    /// Go on with this node alone, because the others are lost for good. Its agent is stopped. Everything that it knows
    /// goes on under a new node id; the others come back with `rejoin`.
    Recover(RecoverArgs),
    /// Come back under this node's name with a new node id: its data were lost or exchanged, or the cluster was recovered
    /// without it. What is in data_dir is kept beside.
    Rejoin(RejoinArgs),
    /// Look whether this machine can do what an agent needs, without changing anything.
    Preflight {
        /// This node's file.
        #[arg(long, default_value = AGENT_FILE)]
        config: PathBuf,
        /// The cluster's file: are its virtual IPs free?
        #[arg(long)]
        cluster: Option<PathBuf>,
        /// `listen` address of a member: is it near, and does it reach this node?
        #[arg(long)]
        member: Option<String>,
        /// The same as `--output json`.
        #[arg(long)]
        json: bool,
    },
    /// Run, until SIGTERM, SIGINT or SIGHUP.
    Run {
        /// This node's file.
        #[arg(long, default_value = AGENT_FILE)]
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
    /// Put programs, systemd unit and user into place, where there is no package.
    Install {
        /// Another root than this machine's.
        #[arg(long, default_value = "/", hide_default_value = true)]
        root: PathBuf,
    },
    /// Take away what `install` put there; configuration and data stay.
    Uninstall {
        /// Another root than this machine's.
        #[arg(long, default_value = "/", hide_default_value = true)]
        root: PathBuf,
    },
    /// Prints completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual pages, one per command.
    #[command(hide = true)]
    Manual {
        /// Where to; made when it is not there.
        directory: PathBuf,
    },
    /// Take the addresses off when the agent, whose words come on standard input, falls silent. Started by `run`.
    #[command(hide = true)]
    Warden {
        /// By which managed addresses are found.
        mark: u8,
    },
    /// Remove managed addresses and tables that a crashed agent left. Needs no files: they may be gone.
    Cleanup {
        /// Not needed, and not looked at.
        #[arg(long, hide = true)]
        config: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
pub struct RestoreArgs {
    /// What `ha-cli backup` or `ha-agent export` wrote.
    pub file: PathBuf,
    /// This node's file.
    #[arg(long, default_value = AGENT_FILE)]
    pub config: PathBuf,
    /// A file with the passphrase on its first line; without it HA_PASSPHRASE is taken, or it is asked for.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// This node's id, a UUID; made when it is not given.
    #[arg(long)]
    pub id: Option<NodeId>,
    /// Other timers than before: lan, fast or wan. A running cluster cannot change them.
    #[arg(long, value_parser = timing)]
    pub timing: Option<Timing>,
    /// Even if a check of `preflight` fails.
    #[arg(long)]
    pub skip_preflight: bool,
}

#[derive(clap::Args)]
pub struct ExportArgs {
    /// Where to; it must not be there.
    pub file: PathBuf,
    /// This node's file.
    #[arg(long, default_value = AGENT_FILE)]
    pub config: PathBuf,
    /// A file with the passphrase on its first line; without it HA_PASSPHRASE is taken, or it is asked for.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
}

#[derive(clap::Args)]
pub struct RecoverArgs {
    /// Every other node is given up.
    #[arg(long)]
    pub alone: bool,
    /// A machine that is switched off, by its node's name; once for each other member. Asked for when it is not given.
    #[arg(long, value_name = "NAME")]
    pub switched_off: Vec<String>,
    /// This node's file.
    #[arg(long, default_value = AGENT_FILE)]
    pub config: PathBuf,
    /// This node's new id, a UUID; made when it is not given.
    #[arg(long)]
    pub id: Option<NodeId>,
    /// Even if a check of `preflight` fails.
    #[arg(long)]
    pub skip_preflight: bool,
}

#[derive(clap::Args)]
pub struct RejoinArgs {
    /// `listen` address of any member.
    pub address: String,
    /// What `ha-cli token create` printed on a member.
    #[arg(long, env = "HA_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// This node's file.
    #[arg(long, default_value = AGENT_FILE)]
    pub config: PathBuf,
    /// This node's new id, a UUID; made when it is not given.
    #[arg(long)]
    pub id: Option<NodeId>,
    /// Even if a check of `preflight` fails.
    #[arg(long)]
    pub skip_preflight: bool,
}

fn timing(word: &str) -> Result<Timing, String> {
    Timing::from_word(word).ok_or_else(|| "use lan, fast or wan".to_owned())
}
