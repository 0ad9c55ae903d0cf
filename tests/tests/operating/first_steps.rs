//! The README's way from nothing to three nodes.

use std::time::Duration;

use ha_tests::cluster::{AGENT_PORT, Cluster, Plan, agent_program, cli_program};
use ha_tests::require_root;
use ha_tests::scenario::SOON;
use ha_tests::system::System;

const README: &str = include_str!("../../../README.md");

/// The README's commands, each on the machine that it names.
#[test]
fn from_nothing_to_three_secured_nodes_in_the_readmes_commands() {
    require_root!();
    let mut cluster = Cluster::machines_only(Plan {
        sample_servers: false,
        ..Plan::default()
    });
    let block = README
        .split("```")
        .find(|b| b.contains("node-1$ ha-agent init"))
        .expect("the README has the commands");
    let commands: Vec<&str> = block.lines().filter(|l| l.contains("$ ")).collect();
    assert!(commands.len() <= 12 && commands.len() > 5, "{commands:?}");
    let mut token = String::new();
    for line in commands {
        let (node, command) = line.split_once("$ ").expect("node-N$ command");
        let number = Cluster::number(node);
        let (agent, config) = (
            cluster.write_agent(number),
            cluster.write_config(&cluster.plan.config),
        );
        if command.starts_with("ha-agent run") {
            assert!(command.trim_end().ends_with('&'), "{command}");
            cluster.start_agent(number);
            continue;
        }
        let words: Vec<String> = command
            .split_whitespace()
            .map(|word| match word {
                "ha-agent" => agent_program(),
                "ha-cli" => cli_program(),
                "agent.toml" => agent.clone(),
                "cluster.toml" => config.clone(),
                "TOKEN" => token.clone(),
                "10.0.0.1:7400" => format!("{}:{AGENT_PORT}", cluster.machine(1).ip4()),
                other => other.to_owned(),
            })
            .collect();
        let socket = format!(
            "HA_ADDRESS=unix:{}",
            cluster
                .machine(number)
                .dir()
                .join("data/control.sock")
                .display()
        );
        let words: Vec<&str> = ["env", &socket]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        let printed = cluster
            .machine(number)
            .run(&words, Duration::from_secs(30))
            .ok()
            .unwrap_or_else(|why| panic!("{line}: {why}"));
        if command.starts_with("ha-cli token create") {
            token = printed.trim().to_owned();
        }
    }
    cluster.wait_for_member(2);
    cluster.wait_for_member(3);
    cluster.wait_for_holder(SOON);
}
