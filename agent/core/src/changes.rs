//! What a new configuration changes, for people: a line for each record, found by comparing values.
//!
//! Made by who shows it. The state keeps configurations and no such line: agents of two versions may put it otherwise.

use crate::check::Kind;
use crate::model::{
    Backend, Balance, BindingMode, Check, ClientLimit, ClusterConfig, Failback, Frontend, OnDown,
    Persistence, PortRange, Server, VirtualIp,
};
use crate::time::words;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Lines that somebody reads; more are counted.
const CHANGES_MAX: usize = 200;

/// What a person would say changed from `old` to `new`, a line each; empty when nothing did.
pub fn changes(old: &ClusterConfig, new: &ClusterConfig) -> Vec<String> {
    // Before the first configuration there was none: nothing of it is a change.
    let founded = *old == ClusterConfig::default();
    let mut lines: Vec<String> = of_cluster(old, new)
        .into_iter()
        .filter(|_| !founded)
        .map(|difference| format!("~ {difference}"))
        .collect();
    compare(
        &mut lines,
        "virtual_ip ",
        (&old.virtual_ips, &new.virtual_ips),
        |v| &v.name,
        of_virtual_ip,
    );
    compare(
        &mut lines,
        "frontend ",
        (&old.frontends, &new.frontends),
        |f| &f.name,
        of_frontend,
    );
    let before = by_name(&old.backends, |b| &b.name);
    for b in &new.backends {
        match before.get(b.name.as_str()) {
            None => lines.push(format!(
                "+ backend {} with {} servers",
                b.name,
                b.servers.len()
            )),
            Some(o) => {
                let what = format!("server {}/", b.name);
                let servers = (o.servers.as_slice(), b.servers.as_slice());
                compare(&mut lines, &what, servers, |s| &s.name, of_server);
                let found = of_backend(o, b);
                if !found.is_empty() {
                    lines.push(format!("~ backend {}: {}", b.name, found.join(", ")));
                }
            }
        }
    }
    let now = by_name(&new.backends, |b| &b.name);
    let gone = |o: &&Backend| !now.contains_key(o.name.as_str());
    for o in old.backends.iter().filter(gone) {
        lines.push(format!("- backend {}", o.name));
    }
    let name: fn(&Backend) -> &String = |b| &b.name;
    if in_both(&old.backends, &new.backends, name) != in_both(&new.backends, &old.backends, name) {
        lines.push("~ backend order".to_owned());
    }
    let more = lines.len().saturating_sub(CHANGES_MAX);
    if more > 0 {
        lines.truncate(CHANGES_MAX);
        lines.push(format!("and {more} more"));
    }
    lines
}

/// Of a list whose names are each there once.
fn by_name<T>(list: &[T], name: fn(&T) -> &String) -> BTreeMap<&str, &T> {
    // Of two with the same name, which no valid configuration has, the first counts.
    list.iter().rev().map(|t| (name(t).as_str(), t)).collect()
}

fn compare<T: PartialEq>(
    lines: &mut Vec<String>,
    what: &str,
    (old, new): (&[T], &[T]),
    name: fn(&T) -> &String,
    differences: fn(&T, &T) -> Vec<String>,
) {
    let (before, now) = (by_name(old, name), by_name(new, name));
    for n in new {
        match before.get(name(n).as_str()) {
            None => lines.push(format!("+ {what}{}", name(n))),
            Some(&o) if o != n => lines.push(format!(
                "~ {what}{}: {}",
                name(n),
                differences(o, n).join(", ")
            )),
            Some(_) => {}
        }
    }
    for o in old.iter().filter(|o| !now.contains_key(name(o).as_str())) {
        lines.push(format!("- {what}{}", name(o)));
    }
    if in_both(old, new, name) != in_both(new, old, name) {
        lines.push(format!("~ {}order", what.replace('/', " ")));
    }
}

/// The names of `list` that `other` has too, in their order.
fn in_both<'a, T>(list: &'a [T], other: &[T], name: fn(&T) -> &String) -> Vec<&'a String> {
    let other = by_name(other, name);
    list.iter()
        .map(name)
        .filter(|n| other.contains_key(n.as_str()))
        .collect()
}

/// A function that lists the fields in which two records differ, as `weight: 1 -> 5`. It takes the record apart, so
/// that a field which is added and not named here does not compile.
macro_rules! differences {
    ($function:ident, $record:ident { $($field:ident as $shown:expr),* $(,)? } but $($skipped:ident),*) => {
        fn $function(old: &$record, new: &$record) -> Vec<String> {
            let $record { $($field: _,)* $($skipped: _,)* } = old;
            let mut found = Vec::new();
            $(if old.$field != new.$field {
                found.extend($shown(stringify!($field), &old.$field, &new.$field));
            })*
            found
        }
    };
}

differences!(of_cluster, ClusterConfig {
    name as cluster_name, failback as shown, bindings_max as shown, certificate_lifetime as shown,
    voter_timeout as voter_timeout,
} but virtual_ips, frontends, backends);
differences!(of_virtual_ip, VirtualIp { address as shown, prefix as shown } but name);
differences!(of_frontend, Frontend {
    virtual_ips as virtual_ip, listeners as shown, backend as shown, maxconn as shown, limit as limit, client_timeout as shown,
    client_fin_timeout as shown, keepalive as shown,
} but name);
differences!(of_limit, ClientLimit { sessions as shown, mask_v4 as shown, mask_v6 as shown } but);
differences!(of_backend, Backend {
    balance as shown, persistence as persistence, check as check, on_down as shown,
    connect_timeout as shown, server_timeout as shown, server_fin_timeout as shown, keepalive as shown,
    queue_timeout as shown, maxqueue as shown, retries as shown, redispatch as shown, observe as shown,
} but name, servers);
differences!(of_server, Server {
    node as shown, address as shown, port as shown, weight as shown, backup as shown, maxconn as shown,
} but name);
differences!(of_persistence, Persistence {
    expire as shown, group as shown, mask_v4 as shown, mask_v6 as shown, mode as shown,
} but);
differences!(of_check, Check {
    kind as shown, inter as shown, fastinter as shown, downinter as shown, timeout as shown,
    rise as shown, fall as shown,
} but);

fn shown<T: Show>(field: &str, old: &T, new: &T) -> Vec<String> {
    vec![format!("{field}: {} -> {}", old.show(), new.show())]
}

fn voter_timeout(field: &str, old: &Option<Duration>, new: &Option<Duration>) -> Vec<String> {
    let words = |d: &Option<Duration>| d.map_or_else(|| "as usual".to_owned(), |d| d.show());
    vec![format!("{field}: {} -> {}", words(old), words(new))]
}

fn cluster_name(_: &str, old: &String, new: &String) -> Vec<String> {
    shown("cluster name", old, new)
}

fn virtual_ip(_: &str, old: &Vec<String>, new: &Vec<String>) -> Vec<String> {
    shown("virtual_ip", old, new)
}

fn limit(field: &str, old: &ClientLimit, new: &ClientLimit) -> Vec<String> {
    within(field, of_limit(old, new))
}

fn persistence(field: &str, old: &Option<Persistence>, new: &Option<Persistence>) -> Vec<String> {
    match (old, new) {
        (Some(old), Some(new)) => within(field, of_persistence(old, new)),
        _ => shown(field, old, new),
    }
}

fn check(field: &str, old: &Option<Check>, new: &Option<Check>) -> Vec<String> {
    match (old, new) {
        (Some(old), Some(new)) => within(field, of_check(old, new)),
        _ => shown(field, old, new),
    }
}

fn within(field: &str, differences: Vec<String>) -> Vec<String> {
    let full = |d: String| format!("{field}.{d}");
    differences.into_iter().map(full).collect()
}

/// A value as the configuration file would have it.
trait Show {
    fn show(&self) -> String;
}

macro_rules! show {
    ($($type:ty: |$value:ident| $text:expr;)*) => {$(
        impl Show for $type {
            fn show(&self) -> String {
                let $value = self;
                $text
            }
        }
    )*};
}

show! {
    String: |s| format!("{s:?}");
    bool: |b| b.to_string();
    u8: |n| n.to_string();
    u16: |n| n.to_string();
    u32: |n| n.to_string();
    IpAddr: |a| a.to_string();
    Duration: |d| words(*d);
    PortRange: |r| r.to_string();
    Balance: |b| match b {
        Balance::RoundRobin => "roundrobin",
        Balance::LeastConn => "leastconn",
        Balance::Source => "source",
        Balance::First => "first",
        Balance::Random => "random",
    }.to_owned();
    OnDown: |o| match o {
        OnDown::Purge => "purge",
        OnDown::Keep => "keep",
    }.to_owned();
    BindingMode: |m| match m {
        BindingMode::Commit => "commit",
        BindingMode::Async => "async",
    }.to_owned();
    Failback: |f| match f {
        Failback::Never => "never".to_owned(),
        Failback::Manual => "manual".to_owned(),
        Failback::Auto { prefer, hold_down } => format!("auto to {prefer} after {}", words(*hold_down)),
    };
    Kind: |k| format!("{} ({})", k.name(), k.settings());
    Check: |c| format!("{} every {}", c.kind.show(), words(c.inter));
    Persistence: |p| format!("group {:?} for {}", p.group, words(p.expire));
}

impl<T: Show> Show for Option<T> {
    fn show(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Show::show)
    }
}

impl<T: Show> Show for Vec<T> {
    fn show(&self) -> String {
        let each: Vec<String> = self.iter().map(Show::show).collect();
        format!("[{}]", each.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::CheckClose;
    use crate::testing::{backend, config, server};

    fn one() -> ClusterConfig {
        let mut b = backend("b", vec![server(1), server(2)]);
        b.check = Some(crate::testing::check(Kind::Tcp {
            port: Some(5022),
            close: CheckClose::Rst,
        }));
        config(vec![b])
    }

    /// The lines for what `change` does to a configuration.
    fn lines(change: impl Fn(&mut ClusterConfig)) -> Vec<String> {
        let (old, mut new) = (one(), one());
        change(&mut new);
        changes(&old, &new)
    }

    #[test]
    fn the_first_configuration_changes_nothing_from_nothing() {
        let lines = changes(&ClusterConfig::default(), &one());
        assert_eq!(lines, ["+ backend b with 2 servers"]);
    }

    #[test]
    fn a_frontend_says_what_changed_from_what_to_what() {
        let ports = |first| vec![PortRange { first, last: first }];
        let frontend = |listeners| Frontend {
            name: "paragon".into(),
            virtual_ips: vec!["print".into()],
            listeners,
            backend: "b".into(),
            maxconn: 0,
            limit: ClientLimit::default(),
            client_timeout: Duration::ZERO,
            client_fin_timeout: Duration::ZERO,
            keepalive: Duration::ZERO,
        };
        let with = |listeners| ClusterConfig {
            frontends: vec![frontend(listeners)],
            ..one()
        };
        assert_eq!(
            changes(&with(ports(5012)), &with(ports(5013))),
            ["~ frontend paragon: listeners: [5012] -> [5013]"]
        );
        let mut limited = with(ports(5012));
        limited.frontends[0].limit.sessions = Some(200);
        assert_eq!(
            changes(&with(ports(5012)), &limited),
            ["~ frontend paragon: limit.sessions: none -> 200"]
        );
        let (one, mut two) = (with(ports(5012)), with(ports(5012)));
        two.frontends[0].virtual_ips.push("print6".into());
        assert_eq!(
            changes(&one, &two),
            ["~ frontend paragon: virtual_ip: [\"print\"] -> [\"print\", \"print6\"]"]
        );
    }

    #[test]
    fn what_changes_is_found_in_bounded_work_and_told_in_bounded_lines() {
        let many = |of: fn(u8) -> Server, from: usize| {
            let servers = (from..from + 4096).map(|n| Server {
                name: format!("s{n}"),
                ..of(1)
            });
            config(vec![backend("b", servers.collect())])
        };
        let lines = changes(&many(server, 0), &many(server, 4096));
        assert_eq!(lines.len(), CHANGES_MAX + 1);
        assert_eq!(lines[CHANGES_MAX], "and 7992 more");
    }

    #[test]
    fn each_change_is_a_line_that_reads_like_the_file() {
        let s = Duration::from_secs;
        assert_eq!(lines(|_| {}), [""; 0]);
        assert_eq!(
            lines(|c| {
                c.name = "other".into();
                c.certificate_lifetime = s(7_776_000);
            }),
            [
                "~ cluster name: \"test\" -> \"other\"",
                "~ certificate_lifetime: 0s -> 90d"
            ]
        );
        assert_eq!(
            lines(|c| {
                c.backends[0].balance = Balance::LeastConn;
                c.backends[0].connect_timeout = Duration::from_millis(1500);
            }),
            ["~ backend b: balance: roundrobin -> leastconn, connect_timeout: 5s -> 1500ms"]
        );
        assert_eq!(
            lines(|c| c.backends[0].check = None),
            ["~ backend b: check: tcp (port = 5022, close = \"rst\") every 5s -> none"]
        );
        assert_eq!(
            lines(|c| c.backends[0].check.as_mut().unwrap().fall = 5),
            ["~ backend b: check.fall: 3 -> 5"]
        );
        assert_eq!(
            lines(|c| c.backends[0].servers[1].port = Some(80)),
            ["~ server b/s2: port: none -> 80"]
        );
        assert_eq!(
            lines(|c| c.backends[0].servers.swap(0, 1)),
            ["~ server b order"]
        );
        assert_eq!(
            lines(|c| c.backends.push(backend("c", vec![server(1)]))),
            ["+ backend c with 1 servers"]
        );
        assert_eq!(lines(|c| c.backends.clear()), ["- backend b"]);
    }
}
