//! What the commands take that change administrative states.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Yes;
use crate::human::parse_duration;

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
    #[command(flatten)]
    pub yes: Yes,
    /// Wait until it has taken effect; at most LIMIT
    #[arg(long, value_name = "LIMIT", num_args = 0..=1, require_equals = true,
          default_missing_value = "1m", value_parser = parse_duration)]
    pub wait: Option<Duration>,
}

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
    #[command(flatten)]
    pub yes: Yes,
    /// Why, for those who look later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub reason: String,
}

#[derive(Debug, Args)]
pub struct RollingArgs {
    /// Run here by `sh -c` for each node, which is drained then; HA_NODE is its name, HA_NODE_ADDRESS its address, HA_NODE_HOST that without the port
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
    #[command(flatten)]
    pub yes: Yes,
}

/// What happens to clients that are bound to a server that drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sticky {
    /// They still come back to it, as in HAProxy.
    Honour,
    /// They are bound elsewhere on their next connection.
    Move,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Then {
    /// No traffic, no checks.
    Maintenance,
    /// Normal service, for example after old sessions were flushed.
    Ready,
}
