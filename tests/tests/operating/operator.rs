//! An operator who is not on a node.

use std::time::Duration;

use ha_tests::cluster::{Cluster, cli_program};
use ha_tests::netns::Machine;
use ha_tests::process::Finished;
use ha_tests::system::System;

/// A context file for an operator, made on a node.
pub fn context(cluster: &Cluster, name: &str, role: &str) -> String {
    let file = cluster
        .topology()
        .dir()
        .join(format!("{name}.json"))
        .to_string_lossy()
        .into_owned();
    cluster
        .cli(&["user", "add", name, "--role", role, "--file", &file])
        .unwrap_or_else(|why| panic!("user add: {why}"));
    file
}

/// `ha-cli` as that operator, over the network.
pub fn by(from: &Machine, context: &str, words: &[&str]) -> Finished {
    let program = cli_program();
    from.run(
        &[
            &[program.as_str(), "--context", context, "--output", "json"],
            words,
        ]
        .concat(),
        Duration::from_secs(20),
    )
}
