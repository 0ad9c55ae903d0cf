//! What is known of a packet to or from a virtual IP, and whether a rule's condition holds for it. Pure.

use std::net::IpAddr;

use serde_json::{Value, json};

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matches {
    Yes,
    No,
    /// It depends on what is not known.
    Unknown,
}

/// The first packet of a client, or an answer to it.
#[derive(Debug, Clone)]
pub(super) struct Packet {
    /// To the virtual IP, or from it.
    pub(super) comes: bool,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) interface: String,
    /// As connection tracking calls it.
    pub(super) state: &'static str,
}

impl Packet {
    /// The hooks that it goes through.
    pub(super) fn hooks(&self) -> &'static [&'static str] {
        if self.comes {
            &["prerouting", "input"]
        } else {
            &["output", "postrouting"]
        }
    }

    /// The condition of a rule as the kernel's expressions.
    pub(super) fn matches(&self, condition: &Value) -> Matches {
        let outcome = self.equals(&condition["left"], &condition["right"]);
        match condition["op"].as_str() {
            Some("==" | "in") => outcome,
            Some("!=") => outcome.not(),
            _ => Matches::Unknown,
        }
    }

    /// Whether a field has this value, or one of these.
    pub(super) fn equals(&self, field: &Value, wanted: &Value) -> Matches {
        match self.field(field) {
            Field::Unknown => Matches::Unknown,
            // A condition on another protocol's field fails, whatever it asks for.
            Field::Absent => Matches::No,
            Field::Is(values) => Matches::any(values.iter().map(|v| fits(v, wanted))),
        }
    }

    /// All ways in which this field's value may be written.
    fn field(&self, field: &Value) -> Field {
        let known = |is: bool, value: Value| match is {
            true => Field::Is(vec![value]),
            false => Field::Unknown,
        };
        if let Some(key) = field["meta"]["key"].as_str() {
            return match key {
                "iifname" | "iif" => known(self.comes, json!(self.interface)),
                "oifname" | "oif" => known(!self.comes, json!(self.interface)),
                "l4proto" => Field::Is(vec![json!("tcp"), json!(6)]),
                "nfproto" => Field::Is(vec![json!(self.by_family("ipv4", "ipv6"))]),
                "protocol" => Field::Is(vec![json!(self.by_family("ip", "ip6"))]),
                "pkttype" => match self.comes {
                    true => Field::Is(vec![json!("host"), json!("unicast")]),
                    false => Field::Unknown,
                },
                _ => Field::Unknown,
            };
        }
        if let Some(name) = field["payload"]["field"].as_str() {
            let protocol = field["payload"]["protocol"].as_str().unwrap_or_default();
            return match (protocol, name) {
                ("tcp" | "th", "dport") => known(self.comes, json!(self.port)),
                ("tcp" | "th", "sport") => known(!self.comes, json!(self.port)),
                ("ip" | "ip6", _) if protocol != self.by_family("ip", "ip6") => Field::Absent,
                ("ip" | "ip6", "daddr") => known(self.comes, json!(self.address)),
                ("ip" | "ip6", "saddr") => known(!self.comes, json!(self.address)),
                ("ip", "protocol") | ("ip6", "nexthdr") => Field::Is(vec![json!("tcp"), json!(6)]),
                ("udp" | "icmp" | "icmpv6" | "sctp" | "dccp" | "udplite", _) => Field::Absent,
                _ => Field::Unknown,
            };
        }
        match (field["ct"]["key"].as_str(), &field["fib"]) {
            (Some("state"), _) => Field::Is(vec![json!(self.state)]),
            // Asked for what NAT has rewritten, in every rule set that is known.
            (Some("status"), _) => Field::Is(vec![json!("none")]),
            (_, fib) if fib["result"] == "type" && fib["flags"] == json!(["daddr"]) => {
                known(self.comes, json!("local"))
            }
            _ => Field::Unknown,
        }
    }

    fn by_family(&self, v4: &'static str, v6: &'static str) -> &'static str {
        if self.address.is_ipv4() { v4 } else { v6 }
    }
}

enum Field {
    Is(Vec<Value>),
    Unknown,
    /// The packet has none.
    Absent,
}

impl Matches {
    fn not(self) -> Matches {
        match self {
            Matches::Yes => Matches::No,
            Matches::No => Matches::Yes,
            Matches::Unknown => Matches::Unknown,
        }
    }

    fn of(is: bool) -> Matches {
        if is { Matches::Yes } else { Matches::No }
    }

    fn any(all: impl Iterator<Item = Matches>) -> Matches {
        let mut outcome = Matches::No;
        for one in all {
            match one {
                Matches::Yes => return one,
                Matches::Unknown => outcome = one,
                Matches::No => {}
            }
        }
        outcome
    }
}

/// Whether a value is what `nft` wrote: the same, or within a set, a range, a prefix, a pattern.
fn fits(value: &Value, wanted: &Value) -> Matches {
    match wanted {
        Value::Array(several) => Matches::any(several.iter().map(|w| fits(value, w))),
        Value::Object(one) => match one.iter().next().map(|(k, v)| (k.as_str(), v)) {
            Some(("set", several)) => fits(value, several),
            // An element with a comment or a counter.
            Some(("elem", element)) => fits(value, &element["val"]),
            Some(("range", ends)) => match (order(value, &ends[0]), order(value, &ends[1])) {
                (Some(low), Some(high)) => Matches::of(low.is_ge() && high.is_le()),
                _ => Matches::Unknown,
            },
            Some(("prefix", prefix)) => within(value, prefix).map_or(Matches::Unknown, Matches::of),
            _ => Matches::Unknown,
        },
        // A set by name is not listed with what is in it.
        Value::String(name) if name.starts_with('@') => Matches::Unknown,
        Value::String(pattern) if pattern.ends_with('*') => {
            let begins = pattern.trim_end_matches('*');
            Matches::of(value.as_str().is_some_and(|v| v.starts_with(begins)))
        }
        same => match (address(value), address(same)) {
            (Some(a), Some(b)) => Matches::of(a == b),
            _ => Matches::of(value == same),
        },
    }
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn order(value: &Value, end: &Value) -> Option<std::cmp::Ordering> {
    match (address(value), address(end)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => Some(value.as_u64()?.cmp(&end.as_u64()?)),
    }
}

fn within(value: &Value, prefix: &Value) -> Option<bool> {
    let length = u32::try_from(prefix["len"].as_u64()?).ok()?;
    match (address(value)?, address(&prefix["addr"])?) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let rest = 32_u32.checked_sub(length)?;
            let differ = a.to_bits() ^ b.to_bits();
            Some(differ.checked_shr(rest).unwrap_or(0) == 0)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let rest = 128_u32.checked_sub(length)?;
            let differ = a.to_bits() ^ b.to_bits();
            Some(differ.checked_shr(rest).unwrap_or(0) == 0)
        }
        _ => Some(false),
    }
}
