//! What `ha-cli --output json` prints, as far as tests read it. Fields that are
//! not here may come and go.

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    #[serde(default)]
    pub cluster: String,
    pub term: u64,
    /// Who leads, by name.
    pub leader: Option<String>,
    /// Who has the virtual IPs, by name.
    pub holder: Option<String>,
    pub nodes: Vec<Node>,
    /// All servers of all backends.
    pub servers: Vec<Server>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    pub id: String,
    /// As in its file: `node-1`, `node-2` and so on.
    pub name: String,
    /// As in its file: `server` or `witness`.
    pub role: String,
    /// `leader`, `follower`, `learner`, `unreachable` or `detached`.
    pub state: String,
    /// How often its machine ran nothing.
    #[serde(default)]
    pub stalls: u32,
    /// For how long the last time.
    #[serde(default)]
    pub stalled_ms: u64,
}

/// One server of a backend.
#[derive(Clone, Debug, Deserialize)]
pub struct Server {
    pub backend: String,
    pub server: String,
    /// HAProxy's state words: `UP`, `DOWN 1/2`, `DRAIN`, `MAINT`, ...
    pub status: String,
    /// `ready`, `drain` or `maintenance`.
    #[serde(default)]
    pub admin: String,
    /// Open sessions on it.
    #[serde(default)]
    pub sessions: u64,
}

impl Status {
    /// True when a node votes and can be reached.
    pub fn votes(&self, name: &str) -> bool {
        self.nodes
            .iter()
            .any(|node| node.name == name && ["leader", "follower"].contains(&node.state.as_str()))
    }

    /// The state word of a server.
    pub fn server(&self, name: &str) -> &str {
        self.servers
            .iter()
            .find(|server| server.server == name)
            .map_or("unknown", |server| &server.status)
    }

    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.nodes.iter().map(|node| node.name.as_str()).collect();
        names.sort_unstable();
        names
    }
}
