//! The commands that have commands of their own.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::Yes;
use crate::human::parse_duration;

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
        /// Even if a voter that answers has not caught up yet; never without a majority that answers
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        yes: Yes,
    },
    /// Makes a learner a voter
    Promote {
        /// Its name or id
        node: String,
    },
}

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
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Shows the authorities, and who shows certificates of which
    Show,
    /// Makes another authority and waits until every node uses it; the old one is still believed for 30 days
    Rotate {
        #[command(flatten)]
        yes: Yes,
    },
    /// Ends the belief in the old authority now
    Retire {
        /// Even if nodes are shut out by it
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        yes: Yes,
    },
}

#[derive(Debug, Subcommand)]
pub enum ExplainCommand {
    /// Why a virtual IP is where it is
    Vip {
        /// Which [default: all]
        #[arg(default_value = "", hide_default_value = true)]
        name: String,
    },
}
