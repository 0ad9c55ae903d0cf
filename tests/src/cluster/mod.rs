//! The product on the machines of a topology: `ha-agent` on each node, `ha-cli`
//! as the operator's hand, sample servers beside them.
//!
//! * [`Plan`] says what is wanted, `files` writes it down.
//! * [`Cluster`] (here): starts it, breaks it, brings it back.
//! * `operate`: every `ha-cli` command that tests use; [`status`]: what it prints.
//! * `programs`: where the two binaries are, built when they are not.

pub mod files;
mod operate;
mod programs;
pub mod status;
mod ways_out;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use files::{Agent, Backend, Config, Frontend, Plan, Server, Timing};
pub use operate::CUT_OFF;
pub use programs::{agent_program, cli_program, next_agent_program};
pub use status::Status;

use crate::netns::{Machine, Topology};
use crate::process::Process;
use crate::servers;
use crate::system::System;
use crate::{sys, wait};

/// The port that agents talk on.
pub const AGENT_PORT: u16 = 7400;
const START: Duration = Duration::from_secs(30);

pub struct Cluster {
    /// What was asked for.
    pub plan: Plan,
    /// Where agents listen that are not at their machine's first address.
    pub moved: BTreeMap<u8, IpAddr>,
    // Processes before the topology: they are reaped while their namespaces are still there.
    agents: BTreeMap<u8, Process>,
    servers: BTreeMap<u8, Process>,
    topology: Topology,
}

impl Cluster {
    /// Builds machines, starts a sample server on each, forms the cluster, waits until all of it serves.
    pub fn start(plan: Plan) -> Cluster {
        let cluster = Cluster::form(plan);
        cluster.wait_for_all_serving();
        cluster
    }

    /// The same without sample servers, beside others: the test starts real programs, then waits by [`Cluster::wait_for_all_serving`].
    pub fn start_without_servers(config: Config) -> Cluster {
        Cluster::form(Plan {
            sample_servers: false,
            config,
            ..Plan::beside_others()
        })
    }

    /// Machines without any agent: the test founds the cluster.
    pub fn machines_only(plan: Plan) -> Cluster {
        let topology = Topology::of(plan.family, plan.nodes, plan.clients, plan.turn);
        Cluster {
            plan,
            moved: BTreeMap::new(),
            agents: BTreeMap::new(),
            servers: BTreeMap::new(),
            topology,
        }
    }

    /// Forms the cluster and does not wait for its servers.
    pub fn form(plan: Plan) -> Cluster {
        let mut cluster = Cluster::machines_only(plan);
        for number in cluster.plan.members() {
            cluster.start_server(number);
        }
        cluster.init(1);
        for number in cluster.plan.members().skip(1) {
            cluster.join(number, 1);
        }
        cluster
    }

    /// The machine of a node.
    pub fn machine(&self, number: u8) -> &Machine {
        self.topology.node(number)
    }

    /// Where peers and operators reach a node.
    pub fn reached_at(&self, number: u8) -> IpAddr {
        let first = || self.machine(number).ip();
        self.moved.get(&number).copied().unwrap_or_else(first)
    }

    /// Makes the first node and starts it.
    pub fn init(&mut self, number: u8) {
        let config = self.write_config(&self.plan.config);
        self.init_with(number, &config);
    }

    /// The same with another `cluster.toml`.
    pub fn init_with(&mut self, number: u8, config: &str) {
        let agent = self.write_agent(number);
        let program = agent_program();
        let words = [&program, "init", "--config", &agent, "--cluster", config];
        let done = self.machine(number).run(&words, START).ok();
        done.unwrap_or_else(|why| panic!("ha-agent init on node-{number}: {why}"));
        self.start_agent(number);
    }

    /// Lets a node join through another, starts it, waits until it votes.
    pub fn join(&mut self, number: u8, through: u8) {
        self.try_join(number, through)
            .unwrap_or_else(|why| panic!("ha-agent join on node-{number}: {why}"));
        self.wait_for_member(number);
    }

    /// Lets a node join through another and starts it; gives back a refusal.
    pub fn try_join(&mut self, number: u8, through: u8) -> Result<(), String> {
        let token = self.token(through, &["--role", self.plan.role(number)])?;
        self.join_with(number, through, &["--token", &token])?;
        self.start_agent(number);
        Ok(())
    }

    /// A join token, made on a node that runs.
    pub fn token(&self, on: u8, words: &[&str]) -> Result<String, String> {
        let made = self
            .cli_at(on, &[&["token", "create"], words].concat(), START)
            .ok()?;
        let made: serde_json::Value =
            serde_json::from_str(&made).map_err(|e| format!("{e}: {made}"))?;
        made["token"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| made.to_string())
    }

    /// `ha-agent join` with these words, to its end.
    pub fn join_with(&self, number: u8, through: u8, words: &[&str]) -> Result<String, String> {
        let agent = self.write_agent(number);
        let member = SocketAddr::new(self.reached_at(through), AGENT_PORT).to_string();
        let program = agent_program();
        self.machine(number)
            .run(
                &[
                    &[program.as_str(), "join", &member, "--config", &agent],
                    words,
                ]
                .concat(),
                START,
            )
            .ok()
    }

    /// Starts the agent of a node that has been made or has joined.
    pub fn start_agent(&mut self, number: u8) {
        self.start_agent_of(number, &agent_program());
    }

    /// The same with another program.
    pub fn start_agent_of(&mut self, number: u8, program: &str) {
        let agent = self.write_agent(number);
        let mut command = self.machine(number).command(program);
        command
            .args(["run", "--config", &agent])
            .envs(self.plan.environment(self.machine(number)));
        let log = self.machine(number).dir().join("agent.log");
        self.agents.insert(
            number,
            Process::start(&format!("ha-agent on node-{number}"), command, &log),
        );
    }

    /// The agent of a node.
    pub fn agent(&self, number: u8) -> &Process {
        self.agents
            .get(&number)
            .unwrap_or_else(|| panic!("the agent of node-{number} runs"))
    }

    /// Whether the agent of a node has ended by itself.
    pub fn agent_ended(&mut self, number: u8) -> bool {
        self.agents
            .get_mut(&number)
            .is_none_or(|agent| agent.ended().is_some())
    }

    /// Starts the sample server of a node on all ports of the plan.
    pub fn start_server(&mut self, number: u8) {
        if !self.plan.sample_servers || self.plan.witnesses.contains(&number) {
            return;
        }
        let server = servers::sample(
            self.machine(number),
            &format!("server-{number}"),
            self.plan.family.any(),
            &self.plan.ports,
        );
        self.servers.insert(number, server);
    }

    /// `kill -9` of the sample server of a node.
    pub fn kill_server(&mut self, number: u8) -> Instant {
        self.servers
            .remove(&number)
            .unwrap_or_else(|| panic!("the server of node-{number} runs"))
            .kill();
        Instant::now()
    }

    /// SIGSTOP of the agent of a node.
    pub fn freeze(&self, number: u8) -> Instant {
        self.agent(number).signal(libc::SIGSTOP);
        Instant::now()
    }

    /// SIGCONT of the agent of a node.
    pub fn thaw(&self, number: u8) {
        self.agent(number).signal(libc::SIGCONT);
    }

    /// SIGTERM of the agent of a node, waited for: an orderly stop.
    pub fn stop_agent(&mut self, number: u8) {
        if let Some(mut agent) = self.agents.remove(&number) {
            agent.terminate(Duration::from_secs(30));
        }
    }

    /// Takes what is left of a node out of the harness, after its machine was cut off or it left the cluster.
    pub fn forget(&mut self, number: u8) {
        self.agents.remove(&number);
        self.servers.remove(&number);
    }

    /// Where clients connect, on a port of their choice.
    pub fn address_on(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.plan.vip(), port)
    }

    /// Waits until every member votes (of an even number all but one), every server is up and one node has the address.
    pub fn wait_for_all_serving(&self) {
        let members: Vec<_> = self
            .plan
            .members()
            .filter(|number| self.agents.contains_key(number))
            .collect();
        wait::until(
            "all members to vote and all servers to be up",
            START,
            || {
                let status = self.status()?;
                let sleeping: Vec<_> = members
                    .iter()
                    .filter(|&&number| !status.votes(&format!("node-{number}")))
                    .collect();
                let down: Vec<_> = status
                    .servers
                    .iter()
                    .filter(|server| server.status != "UP")
                    .collect();
                // An even number of voters endures no more than one less: one of them follows without a vote.
                let all_vote = sleeping.len() <= usize::from(members.len().is_multiple_of(2));
                let ready = all_vote && down.is_empty() && status.holder.is_some();
                if ready {
                    Ok(())
                } else {
                    Err(format!(
                        "not voting {sleeping:?}, not up {down:?}, holder {:?}",
                        status.holder
                    ))
                }
            },
        );
        self.wait_for_holder(START);
    }

    /// Waits until a node is a voter in the eyes of the leader, or follows without a vote where one more voter would be
    /// of no use.
    pub fn wait_for_member(&self, number: u8) {
        let name = format!("node-{number}");
        wait::until(&format!("{name} to be a voter"), START, || {
            let status = self.status()?;
            let odd_one = status.nodes.len().is_multiple_of(2) && status.follows(&name);
            if status.votes(&name) || odd_one {
                Ok(())
            } else {
                Err(format!("{:?}", status.nodes))
            }
        });
    }

    /// Writes `agent.toml` of a node down and gives the path.
    pub fn write_agent(&self, number: u8) -> String {
        let machine = self.machine(number);
        let path = machine.dir().join("agent.toml");
        let listen = SocketAddr::new(self.reached_at(number), AGENT_PORT).to_string();
        let agent = Agent {
            listen,
            ..Agent::of(machine, &self.plan)
        };
        std::fs::write(&path, agent.to_toml()).expect("agent.toml");
        path.to_string_lossy().into_owned()
    }

    /// Writes a cluster configuration down and gives the path.
    pub fn write_config(&self, config: &Config) -> String {
        let path: PathBuf = self.topology.dir().join("cluster.toml");
        std::fs::write(&path, config.to_toml()).expect("cluster.toml");
        path.to_string_lossy().into_owned()
    }
}

impl System for Cluster {
    fn name(&self) -> &str {
        "ha-agent"
    }

    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn address(&self) -> SocketAddr {
        self.address_on(self.plan.ports[0])
    }

    fn holder(&self) -> Option<u8> {
        let kernel = self.topology.who_has(self.plan.vip());
        (kernel.len() == 1).then(|| kernel[0])
    }

    fn kill_machine(&mut self, node: u8) -> Instant {
        let at = self.machine(node).power_off();
        self.forget(node);
        at
    }

    fn kill_process(&mut self, node: u8) -> Instant {
        let at = Instant::now();
        let _ = sys::signal(self.agent(node).pid(), libc::SIGKILL);
        self.agents.remove(&node);
        at
    }

    fn stop_process(&mut self, node: u8) -> Instant {
        self.freeze(node)
    }

    fn graceful_move(&mut self, from: u8) -> Instant {
        let at = Instant::now();
        self.move_leader(None)
            .unwrap_or_else(|why| panic!("move-leader away from node-{from}: {why}"));
        at
    }

    fn restore(&mut self, node: u8) {
        if !self.machine(node).is_on() {
            self.machine(node).power_on();
        }
        if !self.servers.contains_key(&node) {
            self.start_server(node);
        }
        match self.agents.contains_key(&node) {
            // It may have been stopped.
            true => self.thaw(node),
            false => self.start_agent(node),
        }
        self.wait_for_all_serving();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for agent in self.agents.values() {
                eprintln!("--- {}, its last words:\n{}", agent.name, agent.tail());
            }
        }
    }
}
