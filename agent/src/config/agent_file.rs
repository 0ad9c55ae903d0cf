//! `agent.toml`: what belongs to one node.

use super::raw::RawAgent;
use super::{Checker, Problems};
use ha_address::{FenceMode, OnClaim};
use ha_core::model::{Role, VirtualIp};
use ha_core::own_address::{self, OwnAddress};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// How this node gets traffic for a virtual IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VipMode {
    /// It adds the address to an interface; the kernel sends the traffic to the proxy. Needs privilege.
    Kernel,
    /// It binds listeners on an address that is there already, such as one of loopback. Needs no privilege.
    Bind,
}

/// What a valid `agent.toml` says, with the defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    pub name: String,
    /// Where the log and the identity are kept.
    pub data_dir: PathBuf,
    /// Where peers and operators reach this agent.
    pub listen: SocketAddr,
    /// Where the servers on this node listen.
    pub address: IpAddr,
    /// The interface of the virtual IPs that have none of their own; `None`: by subnet, else the one that has
    /// `address`.
    pub interface: Option<String>,
    /// Interfaces of single virtual IPs, by the names of those.
    pub interfaces: BTreeMap<String, String>,
    /// Of these one must answer for this node to be fit to hold; empty: none must.
    pub gateways: Vec<IpAddr>,
    /// What is done when another machine claims a held address.
    pub on_claim: OnClaim,
    pub vip: VipMode,
    /// What enforces the lease beside the agent.
    pub fence: FenceMode,
    /// What this node is for.
    pub role: Role,
    /// Threads of the proxy; 0: one per core.
    pub workers: usize,
    /// Sessions at once; 0: as many as file descriptors allow.
    pub sessions_max: usize,
    /// Where the proxy listens on loopback for what the kernel sends it.
    pub proxy_port: u16,
    /// Where who sits at this machine reaches the agent; `None`: beside its data, or where the service manager says.
    pub socket: Option<PathBuf>,
}

/// Bytes of a node's file.
const FILE_MAX: usize = 64 << 10;

/// [`AgentConfig::proxy_port`] when the file does not say.
const PROXY_PORT: u16 = 15_000;

const INTERFACE_REMEDY: &str = "write the name of an interface, e.g. \"eth0\", or one for each virtual IP by its name: { print = \"eth0.20\" }; `ip link` shows them";
const NAME_REMEDY: &str =
    "use letters, digits, `-`, `_` and `.`, at most 63 of them, the first no `-`";

/// Whether a name can stand in commands such as `backend/server`.
pub fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && !name.starts_with('-')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

impl AgentConfig {
    /// Whether this node adds virtual IPs to an interface of its own, which needs privilege.
    pub fn holds_in_kernel(&self) -> bool {
        self.vip == VipMode::Kernel && self.role == Role::Server
    }

    /// The virtual IPs that are addresses of this node.
    pub fn own_among(&self, virtual_ips: &[VirtualIp]) -> Vec<OwnAddress> {
        let here = [self.listen.ip(), self.address].map(|ip| (self.name.as_str(), ip));
        own_address::among(virtual_ips, here)
    }

    /// The local socket, given the directory that the service manager made for this agent, if there is one.
    pub fn socket_path(&self, runtime_dir: Option<PathBuf>) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| {
            runtime_dir
                .unwrap_or_else(|| self.data_dir.clone())
                .join("control.sock")
        })
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &str, text: &str) -> Result<AgentConfig, Problems> {
        let mut c = Checker::new(file, text);
        if text.len() > FILE_MAX {
            c.whole(
                format!("{} bytes", text.len()),
                format!("use at most {FILE_MAX}"),
            );
            return c.finish(None);
        }
        let raw: RawAgent = match toml::from_str(text) {
            Ok(raw) => raw,
            Err(e) => {
                c.syntax(&e);
                return c.finish(None);
            }
        };
        if !is_name(raw.name.get_ref()) {
            c.problem(
                raw.name.span().start,
                "name",
                format!("{:?}", raw.name.get_ref()),
                NAME_REMEDY,
            );
        }
        if !raw.data_dir.get_ref().is_absolute() {
            c.problem(
                raw.data_dir.span().start,
                "data_dir",
                format!("{:?}", raw.data_dir.get_ref()),
                "write an absolute path, such as /var/lib/ha-agent",
            );
        }
        let listen = raw
            .listen
            .get_ref()
            .parse::<SocketAddr>()
            .ok()
            .filter(|l| !l.ip().is_unspecified() && l.port() != 0);
        if listen.is_none() {
            c.problem(
                raw.listen.span().start,
                "listen",
                format!("{:?}", raw.listen.get_ref()),
                "write the address and port that peers reach, e.g. \"10.0.0.1:7400\" (not 0.0.0.0: it is told to the other nodes)",
            );
        }
        let address = match &raw.address {
            None => listen.map(|l| l.ip()),
            Some(a) => {
                let parsed = a.get_ref().parse::<IpAddr>().ok();
                if parsed.is_none() {
                    c.problem(
                        a.span().start,
                        "address",
                        format!("{:?}", a.get_ref()),
                        "write an IP address, e.g. \"10.0.0.1\"",
                    );
                }
                parsed
            }
        };
        let vip = c.choice(
            "vip",
            raw.vip.as_ref(),
            &[("kernel", VipMode::Kernel), ("bind", VipMode::Bind)],
            VipMode::Kernel,
        );
        let on_claim = c.choice(
            "on_claim",
            raw.on_claim.as_ref(),
            &[("defend", OnClaim::Defend), ("yield", OnClaim::Yield)],
            OnClaim::Defend,
        );
        let gateways = c.gateways(raw.gateway.as_ref());
        let fence = c.choice(
            "fence",
            raw.fence.as_ref(),
            &[
                ("auto", FenceMode::Auto),
                ("nftables", FenceMode::Nftables),
                ("lifetime", FenceMode::Lifetime),
            ],
            FenceMode::Auto,
        );
        let role = c.choice(
            "role",
            raw.role.as_ref(),
            &[("server", Role::Server), ("witness", Role::Witness)],
            Role::Server,
        );
        let workers = raw
            .workers
            .as_ref()
            .map_or(0, |w| usize::from(*w.get_ref()));
        if workers > 256 {
            c.problem(
                raw.workers.as_ref().map_or(0, |w| w.span().start),
                "workers",
                workers,
                "use 0 (one per core) to 256",
            );
        }
        let proxy_port = raw.proxy_port.as_ref().map_or(PROXY_PORT, |p| *p.get_ref());
        if proxy_port == 0 {
            c.problem(
                raw.proxy_port.as_ref().map_or(0, |p| p.span().start),
                "proxy_port",
                0,
                "use a free port, 1 to 65535",
            );
        }
        if let Some(socket) = raw.socket.as_ref().filter(|s| !s.get_ref().is_absolute()) {
            c.problem(
                socket.span().start,
                "socket",
                format!("{:?}", socket.get_ref()),
                "write an absolute path, such as /run/ha-agent/control.sock",
            );
        }
        let (interface, interfaces) = c.interfaces(raw.interface.as_ref());
        let config = listen.zip(address).map(|(listen, address)| AgentConfig {
            name: raw.name.into_inner(),
            data_dir: raw.data_dir.into_inner(),
            listen,
            address,
            interface,
            interfaces,
            gateways,
            on_claim,
            vip,
            fence,
            role,
            workers,
            proxy_port,
            socket: raw.socket.map(toml::Spanned::into_inner),
            sessions_max: raw.sessions_max.map_or(0, |s| s.into_inner() as usize),
        });
        c.finish(config)
    }
}

/// Each is asked every second.
const GATEWAYS_MAX: usize = 8;
/// Letters of an interface's name, as the kernel has them.
const INTERFACE_MAX: usize = 15;

impl Checker<'_> {
    /// One name for all virtual IPs, or a table with one for each.
    fn interfaces(
        &mut self,
        found: Option<&toml::Spanned<toml::Value>>,
    ) -> (Option<String>, BTreeMap<String, String>) {
        let Some(found) = found else {
            return (None, BTreeMap::new());
        };
        let at = found.span().start;
        let table = match found.get_ref() {
            toml::Value::String(name) => return (self.interface(at, name), BTreeMap::new()),
            toml::Value::Table(table) => table,
            other => {
                self.problem(at, "interface", other, INTERFACE_REMEDY);
                return (None, BTreeMap::new());
            }
        };
        let mut interfaces = BTreeMap::new();
        for (virtual_ip, name) in table {
            let Some(name) = name.as_str() else {
                self.problem(at, "interface", name, INTERFACE_REMEDY);
                continue;
            };
            let name = self.interface(at, name);
            interfaces.extend(name.map(|name| (virtual_ip.clone(), name)));
        }
        (None, interfaces)
    }

    /// An address, or several.
    fn gateways(&mut self, found: Option<&toml::Spanned<toml::Value>>) -> Vec<IpAddr> {
        let Some(found) = found else {
            return Vec::new();
        };
        let all = match found.get_ref() {
            toml::Value::Array(all) => all.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut gateways = Vec::new();
        for one in all {
            match one.as_str().map(str::parse) {
                Some(Ok(address)) => gateways.push(address),
                _ => self.problem(
                    found.span().start,
                    "gateway",
                    one,
                    "write the address of a router on the virtual IP's segment, e.g. \"10.0.0.254\", or a list of them",
                ),
            }
        }
        if gateways.len() > GATEWAYS_MAX {
            self.problem(
                found.span().start,
                "gateway",
                format!("{} addresses", gateways.len()),
                format!("name at most {GATEWAYS_MAX}"),
            );
        }
        gateways
    }

    fn interface(&mut self, at: usize, name: &str) -> Option<String> {
        let fits = (1..=INTERFACE_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"\"\\*$/".contains(&b));
        if !fits {
            self.problem(at, "interface", format!("{name:?}"), INTERFACE_REMEDY);
        }
        fits.then(|| name.to_owned())
    }

    /// One of some words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &str,
        found: Option<&toml::Spanned<String>>,
        known: &[(&str, T)],
        default: T,
    ) -> T {
        let Some(word) = found else { return default };
        if let Some((_, value)) = known.iter().find(|(k, _)| *k == word.get_ref()) {
            return *value;
        }
        let words: Vec<String> = known.iter().map(|(k, _)| format!("\"{k}\"")).collect();
        self.problem(
            word.span().start,
            key,
            format!("{:?}", word.get_ref()),
            format!("use one of {}", words.join(", ")),
        );
        default
    }
}
