//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit;
use crate::human::parse_duration;
use crate::output::Format;

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

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows nodes, holder, servers, frontends and sessions
    Status {
        /// Again every second until Ctrl-C
        #[arg(long)]
        watch: bool,
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
        /// Do not ask
        #[arg(long)]
        yes: bool,
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
    /// Goes back to an earlier configuration
    Rollback {
        /// The version to go back to [default: the one before the current]
        version: Option<u64>,
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

/// What `ready` and `maintenance` take.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// NODE, BACKEND/SERVER or NODE/BACKEND
    pub target: String,
    /// Why, for those who look later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
    /// Even if it is the last usable server
    #[arg(long)]
    pub force: bool,
    /// Wait until it has taken effect; at most LIMIT
    #[arg(long, value_name = "LIMIT", num_args = 0..=1, require_equals = true,
          default_missing_value = "1m", value_parser = parse_duration)]
    pub wait: Option<Duration>,
}

/// What `drain` takes.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// NODE, BACKEND/SERVER or NODE/BACKEND
    pub target: String,
    /// Ends when it is empty, or after this time: then nobody comes back, and sessions that are left are cut
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub deadline: Option<Duration>,
    /// Clients bound to it: honour = they still come back, move = elsewhere on their next connection
    #[arg(long, value_enum, default_value = "honour")]
    pub sticky: Sticky,
    /// What follows when it is empty [default: it stays drained]
    #[arg(long, value_enum)]
    pub then: Option<Then>,
    /// Wait until it is empty, showing the sessions that are left; at most LIMIT [default: no limit]
    #[arg(long, value_name = "LIMIT", num_args = 0..=1, require_equals = true,
          default_missing_value = "3650d", value_parser = parse_duration)]
    pub wait: Option<Duration>,
    /// Even if it is the last usable server
    #[arg(long)]
    pub force: bool,
    /// Why, for those who look later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
}

/// What `rolling-restart` takes.
#[derive(Debug, Args)]
pub struct RollingArgs {
    /// Run here by `sh -c` for each node, which is drained then; HA_NODE is its name, HA_NODE_ADDRESS its address
    #[arg(long, value_name = "COMMAND")]
    pub command: String,
    /// Only these nodes, in this order (again, or separated by commas) [default: all, the one that leads last]
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub node: Vec<String>,
    /// Sessions that are left on a node after this time are cut
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10m")]
    pub deadline: Duration,
    /// How long the command may take for one node
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10m")]
    pub command_within: Duration,
    /// How long a node may take after that until it votes and its servers are up
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "5m")]
    pub back_within: Duration,
    /// Even if a backend has no usable server meanwhile
    #[arg(long)]
    pub force: bool,
}

/// What happens to clients that are bound to a server that drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sticky {
    /// They still come back to it, as in HAProxy.
    Honour,
    /// They are bound elsewhere on their next connection.
    Move,
}

/// What follows a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Then {
    /// No traffic, no checks.
    Maintenance,
    /// Normal service, for example after old sessions were flushed.
    Ready,
}

/// `ha-cli config ...`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Lists the versions that are kept
    History,
    /// Prints a version as it was written
    Show {
        /// Which [default: the one in force]
        version: Option<u64>,
    },
}

/// `ha-cli member ...`
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// Lists the nodes
    List,
    /// Explains how a node joins, with the exact commands
    Add {
        /// How the new node will be called
        #[arg(default_value = "node-N", hide_default_value = true)]
        name: String,
        /// Where the new node will listen for peers and operators
        #[arg(
            long,
            value_name = "HOST:PORT",
            default_value = "ADDRESS-OF-THE-NEW-NODE:7400"
        )]
        listen: String,
        /// `server`, or `witness`: votes only, carries no traffic
        #[arg(long, default_value = "server", value_parser = ["server", "witness"])]
        role: String,
    },
    /// Takes a node out of the cluster for good
    Remove {
        /// Its name or id
        node: String,
        /// Even if it is not reachable, or fewer voters than before would be left to lose
        #[arg(long)]
        force: bool,
    },
    /// Makes a learner a voter
    Promote {
        /// Its name or id
        node: String,
    },
}

/// `ha-cli token ...`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints it, this once
    Create {
        /// How long it may be used
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1h")]
        ttl: Duration,
        /// What may join with it
        #[arg(long, default_value = "server", value_parser = ["server", "witness"])]
        role: String,
    },
    /// Lists tokens: open, used, expired, revoked
    List,
    /// Takes a token back
    Revoke {
        /// Its id, as `token list` shows it
        id: String,
    },
}

/// `ha-cli user ...`
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Lets an operator in and writes the context file that it needs; an earlier one of that name is shut out
    Add {
        /// How it will be called in the event log
        name: String,
        /// What it may do: viewer looks, operator drains and moves, admin changes configuration and members
        #[arg(long, value_parser = ["viewer", "operator", "admin"])]
        role: String,
        /// Where the context file goes [default: NAME.json here]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Lists the operators
    List,
    /// Shuts an operator out, at once
    Remove {
        /// Its name
        name: String,
    },
}

/// `ha-cli ca ...`
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Shows the authorities, and who shows certificates of which
    Show,
    /// Makes another authority and waits until every node uses it; the old one is still believed for 30 days
    Rotate,
    /// Ends the belief in the old authority now
    Retire {
        /// Even if nodes are shut out by it
        #[arg(long)]
        force: bool,
    },
}

/// `ha-cli explain ...`
#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// Why a virtual IP is where it is
    Vip {
        /// Which [default: all]
        #[arg(default_value = "", hide_default_value = true)]
        name: String,
    },
}

/// What `demo` takes.
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
