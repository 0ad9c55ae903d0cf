//! The text of our nftables tables, computed from what is wanted. Pure.
//!
//! - `netdev ha_fence`: on each interface, ARP requests, neighbour solicitations and packets for a
//!   virtual IP without a lease element are dropped; on the way out what comes *from* one.
//! - `inet ha_fence`: the same for packets on every interface, loopback included, and for kernels
//!   before 5.16, which have no egress hook.
//! - `inet ha_intercept`: configured ports to the proxy, the rest refused.
//!
//! Each text is one transaction. Rules are replaced, sets with their living elements are not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::place::Plan;
use super::types::Intercept;

/// Name of the two fence tables (families netdev and inet).
pub(super) const FENCE: &str = "ha_fence";
/// Name of the interception table.
pub(super) const INTERCEPT: &str = "ha_intercept";

/// What nftables can do here beyond the least that we need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Features {
    /// The netdev egress hook (Linux 5.16, nft 1.0.1).
    pub(super) egress: bool,
    /// Sets of raw payload, by which solicitations are matched to their target.
    pub(super) targets: bool,
    /// An element gets a new life without being deleted (Linux 6.12).
    pub(super) in_place: bool,
}

/// A set of lease elements.
pub(super) struct LeaseSet {
    pub(super) family: u8,
    pub(super) name: &'static str,
    pub(super) ipv4: bool,
}

impl Features {
    /// From everything to the least, to be tried in this order.
    pub(super) const TRIES: [Features; 4] = [Features::of(true, true), Features::of(true, false), Features::of(false, true), Features::of(false, false)];

    const fn of(egress: bool, targets: bool) -> Features {
        Features { egress, targets, in_place: false }
    }

    /// The sets that a lease has elements in.
    pub(super) fn lease_sets(self) -> Vec<LeaseSet> {
        use super::elements::{NFPROTO_INET as INET, NFPROTO_NETDEV as NETDEV};
        let mut sets = vec![
            LeaseSet { family: NETDEV, name: "lease4", ipv4: true },
            LeaseSet { family: NETDEV, name: "lease6", ipv4: false },
            LeaseSet { family: INET, name: "lease4", ipv4: true },
            LeaseSet { family: INET, name: "lease6", ipv4: false },
        ];
        if self.targets {
            sets.push(LeaseSet { family: NETDEV, name: "target6", ipv4: false });
        }
        sets
    }
}

/// The fence tables with their sets and no rules. Changes nothing where they are.
pub(super) fn fence_sets(features: Features) -> String {
    // The sets' own timeout is for elements that somebody adds by hand.
    let sets = "set lease4 { type ipv4_addr; flags timeout; timeout 1s; }\n\
                set lease6 { type ipv6_addr; flags timeout; timeout 1s; }\n";
    let target6 = if features.targets { "set target6 { typeof @th,64,128; flags timeout; timeout 1s; }\n" } else { "" };
    let guard = "set guard { type ipv4_addr; flags timeout; timeout 1s; }\n";
    format!("table netdev {FENCE} {{\n{sets}{target6}{guard}}}\ntable inet {FENCE} {{\n{sets}}}\n")
}

/// The fence's chains and rules, for tables that have their sets.
pub(super) fn fence_rules(plan: &Plan, features: Features) -> String {
    let (v4, v6) = (plan.set_of(IpAddr::is_ipv4), plan.set_of(IpAddr::is_ipv6));
    let mut text = String::new();
    let interfaces = if plan.placed.is_empty() { BTreeMap::new() } else { plan.interfaces() };
    for (index, name) in &interfaces {
        for (chain, hook) in fence_chains(*index, features) {
            let base = format!("type filter hook {hook} device \"{name}\" priority -500");
            let mut rules = Chain::open(&mut text, "netdev", FENCE, &chain, &base);
            let (side, operation) = if hook == "ingress" { ("daddr", "arp operation request ") } else { ("saddr", "") };
            if let Some(v4) = &v4 {
                rules.add(&format!("ip {side} {v4} ip {side} != @lease4 drop"));
                rules.add(&format!("{operation}arp {side} ip {v4} arp {side} ip != @lease4 drop"));
            }
            if let Some(v6) = &v6 {
                rules.add(&format!("ip6 {side} {v6} ip6 {side} != @lease6 drop"));
            }
            if let Some(raw) = plan.raw_v6_set().filter(|_| features.targets && hook == "ingress") {
                rules.add(&format!("icmpv6 type nd-neighbor-solicit @th,64,128 {raw} @th,64,128 != @target6 drop"));
            }
        }
    }
    for (chain, hook, side) in [("in", "prerouting", "daddr"), ("out", "output", "saddr")] {
        let base = format!("type filter hook {hook} priority -500");
        let mut rules = Chain::open(&mut text, "inet", FENCE, chain, &base);
        if let Some(v4) = &v4 {
            rules.add(&format!("ip {side} {v4} ip {side} != @lease4 drop"));
        }
        if let Some(v6) = &v6 {
            rules.add(&format!("ip6 {side} {v6} ip6 {side} != @lease6 drop"));
        }
    }
    text
}

/// Names and hooks of the chains on one interface.
pub(super) fn fence_chains(index: u32, features: Features) -> Vec<(String, &'static str)> {
    let mut chains = vec![(format!("in_{index}"), "ingress")];
    if features.egress {
        chains.push((format!("out_{index}"), "egress"));
    }
    chains
}

/// The interception table, whole.
pub(super) fn intercept(intercepts: &[Intercept]) -> String {
    let mut text = String::new();
    let base = "type filter hook prerouting priority mangle";
    let mut rules = Chain::open(&mut text, "inet", INTERCEPT, "pre", base);
    let mut guarded: BTreeMap<IpAddr, ()> = BTreeMap::new();
    for intercept in intercepts {
        guarded.insert(intercept.address, ());
        let (ip, loopback) = match intercept.address {
            IpAddr::V4(_) => ("ip", "127.0.0.1"),
            IpAddr::V6(_) => ("ip6", "[::1]"),
        };
        if let Some(ports) = port_set(intercept) {
            rules.add(&format!("{ip} daddr {} tcp dport {ports} tproxy {ip} to {loopback}:{} accept", intercept.address, intercept.to_port));
        }
    }
    let base = "type filter hook input priority filter";
    let mut rules = Chain::open(&mut text, "inet", INTERCEPT, "in", base);
    for address in guarded.keys() {
        let ip = if address.is_ipv4() { "ip" } else { "ip6" };
        let to = format!("{ip} daddr {address}");
        // The proxy's own sockets are transparent; no other application's are, so a packet that
        // found one of those by its port (0.0.0.0:5022) is refused even when the proxy is gone.
        rules.add(&format!("{to} meta l4proto tcp socket transparent 1 accept"));
        rules.add(&format!("{to} tcp flags syn / fin,syn,rst,ack reject with tcp reset"));
        rules.add(&format!("{to} meta l4proto != {{ tcp, icmp, icmpv6 }} reject with icmpx type port-unreachable"));
    }
    text
}

/// Ports as an nftables set, overlapping and adjoining ranges merged; `None` without ports.
fn port_set(intercept: &Intercept) -> Option<String> {
    let mut ranges: Vec<(u16, u16)> = intercept.ports.iter().map(|r| (*r.start(), *r.end())).filter(|(a, b)| a <= b).collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if start <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            _ => merged.push((start, end)),
        }
    }
    let words: Vec<String> = merged.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect();
    (!words.is_empty()).then(|| format!("{{ {} }}", words.join(", ")))
}

/// A base chain that is made if need be, emptied, and filled, in one transaction.
struct Chain<'a> {
    text: &'a mut String,
    name: String,
}

impl<'a> Chain<'a> {
    fn open(text: &'a mut String, family: &str, table: &str, chain: &str, base: &str) -> Self {
        let name = format!("{family} {table} {chain}");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "add table {family} {table}");
        let _ = writeln!(text, "add chain {name} {{ {base}; policy accept; }}");
        let _ = writeln!(text, "flush chain {name}");
        Self { text, name }
    }

    fn add(&mut self, rule: &str) {
        let _ = writeln!(self.text, "add rule {} {rule}", self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_ports_are_merged() {
        let intercept = Intercept { address: IpAddr::from([10, 0, 0, 100]), ports: vec![5014..=5019, 5012..=5012, 5016..=5021, 5022..=5022, 65535..=65535], to_port: 15000 };
        assert_eq!(port_set(&intercept).as_deref(), Some("{ 5012, 5014-5022, 65535 }"));
    }

    #[test]
    fn an_address_without_ports_is_guarded_all_the_same() {
        let address = IpAddr::from([10, 0, 0, 100]);
        let text = intercept(&[Intercept { address, ports: vec![], to_port: 1 }]);
        assert!(!text.contains("tproxy"));
        assert!(text.contains("ip daddr 10.0.0.100 tcp flags syn"));
    }
}
