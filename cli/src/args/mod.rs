//! The command line. Its doc comments are the texts of `--help` and the manual pages.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::exit;
use crate::human::parse_duration;
use crate::output::Format;

mod manage;
mod states;

pub use manage::{
    CaCommand, ConfigCommand, ExplainCommand, MemberCommand, TokenCommand, UserCommand,
};
pub use states::{DrainArgs, RollingArgs, StateArgs, Sticky, Then};

/// Operates a cluster of ha-agent nodes. Any agent can be asked: a follower forwards.
#[derive(Debug, Parser)]
#[command(name = "ha-cli", version, after_help = exit::HELP, after_long_help = exit::HELP)]
pub struct Cli {
    /// An agent: unix:PATH on this machine, HOST:PORT with a context; several are tried in turn (again, or separated by commas)
    /// [default: those of the context, else unix:/run/ha-agent/control.sock]
    #[arg(
        long,
        global = true,
        env = "HA_ADDRESS",
        value_name = "ADDRESS",
        value_delimiter = ','
    )]
    pub address: Vec<String>,
    /// As whom to come, over the network: the file that `user add` wrote, or its name in ~/.config/ha-cli
    #[arg(long, global = true, env = "HA_CONTEXT", value_name = "FILE")]
    pub context: Option<String>,
    /// For people or for programs
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub output: Format,
    /// How long one agent may take to answer; three times as long for a change
    #[arg(long, global = true, value_name = "DURATION", value_parser = parse_duration, default_value = "5s")]
    pub timeout: Duration,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows nodes, holder, servers, frontends and sessions
    Status {
        /// Again every second until Ctrl-C
        #[arg(long, conflicts_with = "check")]
        watch: bool,
        /// One line, for monitoring: exit code 0 well, 1 degraded, 2 no service
        #[arg(long)]
        check: bool,
    },
    /// Gives a target no new clients and lets its sessions end
    Drain(DrainArgs),
    /// Lets a target serve again (also takes a drain back)
    Ready(StateArgs),
    /// Takes a target out at once: no traffic, no checks
    Maintenance(StateArgs),
    /// Takes each node out in turn, runs a command for it, and brings it back; nobody else takes nodes out meanwhile
    RollingRestart(RollingArgs),
    /// Changes the cluster's configuration, after showing the difference
    Apply {
        /// The new cluster.toml (`-` = standard input)
        file: PathBuf,
        #[command(flatten)]
        yes: Yes,
        /// Only when this version is in force
        #[arg(
            long,
            value_name = "VERSION",
            default_value_t = 0,
            hide_default_value = true
        )]
        expect_version: u64,
    },
    /// Shows what `apply` would change
    Diff {
        /// The new cluster.toml (`-` = standard input)
        file: PathBuf,
    },
    /// Goes back to an earlier configuration, after showing the difference
    Rollback {
        /// The version to go back to [default: the one before the current]
        version: Option<u64>,
        #[command(flatten)]
        yes: Yes,
    },
    /// Looks at the configurations that are kept
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Lists and changes the nodes of the cluster
    #[command(subcommand)]
    Member(MemberCommand),
    /// Lets new nodes in: a token works once
    #[command(subcommand)]
    Token(TokenCommand),
    /// Lets operators in, each with a role
    #[command(subcommand)]
    User(UserCommand),
    /// Looks at and changes the cluster's certificate authority
    #[command(subcommand)]
    Ca(CaCommand),
    /// Writes configuration, states of servers, operators and authority into a file, encrypted; `ha-agent restore` reads it
    Backup {
        /// Where to; must not be there yet
        file: PathBuf,
        /// A file with the passphrase on its first line [default: HA_PASSPHRASE, or it is asked for]
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Hands leadership and the virtual IPs to another node
    MoveLeader {
        /// To which node [default: the best]
        node: Option<String>,
        /// Wait until it leads and holds; at most LIMIT
        #[arg(long, value_name = "LIMIT", num_args = 0..=1, require_equals = true,
              default_missing_value = "30s", value_parser = parse_duration)]
        wait: Option<Duration>,
    },
    /// Lists the sessions
    Sessions {
        /// Only of this client address
        #[arg(long, default_value = "", hide_default_value = true)]
        client: String,
        /// Only to this BACKEND/SERVER
        #[arg(long, default_value = "", hide_default_value = true)]
        server: String,
        /// At most so many (0 = all)
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Says which server a client comes back to
    Whereis {
        /// The client's address
        client: String,
    },
    /// Shows what happened
    Events {
        /// Go on with what happens from now, until Ctrl-C
        #[arg(long)]
        follow: bool,
        /// Only what is younger
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        since: Option<Duration>,
        /// Only what contains this text
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        grep: String,
        /// At most so many of the past (0 = all that match)
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        limit: u32,
    },
    /// Says why things are as they are
    #[command(subcommand)]
    Explain(ExplainCommand),
    /// Shows a failover on this machine: three agents, three servers, one client, one kill
    Demo(DemoArgs),
    /// Writes the manual pages, one per command
    #[command(hide = true)]
    Manual {
        /// Where to; made when it is not there
        directory: PathBuf,
    },
    /// Prints completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// What commands take that ask first.
#[derive(Clone, Copy, Debug, Args)]
pub struct Yes {
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after the first failover
    #[arg(long)]
    pub once: bool,
    /// How long all is well before the leader is killed
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "4s")]
    pub steady: Duration,
    /// The ha-agent to run [default: beside ha-cli, else it is built]
    #[arg(long, value_name = "FILE")]
    pub agent: Option<PathBuf>,
}
