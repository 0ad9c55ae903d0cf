//! `cluster.toml`: what belongs to the cluster.

use super::agent_file::is_name;
use super::raw::{RawBackend, RawCluster, RawFrontend, RawGlobal, RawServer, port_range};
use super::timeouts;
use super::units::{KEPT_MAX_DAYS, Span};
use super::{Checker, Problems};
use ha_core::model::{
    BINDINGS_MAX, Backend, Balance, CERTIFICATE_LIFETIME, ClusterConfig, Failback, Frontend,
    OnDown, PortRange, Server, Timing, VirtualIp,
};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use toml::Spanned;

/// A valid `cluster.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFile {
    /// What can change at any time.
    pub config: ClusterConfig,
    /// What is fixed when the cluster is founded; `None`: the file does not say.
    pub timing: Option<Timing>,
    /// Longer promises, fixed when the cluster is founded.
    pub promise: Option<Duration>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Less leaves no time to renew.
const CERTIFICATE_LIFETIME_MIN: Duration = Duration::from_secs(10);
const CERTIFICATE_LIFETIME_MAX: Duration = Duration::from_secs(KEPT_MAX_DAYS * 86_400);
pub(super) const NAME_REMEDY: &str = "use letters, digits, `-`, `_` and `.`, at most 63 of them";

/// What helps when an address of IPv6 is none that clients reach on whichever node has it.
fn cannot_move(address: IpAddr) -> Option<String> {
    let IpAddr::V6(six) = address else {
        return None;
    };
    if let Some(four) = six.to_ipv4_mapped() {
        return Some(format!("write the IPv4 address itself: \"{four}\""));
    }
    six.is_unicast_link_local().then(|| {
        "a link-local address means nothing without an interface: write one of the site, e.g. \"fd00::100/64\"".to_owned()
    })
}

/// Bytes of a cluster's file: some ten thousand servers.
pub const FILE_MAX: usize = 1 << 20;

/// Reads the text of the file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_cluster(file: &str, text: &str) -> Result<ClusterFile, Problems> {
    let mut c = Checker::new(file, text);
    if text.len() > FILE_MAX {
        c.problem(
            0,
            "the file",
            format!("{} bytes", text.len()),
            format!("use at most {FILE_MAX}: it is kept, with its last versions, on every node"),
        );
        return c.finish(None);
    }
    let raw: RawCluster = match toml::from_str(text) {
        Ok(raw) => raw,
        Err(e) => {
            c.syntax(&e);
            return c.finish(None);
        }
    };
    c.unique("virtual_ip.name", raw.virtual_ip.iter().map(|v| &v.name));
    c.unique("frontend.name", raw.frontend.iter().map(|f| &f.name));
    c.unique("backend.name", raw.backend.iter().map(|b| &b.name));
    let virtual_ips = c.virtual_ips(&raw);
    let backends: Vec<Backend> = raw.backend.iter().map(|b| c.backend(b)).collect();
    let frontends: Vec<Frontend> = raw.frontend.iter().map(|f| c.frontend(f, &raw)).collect();
    c.overlapping_binds(&raw.frontend, &frontends);
    let (global, timing, promise) = c.global(raw.cluster.unwrap_or_default());
    let config = ClusterConfig {
        virtual_ips,
        frontends,
        backends,
        ..global
    };
    c.finish(Some(ClusterFile {
        config,
        timing,
        promise,
    }))
}

impl Checker<'_> {
    fn global(&mut self, raw: RawGlobal) -> (ClusterConfig, Option<Timing>, Option<Duration>) {
        let timing = raw.timing.as_ref().map(|_| {
            self.choice(
                "cluster.timing",
                raw.timing.as_ref(),
                &[
                    ("lan", Timing::Lan),
                    ("fast", Timing::Fast),
                    ("wan", Timing::Wan),
                ],
                Timing::Lan,
            )
        });
        let promise = raw.promise.map(|p| (p.span().start, p.into_inner().0));
        if let Some((at, p)) = promise
            && (p < timing.unwrap_or_default().promise() || p > Duration::from_secs(10))
        {
            self.problem(
                at,
                "cluster.promise",
                format!("{p:?}"),
                format!("use {:?} to 10s", timing.unwrap_or_default().promise()),
            );
        }
        let word = self.choice(
            "cluster.failback",
            raw.failback.as_ref(),
            &[("never", 0), ("auto", 1), ("manual", 2)],
            0,
        );
        let failback = match (word, raw.prefer) {
            (1, Some(prefer)) => Failback::Auto {
                prefer: prefer.into_inner(),
                hold_down: raw.failback_after.map_or(Duration::from_secs(60), |s| s.0),
            },
            (1, None) => {
                self.problem(
                    raw.failback.map_or(0, |f| f.span().start),
                    "cluster.failback",
                    "\"auto\" without `prefer`",
                    "add `prefer = \"NODE\"`",
                );
                Failback::Never
            }
            (2, _) => Failback::Manual,
            _ => Failback::Never,
        };
        let bindings_max = raw.bindings_max.map_or(BINDINGS_MAX, |b| {
            let n = *b.get_ref();
            if !(1..=5_000_000).contains(&n) {
                self.problem(
                    b.span().start,
                    "cluster.bindings_max",
                    n,
                    "use 1 to 5000000",
                );
            }
            n
        });
        let certificate_lifetime = raw
            .certificate_lifetime
            .map_or(CERTIFICATE_LIFETIME, |found| {
                let (at, lifetime) = (found.span().start, found.into_inner().0);
                if !(CERTIFICATE_LIFETIME_MIN..=CERTIFICATE_LIFETIME_MAX).contains(&lifetime) {
                    self.problem(
                        at,
                        "cluster.certificate_lifetime",
                        format!("{lifetime:?}"),
                        "use 10s to 825d; 90d is a good choice",
                    );
                }
                lifetime
            });
        let name = raw.name.unwrap_or_else(|| "cluster".to_owned());
        let config = ClusterConfig {
            name,
            failback,
            bindings_max,
            certificate_lifetime,
            ..ClusterConfig::default()
        };
        (config, timing, promise.map(|(_, p)| p))
    }

    fn virtual_ips(&mut self, raw: &RawCluster) -> Vec<VirtualIp> {
        let mut found: Vec<VirtualIp> = Vec::new();
        for v in &raw.virtual_ip {
            let (at, text) = (v.address.span().start, v.address.get_ref());
            let (address, prefix) = match text.split_once('/') {
                Some((a, p)) => (a.parse::<IpAddr>().ok(), p.parse::<u8>().ok()),
                None => (
                    text.parse::<IpAddr>().ok(),
                    Some(if text.contains(':') { 128 } else { 32 }),
                ),
            };
            let ok = address.zip(prefix).filter(|(a, p)| {
                *p <= if a.is_ipv4() { 32 } else { 128 } && !a.is_unspecified() && !a.is_multicast()
            });
            let Some((address, prefix)) = ok else {
                self.problem(
                    at,
                    "virtual_ip.address",
                    format!("{text:?}"),
                    "write an address with the length of its subnet, e.g. \"10.0.0.100/24\"",
                );
                continue;
            };
            if let Some(remedy) = cannot_move(address) {
                self.problem(at, "virtual_ip.address", format!("{text:?}"), remedy);
            }
            if let Some(twin) = found.iter().find(|o| o.address == address) {
                self.problem(
                    at,
                    "virtual_ip.address",
                    format!("{address}, which {} has already", twin.name),
                    "give each virtual_ip an address of its own",
                );
            }
            found.push(VirtualIp {
                name: v.name.get_ref().clone(),
                address,
                prefix,
            });
        }
        found
    }

    /// The names of a frontend's virtual IPs: there are such, each once, and at least one.
    fn virtual_ips_of(&mut self, f: &RawFrontend, raw: &RawCluster) -> Vec<String> {
        let (key, span) = ("frontend.virtual_ip", f.virtual_ip.span());
        let names = f.virtual_ip.get_ref().all();
        if names.is_empty() {
            let remedy = "name at least one, e.g. [\"print\", \"print6\"]";
            self.problem(span.start, key, "[]", remedy);
        }
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                let found = format!("{name:?} twice");
                self.problem(span.start, key, found, "name each virtual_ip once");
            }
            let known = raw.virtual_ip.iter().map(|v| v.name.get_ref());
            let name = Spanned::new(span.clone(), name.clone());
            self.refers(key, &name, known, "virtual_ip");
        }
        names.to_vec()
    }

    fn frontend(&mut self, f: &RawFrontend, raw: &RawCluster) -> Frontend {
        let virtual_ips = self.virtual_ips_of(f, raw);
        self.refers(
            "frontend.backend",
            &f.backend,
            raw.backend.iter().map(|b| b.name.get_ref()),
            "backend",
        );
        if let Some(mode) = &f.mode
            && mode.get_ref() != "tcp"
        {
            self.problem(
                mode.span().start,
                "frontend.mode",
                format!("{:?}", mode.get_ref()),
                "use \"tcp\": bytes are passed through untouched",
            );
        }
        let mut listeners: Vec<PortRange> = Vec::new();
        if f.listeners.get_ref().is_empty() {
            self.problem(
                f.listeners.span().start,
                "frontend.listeners",
                "[]",
                "name at least one port, e.g. [5012, \"5014-5019\"]",
            );
        }
        for l in f.listeners.get_ref() {
            match port_range(l.get_ref()) {
                Ok(range) => {
                    if let Some(twin) = listeners.iter().find(|o| o.overlaps(range)) {
                        self.problem(
                            l.span().start,
                            "frontend.listeners",
                            format!("{range}, which overlaps {twin}"),
                            "name each port once",
                        );
                    }
                    listeners.push(range);
                }
                Err(found) => self.problem(
                    l.span().start,
                    "frontend.listeners",
                    found,
                    "write a port (1 to 65535) or a range such as \"5014-5019\"",
                ),
            }
        }
        listeners.sort_unstable();
        Frontend {
            name: f.name.get_ref().clone(),
            virtual_ips,
            listeners,
            backend: f.backend.get_ref().clone(),
            maxconn: f.maxconn,
            client_timeout: timeouts::idle(f.client_timeout),
            client_fin_timeout: timeouts::half_closed(f.client_fin_timeout),
            keepalive: self.keepalive("frontend.keepalive", f.keepalive.as_ref()),
        }
    }

    /// Two frontends that accept on the same port of the same address.
    fn overlapping_binds(&mut self, raw: &[RawFrontend], frontends: &[Frontend]) {
        for (i, f) in frontends.iter().enumerate() {
            for (g, r) in frontends.iter().zip(raw).skip(i + 1) {
                let shared = |name: &&String| g.virtual_ips.contains(name);
                let Some(shared) = f.virtual_ips.iter().find(shared) else {
                    continue;
                };
                let twice = f
                    .listeners
                    .iter()
                    .flat_map(|a| g.listeners.iter().map(move |b| (*a, *b)))
                    .find(|(a, b)| a.overlaps(*b));
                if let Some((a, b)) = twice {
                    let found = format!(
                        "{b} on virtual_ip {shared}, where frontend {} has {a} already",
                        f.name
                    );
                    self.problem(
                        r.listeners.span().start,
                        "frontend.listeners",
                        found,
                        "let each port of an address belong to one frontend",
                    );
                }
            }
        }
    }

    fn backend(&mut self, b: &RawBackend) -> Backend {
        self.unique("backend.server.name", b.server.iter().map(|s| &s.name));
        let balance = self.choice(
            "backend.balance",
            b.balance.as_ref(),
            &[
                ("roundrobin", Balance::RoundRobin),
                ("leastconn", Balance::LeastConn),
                ("source", Balance::Source),
                ("first", Balance::First),
                ("random", Balance::Random),
            ],
            Balance::RoundRobin,
        );
        let on_down = self.choice(
            "backend.on_down",
            b.on_down.as_ref(),
            &[("purge", OnDown::Purge), ("keep", OnDown::Keep)],
            OnDown::Purge,
        );
        let name = b.name.get_ref();
        if b.server.is_empty() {
            self.problem(
                b.name.span().start,
                "backend.server",
                format!("none in backend {name}"),
                "add a [[backend.server]] table",
            );
        }
        if b.server.len() > 4095 {
            self.problem(
                b.name.span().start,
                "backend.server",
                b.server.len(),
                "use at most 4095 servers",
            );
        }
        let servers: Vec<Server> = b.server.iter().map(|s| self.server(s)).collect();
        let check = b.check.as_ref().map(|check| self.check(check, b));
        let persistence = b
            .persistence
            .as_ref()
            .map(|p| self.persistence(p.get_ref(), name));
        let connect_timeout = self.positive(
            "backend.connect_timeout",
            b.connect_timeout.as_ref(),
            CONNECT_TIMEOUT,
        );
        if let Some(o) = &b.observe
            && *o.get_ref() == 0
        {
            self.problem(
                o.span().start,
                "backend.observe",
                0,
                "use at least 1, or leave it out",
            );
        }
        if let Some(r) = &b.retries
            && *r.get_ref() > 100
        {
            self.problem(
                r.span().start,
                "backend.retries",
                r.get_ref(),
                "use 0 to 100",
            );
        }
        Backend {
            name: name.clone(),
            balance,
            persistence,
            check,
            on_down,
            connect_timeout,
            server_timeout: timeouts::idle(b.server_timeout),
            server_fin_timeout: timeouts::half_closed(b.server_fin_timeout),
            keepalive: self.keepalive("backend.keepalive", b.keepalive.as_ref()),
            queue_timeout: b.queue_timeout.map_or(connect_timeout, |s| s.0),
            maxqueue: b.maxqueue,
            retries: b.retries.as_ref().map_or(3, |r| *r.get_ref()),
            redispatch: b.redispatch.unwrap_or(true),
            observe: b.observe.as_ref().map(|o| *o.get_ref()),
            servers,
        }
    }

    fn server(&mut self, s: &RawServer) -> Server {
        let at = s.name.span().start;
        let address = s.address.as_ref().and_then(|a| {
            let parsed = a.get_ref().parse::<IpAddr>().ok();
            if parsed.is_none() {
                self.problem(
                    a.span().start,
                    "backend.server.address",
                    format!("{:?}", a.get_ref()),
                    "write an IP address, e.g. \"10.0.0.1\" (the port goes into `port`)",
                );
            }
            parsed
        });
        match (&s.node, &s.address) {
            (None, None) => self.problem(
                at,
                "backend.server",
                format!("{} without `node` and `address`", s.name.get_ref()),
                "add `node = \"NODE\"` for a server on a node, or `address = \"IP\"`",
            ),
            (Some(n), Some(_)) => self.problem(
                n.span().start,
                "backend.server.node",
                "`node` and `address` together",
                "keep `node` (its address is taken from the node), or keep `address`",
            ),
            _ => {}
        }
        if let Some(p) = &s.port
            && *p.get_ref() == 0
        {
            self.problem(
                p.span().start,
                "backend.server.port",
                0,
                "use 1 to 65535, or leave it out: then it is the port that the client asked for",
            );
        }
        let weight = s.weight.as_ref().map_or(1, |w| {
            if *w.get_ref() > 256 {
                self.problem(
                    w.span().start,
                    "backend.server.weight",
                    w.get_ref(),
                    "use 0 to 256 (0 gets no new clients)",
                );
            }
            (*w.get_ref()).min(256) as u16
        });
        Server {
            name: s.name.get_ref().clone(),
            node: s.node.as_ref().map(|n| n.get_ref().clone()),
            address,
            port: s.port.as_ref().map(|p| *p.get_ref()),
            weight,
            backup: s.backup,
            maxconn: s.maxconn,
        }
    }

    pub(super) fn positive(
        &mut self,
        key: &str,
        found: Option<&Spanned<Span>>,
        default: Duration,
    ) -> Duration {
        let Some(s) = found else { return default };
        self.above_zero(s.span().start, key, s.get_ref().0);
        s.get_ref().0
    }

    pub(super) fn above_zero(&mut self, at: usize, key: &str, found: Duration) {
        if found.is_zero() {
            let remedy = "use a duration above zero, e.g. \"5s\"";
            self.problem(at, key, "0", remedy);
        }
    }

    pub(super) fn count(&mut self, key: &str, found: Option<&Spanned<u16>>, default: u16) -> u16 {
        let Some(n) = found else { return default };
        if !(1..=1000).contains(n.get_ref()) {
            self.problem(n.span().start, key, n.get_ref(), "use 1 to 1000");
        }
        *n.get_ref()
    }

    fn unique<'s>(&mut self, key: &str, names: impl Iterator<Item = &'s Spanned<String>>) {
        let mut seen = BTreeSet::new();
        for name in names {
            let (at, text) = (name.span().start, name.get_ref().as_str());
            if !is_name(text) {
                self.problem(at, key, format!("{text:?}"), NAME_REMEDY);
            } else if !seen.insert(text) {
                self.problem(
                    at,
                    key,
                    format!("{text:?} a second time"),
                    "give each one a name of its own",
                );
            }
        }
    }

    fn refers<'s>(
        &mut self,
        key: &str,
        name: &Spanned<String>,
        known: impl Iterator<Item = &'s String>,
        what: &str,
    ) {
        let known: Vec<&str> = known.map(String::as_str).collect();
        if !known.contains(&name.get_ref().as_str()) {
            let remedy = if known.is_empty() {
                format!("add a [[{what}]] with that name")
            } else {
                format!("use one of: {}", known.join(", "))
            };
            self.problem(
                name.span().start,
                key,
                format!("{:?}, which is no {what}", name.get_ref()),
                remedy,
            );
        }
    }
}
