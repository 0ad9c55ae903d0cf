//! `cluster.toml`: what belongs to the cluster.

use super::agent_file::is_name;
pub use super::bounds::FILE_MAX;
use super::frontends::Known;
use super::raw::{RawBackend, RawCluster, RawGlobal};
use super::timeouts;
use super::units::{KEPT_MAX_DAYS, Span};
use super::{Checker, Problems};
use ha_core::model::{
    BINDINGS_MAX, BINDINGS_MOST, Backend, Balance, CERTIFICATE_LIFETIME, ClusterConfig, Failback,
    Frontend, OnDown, Server, Timing, VOTER_TIMEOUT_MIN, VirtualIp,
};
use ha_core::text::objection;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use toml::Spanned;

/// What a valid `cluster.toml` says, with the defaults filled in.
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
pub(super) const NAME_REMEDY: &str =
    "use letters, digits, `-`, `_` and `.`, at most 63 of them, the first no `-`";

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

/// Reads the text of the file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse_cluster(file: &str, text: &str) -> Result<ClusterFile, Problems> {
    let mut c = Checker::new(file, text);
    if !c.fits() {
        return c.finish(None);
    }
    let raw: RawCluster = match toml::from_str(text) {
        Ok(raw) => raw,
        Err(e) => {
            c.syntax(&e);
            return c.finish(None);
        }
    };
    if !c.counts_fit(&raw) {
        return c.finish(None);
    }
    c.unique("virtual_ip.name", raw.virtual_ip.iter().map(|v| &v.name));
    c.unique("frontend.name", raw.frontend.iter().map(|f| &f.name));
    c.unique("backend.name", raw.backend.iter().map(|b| &b.name));
    let virtual_ips = c.virtual_ips(&raw);
    let backends: Vec<Backend> = raw.backend.iter().map(|b| c.backend(b)).collect();
    let known = Known::of(&raw);
    let frontends: Vec<Frontend> = raw.frontend.iter().map(|f| c.frontend(f, &known)).collect();
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
        if let Some(prefer) = raw.prefer.as_ref().filter(|p| !is_name(p.get_ref())) {
            let found = format!("{:?}", prefer.get_ref());
            self.problem(prefer.span().start, "cluster.prefer", found, NAME_REMEDY);
        }
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
            if !(1..=BINDINGS_MOST).contains(&n) {
                self.problem(
                    b.span().start,
                    "cluster.bindings_max",
                    n,
                    format!("use 1 to {BINDINGS_MOST}"),
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
        let voter_timeout = raw.voter_timeout.map(|found| {
            let (at, timeout) = (found.span().start, found.into_inner().0);
            if !timeout.is_zero() && timeout < VOTER_TIMEOUT_MIN {
                self.problem(
                    at,
                    "cluster.voter_timeout",
                    format!("{timeout:?}"),
                    "use 10s or more, so that a restart costs nobody its vote; 1m is a good choice, 0 is never",
                );
            }
            timeout
        });
        let name = raw.name.map_or_else(
            || "cluster".to_owned(),
            |name| {
                if let Some(objection) = objection(name.get_ref()) {
                    let found = format!("a name that {objection}");
                    let remedy = "write a name of one line, e.g. \"site\"";
                    self.problem(name.span().start, "cluster.name", found, remedy);
                }
                name.into_inner()
            },
        );
        let config = ClusterConfig {
            name,
            failback,
            bindings_max,
            certificate_lifetime,
            voter_timeout,
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
}
