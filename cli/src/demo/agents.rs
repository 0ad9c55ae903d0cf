//! The three agents of the demo: forming a cluster, killing one, starting it again, asking them.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ha_proto::control::StatusReply;

use super::places::NODES;
use super::process::Process;
use crate::client::{Cluster, LOCAL};
use crate::clock;
use crate::exit::{Exit, Failure};

/// How long `ha-agent init` and `join` may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// How long a join token of the demo is good.
const TOKEN_MS: u64 = 60_000;

/// How long an agent may take to say how it is.
const ANSWER_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Agent {
    name: &'static str,
    listen: SocketAddr,
    socket: String,
    config: PathBuf,
    log: PathBuf,
    running: Option<Process>,
}

/// The agents; those that run end when this is dropped.
#[derive(Debug)]
pub(super) struct Agents {
    program: PathBuf,
    agents: Vec<Agent>,
    cluster: Cluster,
}

impl Agents {
    /// Three agents that do not run yet.
    pub(super) fn new(
        program: PathBuf,
        dir: &Path,
        listen: &[SocketAddr],
        configs: Vec<PathBuf>,
    ) -> Self {
        // Each agent's own socket, beside its data.
        let socket =
            |name: &str| format!("{LOCAL}{}", dir.join(name).join("control.sock").display());
        let addresses = NODES.iter().map(|name| socket(name)).collect();
        let agent = |((&name, &listen), config): ((&&'static str, _), PathBuf)| Agent {
            name,
            listen,
            socket: socket(name),
            config,
            log: dir.join(format!("{name}.log")),
            running: None,
        };
        let agents = NODES.iter().zip(listen).zip(configs).map(agent).collect();
        Agents {
            program,
            agents,
            cluster: Cluster::new(addresses, None, ANSWER_LIMIT),
        }
    }

    /// `ha-agent init`, for the first one.
    pub(super) async fn init(&self, cluster: &Path) -> Result<(), Failure> {
        let first = &self.agents[0];
        let args = [
            "init".as_ref(),
            "--config".as_ref(),
            first.config.as_os_str(),
            "--cluster".as_ref(),
            cluster.as_os_str(),
        ];
        self.command(first, &args).await
    }

    /// `ha-agent join`, for one of the others.
    pub(super) async fn join(&self, index: usize) -> Result<(), Failure> {
        let mut first = Cluster::new(vec![self.agents[0].socket.clone()], None, COMMAND_LIMIT);
        let token = first.create_token(TOKEN_MS, "server".into()).await?.token;
        let agent = &self.agents[index];
        let member = self.agents[0].listen.to_string();
        let args = [
            "join".as_ref(),
            OsStr::new(&member),
            "--token".as_ref(),
            OsStr::new(&token),
            "--config".as_ref(),
            agent.config.as_os_str(),
        ];
        self.command(agent, &args).await
    }

    /// `ha-agent run`, which stays.
    pub(super) fn run(&mut self, index: usize) -> Result<(), Failure> {
        let agent = &mut self.agents[index];
        let args = [
            "run".as_ref(),
            "--config".as_ref(),
            agent.config.as_os_str(),
        ];
        agent.running = Some(start(&self.program, &args, &agent.log)?);
        Ok(())
    }

    /// SIGKILL to the agent of this name; its index and process id.
    pub(super) fn kill(&mut self, name: &str) -> Option<(usize, u32)> {
        let index = self.agents.iter().position(|agent| agent.name == name)?;
        let process = self.agents[index].running.take()?;
        Some((index, process.pid()))
    }

    /// The process id of an agent while it runs.
    pub(super) fn pid(&self, name: &str) -> Option<u32> {
        self.agents
            .iter()
            .find(|agent| agent.name == name)?
            .running
            .as_ref()
            .map(Process::pid)
    }

    /// What the agents say of themselves, when one answers: this one, or any.
    pub(super) async fn status(&mut self, whom: Option<usize>) -> Option<StatusReply> {
        match whom {
            Some(index) => {
                Cluster::new(vec![self.agents[index].socket.clone()], None, ANSWER_LIMIT)
                    .status()
                    .await
                    .ok()
            }
            None => self.cluster.status().await.ok(),
        }
    }

    /// An agent that ended by itself ends the demo.
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        for agent in &mut self.agents {
            if let Some(process) = &mut agent.running
                && let Some(status) = process.ended()?
            {
                let message = format!("`ha-agent run` of {} ended by itself: {status}", agent.name);
                return Err(Failure::new(Exit::Unexpected, message).remedy(last_words(&agent.log)));
            }
        }
        Ok(())
    }

    /// The last lines of each agent's log.
    pub(super) fn last_words(&self) -> String {
        let words = self
            .agents
            .iter()
            .map(|agent| format!("{}: {}", agent.name, last_words(&agent.log)));
        words.collect::<Vec<_>>().join("\n  ")
    }

    /// Runs an agent command to its end.
    async fn command(&self, agent: &Agent, args: &[&OsStr]) -> Result<(), Failure> {
        let mut process = start(&self.program, args, &agent.log)?;
        let began = clock::now();
        let what = format!("`ha-agent {}` of {}", args[0].display(), agent.name);
        loop {
            match process.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    let message = format!("{what} failed: {status}");
                    return Err(
                        Failure::new(Exit::Unexpected, message).remedy(last_words(&agent.log))
                    );
                }
                None if began.elapsed() > COMMAND_LIMIT => {
                    let message = format!("{what} is not done after {COMMAND_LIMIT:?}");
                    return Err(
                        Failure::new(Exit::Unexpected, message).remedy(last_words(&agent.log))
                    );
                }
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

fn start(program: &Path, args: &[&OsStr], log: &Path) -> Result<Process, Failure> {
    Process::start(program, args, log).map_err(|why| {
        Failure::new(
            Exit::Unexpected,
            format!("cannot run {}: {why}", program.display()),
        )
        .remedy("name another executable with --agent FILE")
    })
}

/// The log is gone with the demo, so its end is shown now.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    match &lines[lines.len().saturating_sub(10)..] {
        [] => "it said nothing".into(),
        last => format!("its last words:\n    {}", last.join("\n    ")),
    }
}
