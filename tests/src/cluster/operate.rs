//! The operator's hand: `ha-cli` commands, asked of a node on that node itself,
//! so that a cut network does not decide what the operator sees.

use std::time::Duration;

use super::{Cluster, Config, Status, cli_program};
use crate::process::Finished;
use crate::system::System;
use crate::wait;

/// How `ha-cli` ends when the agent that it asks hears no majority.
pub const CUT_OFF: i32 = 9;
const BOUND: Duration = Duration::from_secs(20);

impl Cluster {
    /// Runs `ha-cli` against one node, at most for `bound`.
    pub fn cli_at(&self, node: u8, words: &[&str], bound: Duration) -> Finished {
        let address = format!(
            "unix:{}",
            self.machine(node).dir().join("data/control.sock").display()
        );
        let program = cli_program();
        let head = [program.as_str(), "--address", &address, "--output", "json"];
        self.machine(node).run(&[&head[..], words].concat(), bound)
    }

    /// Runs `ha-cli` against the first node whose agent runs.
    pub fn cli(&self, words: &[&str]) -> Result<String, String> {
        let node = self.agents.keys().next().ok_or("no agent runs")?;
        self.cli_at(*node, words, BOUND).ok()
    }

    /// The status in the eyes of one node; also of one that says that it is cut off.
    pub fn status_at(&self, node: u8) -> Result<Status, String> {
        let said = self.cli_at(node, &["status"], Duration::from_secs(3));
        let printed = if said.code == Some(CUT_OFF) {
            said.text()
        } else {
            said.ok()?
        };
        serde_json::from_str(&printed)
            .map_err(|error| format!("status of node-{node} is not understood: {error}: {printed}"))
    }

    /// The status with the highest term that any running node gives.
    pub fn status(&self) -> Result<Status, String> {
        let mut why = String::from("no agent runs");
        let mut best: Option<Status> = None;
        for &node in self.agents.keys() {
            match self.status_at(node) {
                Ok(status) if best.as_ref().is_none_or(|known| known.term < status.term) => {
                    best = Some(status)
                }
                Ok(_) => {}
                Err(error) => why = error,
            }
        }
        best.ok_or(why)
    }

    pub fn move_leader(&self, to: Option<u8>) -> Result<String, String> {
        let target = to.map(|number| format!("node-{number}"));
        let words: Vec<_> = ["move-leader"]
            .into_iter()
            .chain(target.as_deref())
            .collect();
        self.cli(&words)
    }

    /// `apply FILE` of a configuration.
    pub fn apply(&self, config: &Config) -> Result<String, String> {
        self.cli(&["apply", "--yes", &self.write_config(config)])
    }

    /// Waits until a server has this state word (its beginning is enough: `DOWN` for `DOWN 1/2`).
    #[track_caller]
    pub fn wait_for_server(&self, server: &str, state: &str) {
        wait::until(&format!("{server} to be {state}"), BOUND, || {
            let status = self.status()?;
            let seen = status.server(server);
            if seen.starts_with(state) {
                Ok(())
            } else {
                Err(format!("{seen}: {:?}", status.servers))
            }
        });
    }

    /// The number of a node by its name.
    pub fn number(name: &str) -> u8 {
        name.strip_prefix("node-")
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("{name} is not node-N"))
    }

    /// Any node but this one, and with a running agent.
    pub fn other_than(&self, node: u8) -> u8 {
        *self
            .agents
            .keys()
            .find(|&&number| number != node)
            .expect("another node runs")
    }

    /// Waits until status and kernel agree on who has the address.
    #[track_caller]
    pub fn wait_for_agreed_holder(&self, bound: Duration) -> u8 {
        wait::until("status and kernel to agree on the holder", bound, || {
            let (said, seen) = (self.status()?.holder, self.holder());
            match (&said, seen) {
                (Some(name), Some(number)) if *name == format!("node-{number}") => Ok(number),
                _ => Err(format!("status says {said:?}, the kernels say {seen:?}")),
            }
        })
    }
}
