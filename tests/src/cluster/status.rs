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
    /// How much may fail.
    #[serde(default)]
    pub endures: Option<Endures>,
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
    /// `ready`, `drain` or `maint`.
    #[serde(default)]
    pub admin: String,
    /// How often its machine ran nothing.
    #[serde(default)]
    pub stalls: u32,
    /// For how long the last time.
    #[serde(default)]
    pub stalled_ms: u64,
}

/// How much may fail, as the leader sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Endures {
    #[serde(default)]
    deaths: u32,
    #[serde(default)]
    critical: Vec<String>,
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

    /// True when a node has the log and no vote.
    pub fn follows(&self, name: &str) -> bool {
        let mut nodes = self.nodes.iter();
        nodes.any(|node| node.name == name && node.state == "learner")
    }

    /// How many nodes may die; `None` where who answered does not lead.
    pub fn may_die(&self) -> Option<u32> {
        self.endures.as_ref().map(|e| e.deaths)
    }

    /// Without whom nothing is decided or served.
    pub fn must_not_die(&self) -> Vec<&str> {
        let critical = self.endures.iter().flat_map(|e| &e.critical);
        critical.map(String::as_str).collect()
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
