//! The README's way from nothing to three nodes, each command on the machine that it names.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ha_tests::cluster::{AGENT_PORT, Cluster, Plan, agent_program, cli_program};
use ha_tests::guard::say;
use ha_tests::in_both_families;
use ha_tests::netns::Family;
use ha_tests::scenario::SOON;
use ha_tests::system::System;

in_both_families!(the_readme_leads_from_nothing_to_three_voters_in_at_most_twelve_commands,);

const README: &str = include_str!("../../../README.md");
const BOUND: Duration = Duration::from_secs(30);
/// More than these nobody copies by hand without a mistake.
const MOST: usize = 12;

fn the_readme_leads_from_nothing_to_three_voters_in_at_most_twelve_commands(family: Family) {
    let commands = commands();
    assert!(
        (6..=MOST).contains(&commands.len()),
        "three nodes take more than five commands and at most {MOST}: {commands:?}"
    );
    let cluster = Cluster::machines_only(Plan {
        sample_servers: false,
        ..Plan::beside_others().in_family(family)
    });
    let mut administrator = Administrator {
        cluster,
        token: String::new(),
    };
    let began = Instant::now();
    for (node, command) in &commands {
        administrator.types(*node, command);
    }
    let cluster = administrator.cluster;
    for node in 1..=3 {
        cluster.wait_for_member(node);
    }
    say(&format!(
        "FIRST STEPS: {} commands, three voters after {:.1} s",
        commands.len(),
        began.elapsed().as_secs_f64()
    ));
    cluster.wait_for_holder(SOON);
}

/// The commands, each with its node, from lines such as `node-1$ ha-cli status`.
fn commands() -> Vec<(u8, &'static str)> {
    let block = README
        .split("```")
        .find(|block| block.contains("node-1$ ha-agent init"))
        .expect("the README has the commands");
    block
        .lines()
        .filter_map(|line| line.split_once("$ "))
        .map(|(node, command)| (Cluster::number(node), command))
        .collect()
}

/// Who copies the commands from the README.
struct Administrator {
    cluster: Cluster,
    /// As the last `ha-cli token create` printed it.
    token: String,
}

impl Administrator {
    fn types(&mut self, node: u8, command: &str) {
        let words = self.words(node, command);
        if command.starts_with("ha-agent run") {
            assert!(command.trim_end().ends_with('&'), "{command}");
            return self.cluster.start_agent(node);
        }
        let machine = self.cluster.machine(node);
        let socket = machine.dir().join("data/control.sock");
        let address = format!("HA_ADDRESS=unix:{}", socket.display());
        let words: Vec<&str> = ["env", &address]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        let printed = machine
            .run(&words, BOUND)
            .ok()
            .unwrap_or_else(|why| panic!("node-{node}$ {command}: {why}"));
        if command.starts_with("ha-cli token create") {
            self.token = printed.trim().to_owned();
        }
    }

    /// The README's examples are replaced by what there is here.
    fn words(&self, node: u8, command: &str) -> Vec<String> {
        let cluster = &self.cluster;
        command
            .split_whitespace()
            .map(|word| match word {
                "ha-agent" => agent_program(),
                "ha-cli" => cli_program(),
                "agent.toml" => cluster.write_agent(node),
                "cluster.toml" => cluster.write_config(&cluster.plan.config),
                "TOKEN" => self.token.clone(),
                "10.0.0.1:7400" => SocketAddr::new(cluster.machine(1).ip(), AGENT_PORT).to_string(),
                other => other.to_owned(),
            })
            .collect()
    }
}
