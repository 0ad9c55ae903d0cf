//! What a cluster should be ([`Plan`]) and the two files that say so: `agent.toml`
//! for each node, `cluster.toml` for all.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::AGENT_PORT;
use crate::netns::{Family, Machine, VIP4};
use crate::servers::PRINT_PORTS;
use crate::turn::Turn;

/// How fast leadership is lost and found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    Lan,
    /// About half of it.
    Fast,
}

/// A cluster to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Alone unless it says otherwise: who measures must not forget it.
    pub turn: Turn,
    /// The addresses of machines; those of virtual IPs are in the configuration.
    pub family: Family,
    pub nodes: u8,
    /// How many of them form the cluster at first; the rest can join later.
    pub first_members: u8,
    pub clients: u8,
    /// Nodes that only vote.
    pub witnesses: Vec<u8>,
    /// `auto`, `nftables` or `lifetime`.
    pub fence: &'static str,
    /// Ports of the sample servers; the first is where the measuring client goes.
    pub ports: Vec<u16>,
    /// Whether the harness starts sample servers; else the test starts real programs.
    pub sample_servers: bool,
    /// What the cluster does.
    pub config: Config,
    /// Environment of each agent; `{dir}` becomes the directory of its machine.
    pub agent_env: Vec<(String, String)>,
}

impl Default for Plan {
    /// Three nodes, one client, the print ports, servers beside the agents.
    fn default() -> Plan {
        Plan {
            turn: Turn::Alone,
            family: Family::Four,
            nodes: 3,
            first_members: 3,
            clients: 1,
            witnesses: vec![],
            fence: "auto",
            ports: PRINT_PORTS.to_vec(),
            sample_servers: true,
            config: Config::print(&[1, 2, 3]),
            agent_env: vec![],
        }
    }
}

impl Plan {
    /// The default for tests that wait and measure no time.
    pub fn beside_others() -> Plan {
        Plan {
            turn: Turn::BesideOthers,
            ..Plan::default()
        }
    }

    /// The same in this family: machines, virtual IP, servers.
    pub fn in_family(mut self, family: Family) -> Plan {
        self.family = family;
        self.config.virtual_ips = vec![family.vip()];
        self
    }

    /// The default with another timing.
    pub fn timed(timing: Timing) -> Plan {
        Plan {
            config: Config {
                timing,
                ..Config::print(&[1, 2, 3])
            },
            ..Plan::default()
        }
    }

    /// The nodes that form the cluster at first.
    pub fn members(&self) -> std::ops::RangeInclusive<u8> {
        1..=self.first_members
    }

    /// What a node is for.
    pub fn role(&self, number: u8) -> &'static str {
        if self.witnesses.contains(&number) {
            "witness"
        } else {
            "server"
        }
    }

    /// The environment of the agent on a machine.
    pub fn environment(&self, machine: &Machine) -> Vec<(String, String)> {
        let dir = machine.dir().to_string_lossy();
        self.agent_env
            .iter()
            .map(|(key, value)| (key.clone(), value.replace("{dir}", &dir)))
            .collect()
    }

    /// The first virtual IP.
    pub fn vip(&self) -> IpAddr {
        let text = self.config.virtual_ips[0]
            .split('/')
            .next()
            .expect("split gives one part");
        text.parse().expect("a virtual IP is an address")
    }
}

#[derive(Clone, Debug)]
pub struct Agent {
    pub name: String,
    /// Where it keeps its log.
    pub data_dir: PathBuf,
    /// Where it listens for peers and operators.
    pub listen: String,
    /// As in its file: `kernel` or `bind`.
    pub vip: &'static str,
    /// `auto`, `nftables` or `lifetime`.
    pub fence: &'static str,
    /// As in its file: `server` or `witness`.
    pub role: &'static str,
    /// The interface of the virtual IPs.
    pub interface: &'static str,
    /// Threads that forward; the agent decides when there is none given.
    pub workers: Option<usize>,
}

impl Agent {
    /// For a machine, as a plan wants it.
    pub fn of(machine: &Machine, plan: &Plan) -> Agent {
        Agent {
            name: machine.name.clone(),
            data_dir: machine.dir().join("data"),
            listen: SocketAddr::new(machine.ip(), AGENT_PORT).to_string(),
            vip: "kernel",
            fence: plan.fence,
            role: plan.role(machine.number),
            interface: "eth0",
            workers: None,
        }
    }

    pub fn to_toml(&self) -> String {
        let Agent {
            name,
            listen,
            vip,
            fence,
            role,
            interface,
            ..
        } = self;
        let mut text = format!(
            "name = \"{name}\"\ndata_dir = \"{}\"\nlisten = \"{listen}\"\n",
            self.data_dir.display()
        );
        let _ = writeln!(
            text,
            "interface = \"{interface}\"\nvip = \"{vip}\"\nfence = \"{fence}\"\nrole = \"{role}\""
        );
        if let Some(workers) = self.workers {
            let _ = writeln!(text, "workers = {workers}");
        }
        text
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    /// How fast leadership is lost and found.
    pub timing: Timing,
    /// Longer promises than the timing has, e.g. `1600ms`.
    pub promise: Option<&'static str>,
    /// When silent voters lose their vote, e.g. `10s`.
    pub voter_timeout: Option<&'static str>,
    /// Addresses with their prefix length; named `print`, `print-2`, ...
    pub virtual_ips: Vec<String>,
    pub frontends: Vec<Frontend>,
    pub backends: Vec<Backend>,
}

/// One frontend, on the first virtual IP.
#[derive(Clone, Debug)]
pub struct Frontend {
    pub name: String,
    /// As in the file: `5012, "5014-5019"`.
    pub listeners: String,
    pub backend: String,
}

#[derive(Clone, Debug)]
pub struct Backend {
    pub name: String,
    /// Further lines of its table, as in the file: balance, persistence, check.
    pub settings: String,
    pub servers: Vec<Server>,
}

/// One server of a backend.
#[derive(Clone, Debug)]
pub struct Server {
    pub name: String,
    /// Further lines of its table, as in the file: node or address, weight, port.
    pub settings: String,
}

impl Config {
    /// The print system on these nodes: all its ports, one affinity.
    pub fn print(nodes: &[u8]) -> Config {
        let frontends = [
            ("paragon", "5012, \"5014-5019\", 5022"),
            ("terminals", "\"50808-50809\""),
        ];
        let frontend = |(name, listeners): (&str, &str)| Frontend {
            name: name.into(),
            listeners: listeners.into(),
            backend: "terminal-servers".into(),
        };
        let settings = "balance = \"roundrobin\"\n\
             persistence = { by = \"client-ip\", expire = \"30m\", group = \"mfp\" }\n\
             check = { tcp = 5022, inter = \"1s\", fall = 3, rise = 2 }\non_down = \"purge\"\n";
        Config {
            timing: Timing::Lan,
            promise: None,
            voter_timeout: None,
            virtual_ips: vec![format!("{VIP4}/24")],
            frontends: frontends.into_iter().map(frontend).collect(),
            backends: vec![Backend::on_nodes("terminal-servers", settings, nodes)],
        }
    }

    /// One frontend on one port to the same port of these nodes, checked there.
    pub fn simple(port: u16, nodes: &[u8]) -> Config {
        let settings = format!(
            "balance = \"roundrobin\"\ncheck = {{ tcp = {port}, inter = \"1s\", fall = 3, rise = 2 }}\n"
        );
        Config {
            timing: Timing::Lan,
            promise: None,
            voter_timeout: None,
            virtual_ips: vec![format!("{VIP4}/24")],
            frontends: vec![Frontend {
                name: "front".into(),
                listeners: port.to_string(),
                backend: "back".into(),
            }],
            backends: vec![Backend::on_nodes("back", &settings, nodes)],
        }
    }

    pub fn to_toml(&self) -> String {
        let timing = if self.timing == Timing::Fast {
            "fast"
        } else {
            "lan"
        };
        let mut text = format!("[cluster]\nname = \"test\"\ntiming = \"{timing}\"\n");
        if let Some(promise) = self.promise {
            let _ = writeln!(text, "promise = \"{promise}\"");
        }
        if let Some(timeout) = self.voter_timeout {
            let _ = writeln!(text, "voter_timeout = \"{timeout}\"");
        }
        for (index, address) in self.virtual_ips.iter().enumerate() {
            let name = if index == 0 {
                "print".into()
            } else {
                format!("print-{}", index + 1)
            };
            let _ = write!(
                text,
                "\n[[virtual_ip]]\nname = \"{name}\"\naddress = \"{address}\"\n"
            );
        }
        for Frontend {
            name,
            listeners,
            backend,
        } in &self.frontends
        {
            let _ = write!(
                text,
                "\n[[frontend]]\nname = \"{name}\"\nvirtual_ip = \"print\"\n"
            );
            let _ = write!(text, "listeners = [{listeners}]\nbackend = \"{backend}\"\n");
        }
        for Backend {
            name,
            settings,
            servers,
        } in &self.backends
        {
            let _ = write!(text, "\n[[backend]]\nname = \"{name}\"\n{settings}");
            for Server { name, settings } in servers {
                let _ = write!(text, "\n[[backend.server]]\nname = \"{name}\"\n{settings}");
            }
        }
        text
    }
}

impl Backend {
    /// `server-N` on `node-N`, weight 1.
    pub fn on_nodes(name: &str, settings: &str, nodes: &[u8]) -> Backend {
        let server = |node: &u8| Server {
            name: format!("server-{node}"),
            settings: format!("node = \"node-{node}\"\nweight = 1\n"),
        };
        Backend {
            name: name.into(),
            settings: settings.into(),
            servers: nodes.iter().map(server).collect(),
        }
    }
}
