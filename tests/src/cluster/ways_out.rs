//! What is done with a stopped agent: `recover`, `rejoin`, `export`, `restore`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{AGENT_PORT, Cluster, agent_program};
use crate::process::Finished;

const BOUND: Duration = Duration::from_secs(60);

impl Cluster {
    /// `ha-agent WORDS` with the file of a node, on its machine, to its end.
    pub fn ha_agent(&self, number: u8, words: &[&str]) -> Finished {
        let (agent, program) = (self.write_agent(number), agent_program());
        let words = [&[program.as_str()], words, &["--config", &agent]].concat();
        self.machine(number).run(&words, BOUND)
    }

    /// `ha-agent rejoin` with a token, to its end.
    pub fn rejoin_with(&self, number: u8, through: u8, token: &str) -> Result<String, String> {
        let member = SocketAddr::new(self.reached_at(through), AGENT_PORT).to_string();
        self.ha_agent(number, &["rejoin", &member, "--token", token])
            .ok()
    }

    /// The same with a token made for it; then it is started, and votes.
    pub fn rejoin(&mut self, number: u8, through: u8) {
        let token = self.token(through, &["--role", self.plan.role(number)]);
        let token = token.unwrap_or_else(|why| panic!("a token for node-{number}: {why}"));
        self.rejoin_with(number, through, &token)
            .unwrap_or_else(|why| panic!("ha-agent rejoin on node-{number}: {why}"));
        self.start_agent(number);
        self.wait_for_member(number);
    }

    /// Where a node keeps its log and identity.
    pub fn data(&self, number: u8) -> PathBuf {
        self.machine(number).dir().join("data")
    }

    /// A field of a node's `identity.json`; null when it has none.
    pub fn identity(&self, number: u8) -> serde_json::Value {
        let text = std::fs::read_to_string(self.data(number).join("identity.json"));
        serde_json::from_str(&text.expect("an identity")).expect("JSON")
    }

    /// Directories in which data of before are kept.
    pub fn kept(&self, number: u8) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.data(number)).expect("its data");
        let paths = entries.map(|e| e.expect("an entry").path());
        let kept = |p: &PathBuf| name(p).starts_with("before-");
        paths.filter(kept).collect()
    }
}

fn name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}
