//! What the operator describes: virtual IPs, frontends, backends, servers. Plain data, already validated.
//!
//! The words are HAProxy's and mean the same; defaults are named here, once.

mod limit;

pub use limit::ClientLimit;

use crate::check::Kind;
use crate::id::NodeId;
use crate::version::Speaks;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Everything that `cluster.toml` says, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ClusterConfig {
    /// Shown to operators; nothing is decided by it.
    pub name: String,
    /// The addresses that move. The leader holds all of them.
    pub virtual_ips: Vec<VirtualIp>,
    pub frontends: Vec<Frontend>,
    pub backends: Vec<Backend>,
    /// Whether the address returns to a preferred node.
    pub failback: Failback,
    /// How many client bindings are kept in all; the least recently used go first.
    pub bindings_max: u32,
    /// How long the certificates of nodes and operators are good; they are renewed when a third of it is left.
    pub certificate_lifetime: Duration,
    /// Voters silent for so long lose their vote until they are back. Zero: never. `None`: see `Facts::voter_timeout`.
    pub voter_timeout: Option<Duration>,
}

/// What [`ClusterConfig::voter_timeout`] is where the file does not say and no witness votes.
pub const VOTER_TIMEOUT: Duration = Duration::from_secs(60);
/// The shortest [`ClusterConfig::voter_timeout`]: a restart of an agent, or of a machine that is quick, is no death.
pub const VOTER_TIMEOUT_MIN: Duration = Duration::from_secs(10);

/// [`Frontend::client_timeout`] and [`Backend::server_timeout`] when the file does not say: longer than a binding lives.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(35 * 60);
/// [`Frontend::client_fin_timeout`] and [`Backend::server_fin_timeout`] when the file does not say.
pub const FIN_TIMEOUT: Duration = Duration::from_secs(30);
/// [`Frontend::keepalive`] and [`Backend::keepalive`] when the file does not say.
pub const KEEPALIVE: Duration = Duration::from_secs(60);
/// [`ClusterConfig::bindings_max`] when the file does not say.
pub const BINDINGS_MAX: u32 = 100_000;
/// The largest [`ClusterConfig::bindings_max`]: with the longest names and addresses so many still make a snapshot that
/// is read again (`ha-record` has the bound, and the test).
pub const BINDINGS_MOST: u32 = 2_000_000;
/// [`ClusterConfig::certificate_lifetime`] when the file does not say.
pub const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(90 * 86_400);

/// An address that moves between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VirtualIp {
    /// Unique among those of its kind in the configuration.
    pub name: String,
    /// The address itself; added as /32 or /128.
    pub address: IpAddr,
    /// Length of the subnet it lies in, as written by the operator.
    pub prefix: u8,
}

/// Addresses and ports on which clients arrive, and their backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Frontend {
    /// Unique among those of its kind in the configuration.
    pub name: String,
    /// Names of its [`VirtualIp`]s, at least one: the file calls them `virtual_ip`.
    pub virtual_ips: Vec<String>,
    /// Ports, sorted and without overlap.
    pub listeners: Vec<PortRange>,
    /// Name of a [`Backend`].
    pub backend: String,
    /// Sessions at once; 0 = unlimited. Above it, new connections wait in the kernel's backlog.
    pub maxconn: u32,
    /// Sessions at once of each client. Above it, its new connections are reset.
    pub limit: ClientLimit,
    /// A session in which the client says nothing for so long ends. Zero: never.
    pub client_timeout: Duration,
    /// The same once one side has said all it had to say. Zero: as `client_timeout`.
    pub client_fin_timeout: Duration,
    /// After so long without a word the client is asked whether it is there; silent for as long again, it is gone.
    /// Zero: it is never asked.
    pub keepalive: Duration,
}

/// The ports `first..=last`; one port where both are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PortRange {
    /// Lowest port, at least 1.
    pub first: u16,
    /// Highest port, not below `first`.
    pub last: u16,
}

impl PortRange {
    /// Whether `port` is one of these.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// Whether some port is in both.
    pub const fn overlaps(self, other: PortRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A named set of servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// Unique among those of its kind in the configuration.
    pub name: String,
    /// Which server a client without a binding gets.
    pub balance: Balance,
    /// Whether and how a client comes back to its server.
    pub persistence: Option<Persistence>,
    /// How the health of its servers is found out; `None`: they count as up.
    pub check: Option<Check>,
    /// What happens to the sessions of a server that goes down.
    pub on_down: OnDown,
    /// How long one connect may take.
    pub connect_timeout: Duration,
    /// A session in which the server says nothing for so long ends. Zero: never.
    pub server_timeout: Duration,
    /// The same once one side has said all it had to say. Zero: as `server_timeout`.
    pub server_fin_timeout: Duration,
    /// As a frontend's, towards the server.
    pub keepalive: Duration,
    /// How long a session may wait for a free slot.
    pub queue_timeout: Duration,
    /// Sessions that may wait for one server; 0 = unlimited. At the bound a session goes elsewhere.
    pub maxqueue: u32,
    /// Further tries after a connect that failed (HAProxy: `retries`, default 3).
    pub retries: u32,
    /// Whether the last of them goes to another server, and each of a client that belongs to none.
    pub redispatch: bool,
    /// Failed connects of real traffic in a row that count as one failed check; `None`: they do not count.
    pub observe: Option<u32>,
    /// The servers, in the order of the file.
    pub servers: Vec<Server>,
}

/// One address in a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Unique in its backend.
    pub name: String,
    /// Name of the node it runs on, when it is co-located: its address is the node's.
    pub node: Option<String>,
    /// Its address, when `node` does not give it.
    pub address: Option<IpAddr>,
    /// Its port; `None`: the one that the client asked for.
    pub port: Option<u16>,
    /// 0..=256. 0 gets nobody new.
    pub weight: u16,
    /// Used only when no other server is usable.
    pub backup: bool,
    /// Sessions at once; 0 = unlimited.
    pub maxconn: u32,
}

/// Which server a client without a binding gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Balance {
    /// By turns, in proportion to the weights, smoothly.
    #[default]
    RoundRobin,
    /// The server with the fewest sessions for its weight.
    LeastConn,
    /// By a consistent hash of the client's address.
    Source,
    /// The first with a free slot, in the order of the file; ignores weights.
    First,
    /// The less loaded of two drawn by weight.
    Random,
}

/// A client comes back to its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Persistence {
    /// How long a binding outlives its last use.
    pub expire: Duration,
    /// Backends with the same group share their bindings. The default is the backend's own name.
    pub group: String,
    /// Leading bits of an IPv4 address that make the key.
    pub mask_v4: u8,
    /// Leading bits of an IPv6 address that make the key.
    pub mask_v6: u8,
    /// Whether a new binding is committed before the first byte.
    pub mode: BindingMode,
}

/// When the first byte of a newly bound client is forwarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum BindingMode {
    /// After a majority has the binding on disk.
    #[default]
    Commit,
    /// At once; a leader that dies within milliseconds takes the binding with it.
    Async,
}

/// A health check, as HAProxy's: up after `rise` passes, down after `fall` failures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is looked at.
    pub kind: Kind,
    /// Between two checks of a server that is up.
    pub inter: Duration,
    /// Between two checks while the state is changing.
    pub fastinter: Duration,
    /// Between two checks of a server that is down.
    pub downinter: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// Passes in a row that make it up. At least 1.
    pub rise: u16,
    /// Failures in a row that make it down. At least 1.
    pub fall: u16,
}

/// What happens to the sessions of a server that goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum OnDown {
    /// They are cut at once, so that clients reconnect.
    #[default]
    Purge,
    /// They are left alone.
    Keep,
}

/// Whether the address returns to a preferred node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Failback {
    /// It stays where it is.
    #[default]
    Never,
    /// It returns to `prefer` once that node was healthy for `hold_down`.
    Auto {
        /// Name of a node.
        prefer: String,
        /// How long it must have been healthy.
        hold_down: Duration,
    },
    /// Only by `ha-cli move-leader`.
    Manual,
}

/// Timers of consensus and lease. Equal on all nodes: part of the cluster's identity from `init` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Timing {
    /// One site: heartbeat 100 ms, election 150-300 ms.
    #[default]
    Lan,
    /// One switch: heartbeat 25 ms, election 80-160 ms.
    Fast,
    /// Several sites: heartbeat 250 ms, election 1-2 s.
    Wan,
}

impl Timing {
    /// Between two heartbeats of the library. It is by its `Lease` messages, which come more often, that a leader is
    /// known to live: while a follower is promised to it, its own timer comes to nothing.
    pub const fn heartbeat(self) -> Duration {
        Duration::from_millis(match self {
            Timing::Lan => 100,
            Timing::Fast => 25,
            Timing::Wan => 250,
        })
    }

    /// Silence after which a follower campaigns: at least, at most.
    pub const fn election(self) -> (Duration, Duration) {
        let (min, max) = match self {
            Timing::Lan => (150, 300),
            Timing::Fast => (80, 160),
            Timing::Wan => (1000, 2000),
        };
        (Duration::from_millis(min), Duration::from_millis(max))
    }

    /// How long a voter stays promised to a leader. `lifetime_only` is for nodes whose only fence counts in seconds.
    pub const fn promise(self) -> Duration {
        self.election().1
    }

    /// The word in the file.
    pub const fn word(self) -> &'static str {
        match self {
            Timing::Lan => "lan",
            Timing::Fast => "fast",
            Timing::Wan => "wan",
        }
    }

    /// The timing that a word names.
    pub fn from_word(word: &str) -> Option<Timing> {
        [Timing::Lan, Timing::Fast, Timing::Wan]
            .into_iter()
            .find(|t| t.word() == word)
    }
}

/// What a node is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Role {
    /// Votes, may hold the virtual IP, carries traffic.
    #[default]
    Server,
    /// It votes, and never holds an address.
    Witness,
}

impl Role {
    /// The word in the file and on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Role::Server => "server",
            Role::Witness => "witness",
        }
    }

    /// The role of that word; none is a server.
    pub fn from_word(word: &str) -> Option<Role> {
        match word {
            "" | "server" => Some(Role::Server),
            "witness" => Some(Role::Witness),
            _ => None,
        }
    }
}

/// A node as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    pub id: NodeId,
    /// Unique among the members of the cluster.
    pub name: String,
    /// Where peers and operators reach its agent.
    pub listen: SocketAddr,
    /// Where the servers on it listen.
    pub address: IpAddr,
    /// What it is for.
    pub role: Role,
    /// Version of its agent.
    pub version: String,
    /// The versions of records that its agent reads and writes.
    pub speaks: Speaks,
    /// The kinds of check that its agent carries out, by name: see [`Kind::known`].
    pub checks: BTreeSet<String>,
}

/// What the operator wants of a server or node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum AdminState {
    #[default]
    Ready,
    /// No new clients; still checked; bound clients as [`Sticky`] says.
    Drain,
    /// No traffic, no checks.
    Maintenance,
}

impl AdminState {
    /// The word on the wire and in tables.
    pub const fn word(self) -> &'static str {
        match self {
            AdminState::Ready => "ready",
            AdminState::Drain => "drain",
            AdminState::Maintenance => "maint",
        }
    }
}

/// What a drain does with clients that are bound to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Sticky {
    /// They may still come back to it (HAProxy's drain).
    #[default]
    Honour,
    /// Their next connection goes elsewhere.
    Move,
}

#[cfg(test)]
mod tests;
