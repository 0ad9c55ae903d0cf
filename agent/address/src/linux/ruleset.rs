//! The text of our nftables tables, computed from what is wanted. Pure.
//!
//! - `arp ha_fence`: ARP requests for a virtual IP without a lease element are dropped, and ARP that
//!   says where it is. Its hooks stand behind every interface of the machine, whenever it came and
//!   whatever it is: Linux answers on each of them for an address of any. They see what is for this
//!   machine itself, so what a bridge passes on to a guest is not touched.
//! - `inet ha_fence`: the same for neighbour solicitations and advertisements and for packets, on
//!   every interface, loopback included.
//!   Before a handover also what would begin a connection (`parking` keeps it for the next holder).
//! - `netdev ha_fence`: on the interfaces that carry virtual IPs the same once more, where packet
//!   sockets send too (kernels before 5.16 have no egress hook).
//! - `inet ha_intercept`: configured ports to the proxy, the rest refused; nothing of it tracked, so that
//!   nobody's NAT rules rewrite it.
//!
//! Each text is one transaction. The rules depend on interfaces and on the proxy's ports only; which
//! addresses and ports they are about stands in sets (`contents`), which change without them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::contents::ports_set;
use crate::types::Intercept;

/// Name of the three fence tables (families arp, inet and netdev).
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
    pub(super) const TRIES: [Features; 4] = [
        Features::of(true, true),
        Features::of(true, false),
        Features::of(false, true),
        Features::of(false, false),
    ];

    const fn of(egress: bool, targets: bool) -> Features {
        Features {
            egress,
            targets,
            in_place: false,
        }
    }

    /// The sets that a lease has elements in.
    pub(super) fn lease_sets(self) -> Vec<LeaseSet> {
        use super::elements::{NFPROTO_ARP, NFPROTO_INET, NFPROTO_NETDEV};
        let set = |family, name, ipv4| LeaseSet { family, name, ipv4 };
        let mut sets = vec![set(NFPROTO_ARP, "lease4", true)];
        for family in [NFPROTO_NETDEV, NFPROTO_INET] {
            sets.push(set(family, "lease4", true));
            sets.push(set(family, "lease6", false));
            if self.targets {
                sets.push(set(family, "target6", false));
            }
        }
        sets
    }
}

/// The fence tables with their sets and no rules. Changes nothing where they are.
pub(super) fn fence_sets(features: Features) -> String {
    // The sets' own timeout is for elements that somebody adds by hand.
    let sets4 = "set vip4 { type ipv4_addr; }\n\
                 set lease4 { type ipv4_addr; flags timeout; timeout 1s; }\n";
    let sets6 = "set vip6 { type ipv6_addr; }\n\
                 set lease6 { type ipv6_addr; flags timeout; timeout 1s; }\n";
    let targets = if features.targets {
        "set vip_target6 { typeof @th,64,128; }\n\
         set target6 { typeof @th,64,128; flags timeout; timeout 1s; }\n"
    } else {
        ""
    };
    let guard = "set guard { type ipv4_addr; flags timeout; timeout 1s; }\n";
    let parked = "set parked4 { type ipv4_addr; flags timeout; timeout 200ms; }\n\
                  set parked6 { type ipv6_addr; flags timeout; timeout 200ms; }\n";
    format!(
        "table netdev {FENCE} {{\n{sets4}{sets6}{targets}{guard}}}\n\
         table inet {FENCE} {{\n{sets4}{sets6}{targets}{parked}}}\n\
         table arp {FENCE} {{\n{sets4}}}\n"
    )
}

/// The fence's chains and rules on these interfaces, for tables that have their sets.
pub(super) fn fence_rules(interfaces: &BTreeMap<u32, String>, features: Features) -> String {
    let mut text = String::new();
    for (index, name) in interfaces {
        for (chain, hook) in fence_chains(*index, features) {
            let base = format!("type filter hook {hook} device \"{name}\" priority -500");
            let mut rules = Chain::open(&mut text, "netdev", FENCE, &chain, &base);
            let side = if hook == "ingress" { "daddr" } else { "saddr" };
            drop_packets(&mut rules, side);
            drop_arp(&mut rules, side);
            drop_discovery(&mut rules, side, features);
        }
    }
    for (chain, hook, side) in [("in", "input", "daddr"), ("out", "output", "saddr")] {
        let base = format!("type filter hook {hook} priority -500");
        drop_arp(
            &mut Chain::open(&mut text, "arp", FENCE, chain, &base),
            side,
        );
    }
    for (chain, hook, side) in [("in", "prerouting", "daddr"), ("out", "output", "saddr")] {
        let base = format!("type filter hook {hook} priority -500");
        let mut rules = Chain::open(&mut text, "inet", FENCE, chain, &base);
        if chain == "in" {
            for (ip, set) in [("ip", "parked4"), ("ip6", "parked6")] {
                rules.add(&format!(
                    "{ip} daddr @{set} tcp flags syn / fin,syn,rst,ack drop"
                ));
            }
        }
        drop_packets(&mut rules, side);
        drop_discovery(&mut rules, side, features);
    }
    text
}

/// Packets to a virtual IP that is not held (`daddr`), or from one (`saddr`).
fn drop_packets(rules: &mut Chain<'_>, side: &str) {
    rules.add(&format!("ip {side} @vip4 ip {side} != @lease4 drop"));
    rules.add(&format!("ip6 {side} @vip6 ip6 {side} != @lease6 drop"));
}

/// The question where such an address is (`daddr`), and whatever says so (`saddr`).
fn drop_arp(rules: &mut Chain<'_>, side: &str) {
    let question = if side == "daddr" {
        "arp operation request "
    } else {
        ""
    };
    rules.add(&format!(
        "{question}arp {side} ip @vip4 arp {side} ip != @lease4 drop"
    ));
}

/// The same in IPv6, where both name the address behind the ICMP header.
fn drop_discovery(rules: &mut Chain<'_>, side: &str, features: Features) {
    let kind = if side == "daddr" {
        "nd-neighbor-solicit"
    } else {
        "nd-neighbor-advert"
    };
    if features.targets {
        rules.add(&format!(
            "icmpv6 type {kind} @th,64,128 @vip_target6 @th,64,128 != @target6 drop"
        ));
    }
}

/// Names and hooks of the chains on one interface.
pub(super) fn fence_chains(index: u32, features: Features) -> Vec<(String, &'static str)> {
    let mut chains = vec![(format!("in_{index}"), "ingress")];
    if features.egress {
        chains.push((format!("out_{index}"), "egress"));
    }
    chains
}

/// Where packets go: whether they are IPv4, and the proxy's port.
pub(super) type Targets = BTreeSet<(bool, u16)>;

/// What the interception table's rules depend on.
pub(super) fn targets(intercepts: &[Intercept]) -> Targets {
    intercepts
        .iter()
        .map(|i| (i.address.is_ipv4(), i.to_port))
        .collect()
}

/// The interception table with its sets; what was for `before` and is not for `now` goes.
pub(super) fn intercept(before: &Targets, now: &Targets) -> String {
    let mut text = format!("add table inet {INTERCEPT}\n");
    let mut set = |name: &str, kind: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "add set inet {INTERCEPT} {name} {{ {kind} }}");
    };
    set("guarded4", "type ipv4_addr;");
    set("guarded6", "type ipv6_addr;");
    for (ipv4, to_port) in now {
        let address = if *ipv4 { "ipv4_addr" } else { "ipv6_addr" };
        set(
            &ports_set(*ipv4, *to_port),
            &format!("type {address} . inet_service; flags interval;"),
        );
    }
    untracked(&mut text);
    let base = "type filter hook prerouting priority mangle";
    let mut rules = Chain::open(&mut text, "inet", INTERCEPT, "pre", base);
    for (ipv4, to_port) in now {
        let (ip, loopback) = if *ipv4 {
            ("ip", "127.0.0.1")
        } else {
            ("ip6", "[::1]")
        };
        rules.add(&format!(
            "{ip} daddr . tcp dport @{} tproxy {ip} to {loopback}:{to_port} accept",
            ports_set(*ipv4, *to_port)
        ));
    }
    let base = "type filter hook input priority filter";
    let mut rules = Chain::open(&mut text, "inet", INTERCEPT, "in", base);
    for to in ["ip daddr @guarded4", "ip6 daddr @guarded6"] {
        // The proxy's own sockets are transparent; no other application's are, so a packet that
        // found one of those by its port (0.0.0.0:5022) is refused even when the proxy is gone.
        rules.add(&format!(
            "{to} meta l4proto tcp socket transparent 1 accept"
        ));
        rules.add(&format!(
            "{to} tcp flags syn / fin,syn,rst,ack reject with tcp reset"
        ));
        for fine in ["tcp", "icmp", "icmpv6"] {
            rules.add(&format!("{to} meta l4proto {fine} accept"));
        }
        rules.add(&format!("{to} reject with icmpx type port-unreachable"));
    }
    for (ipv4, to_port) in before.difference(now) {
        let _ = writeln!(
            text,
            "delete set inet {INTERCEPT} {}",
            ports_set(*ipv4, *to_port)
        );
    }
    text
}

/// Keeps connection tracking away from what goes to and comes from guarded addresses: without it no NAT rule takes
/// effect, such as one for the same port on all addresses, and no table of connections fills up. On the way out
/// only what stays on this machine: a client here may be served by another node.
fn untracked(text: &mut String) {
    for (chain, hook, matches) in [
        ("raw_in", "prerouting", ["daddr"].as_slice()),
        ("raw_out", "output", &["saddr", "daddr"]),
    ] {
        let base = format!("type filter hook {hook} priority raw");
        let mut rules = Chain::open(text, "inet", INTERCEPT, chain, &base);
        for side in matches {
            let local = if (hook, *side) == ("output", "daddr") {
                "oif lo "
            } else {
                ""
            };
            rules.add(&format!("{local}ip {side} @guarded4 notrack"));
            rules.add(&format!("{local}ip6 {side} @guarded6 notrack"));
        }
    }
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
