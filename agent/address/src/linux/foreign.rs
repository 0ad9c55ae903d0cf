//! Whether other people's rules let the clients of a virtual IP through: follows a packet through what `nft` lists.
//! Pure.
//!
//! Of the packet is known what the configuration says: address, port, interface, and that it is not tracked. Where
//! a rule asks for more, such as the client's address or a rate, it is taken to decide well: only what drops
//! packets for certain is told.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::packet_fields::{Matches, Packet};
use crate::types::Foreign;

/// Rules that are looked at for one packet; more than that is taken to decide well.
const STEPS: usize = 100_000;
/// Chains that are within each other; the kernel allows 16.
const DEPTH: usize = 32;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Dropped,
    /// The chain has not decided.
    Goes,
}

/// A chain that packets enter from the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) family: String,
    pub(super) table: String,
    pub(super) chain: String,
    hook: String,
    drops: bool,
}

/// All chains with their rules, those of this agent left out.
#[derive(Debug, Default)]
pub(super) struct Rules {
    bases: Vec<Base>,
    chains: BTreeMap<[String; 3], Vec<Vec<Value>>>,
}

impl Rules {
    /// From `nft -j list ruleset`; what is not understood is left out.
    pub(super) fn read(listed: &Value) -> Rules {
        let mut rules = Rules::default();
        let word = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
        for item in listed["nftables"].as_array().into_iter().flatten() {
            if let Some(chain) = item.get("chain").filter(|c| c["type"] == "filter") {
                rules.bases.push(Base {
                    family: word(chain, "family"),
                    table: word(chain, "table"),
                    chain: word(chain, "name"),
                    hook: word(chain, "hook"),
                    drops: chain["policy"] == "drop",
                });
            }
            if let Some(rule) = item.get("rule") {
                let key = ["family", "table", "chain"].map(|k| word(rule, k));
                let expressions = rule["expr"].as_array().cloned().unwrap_or_default();
                rules.chains.entry(key).or_default().push(expressions);
            }
        }
        rules.bases.retain(|b| !b.table.starts_with("ha_"));
        rules
    }

    /// Whether a table has a chain whose name begins so.
    pub(super) fn has_chain(&self, base: &Base, begins: &str) -> bool {
        let of_table =
            |[family, table, _]: &[String; 3]| (family, table) == (&base.family, &base.table);
        let mut keys = self.chains.keys().filter(|k| of_table(k));
        keys.any(|[_, _, chain]| chain.starts_with(begins))
    }

    /// The chains that certainly drop this packet.
    pub(super) fn droppers<'a>(&'a self, packet: &'a Packet) -> impl Iterator<Item = &'a Base> {
        let family = if packet.address.is_ipv4() {
            "ip"
        } else {
            "ip6"
        };
        self.bases
            .iter()
            .filter(move |b| b.family == family || b.family == "inet")
            .filter(|b| packet.hooks().contains(&b.hook.as_str()))
            .filter(|b| self.is_dropped(b, packet))
    }

    fn is_dropped(&self, base: &Base, packet: &Packet) -> bool {
        let key = [&base.family, &base.table, &base.chain].map(Clone::clone);
        let mut walk = Walk {
            rules: self,
            packet,
            steps: STEPS,
        };
        match walk.follow(&key, DEPTH) {
            Fate::Accepted => false,
            Fate::Dropped => true,
            Fate::Goes => base.drops,
        }
    }
}

struct Walk<'a> {
    rules: &'a Rules,
    packet: &'a Packet,
    steps: usize,
}

impl Walk<'_> {
    fn follow(&mut self, key: &[String; 3], depth: usize) -> Fate {
        let Some(chain) = self.rules.chains.get(key) else {
            return Fate::Goes;
        };
        if depth == 0 {
            return Fate::Accepted;
        }
        for rule in chain {
            if self.steps == 0 {
                return Fate::Accepted;
            }
            self.steps -= 1;
            match self.obey(key, rule, depth) {
                Some(fate) => return fate,
                None => continue,
            }
        }
        Fate::Goes
    }

    /// What one rule decides; `None`: the next one is looked at.
    fn obey(&mut self, key: &[String; 3], rule: &[Value], depth: usize) -> Option<Fate> {
        let mut is_sure = true;
        for expression in rule {
            let (name, value) = expression.as_object()?.iter().next()?;
            match name.as_str() {
                "counter" | "log" | "mangle" | "notrack" => {}
                "match" => match self.packet.matches(value) {
                    Matches::No => return None,
                    Matches::Yes => {}
                    Matches::Unknown => is_sure = false,
                },
                "vmap" => {
                    let entries = value["data"]["set"].as_array().into_iter().flatten();
                    for entry in entries {
                        let matches = self.packet.equals(&value["key"], &entry[0]);
                        let is_sure = is_sure && matches == Matches::Yes;
                        if matches != Matches::No {
                            let fate = self.verdict(key, &entry[1], is_sure, depth);
                            if fate.is_some() {
                                return fate;
                            }
                        }
                    }
                }
                "accept" | "drop" | "reject" | "return" | "jump" | "goto" => {
                    return self.verdict(key, expression, is_sure, depth);
                }
                _ => is_sure = false,
            }
        }
        None
    }

    fn verdict(
        &mut self,
        [family, table, _]: &[String; 3],
        verdict: &Value,
        is_sure: bool,
        depth: usize,
    ) -> Option<Fate> {
        let (name, value) = verdict.as_object()?.iter().next()?;
        let fate = match name.as_str() {
            "accept" => return Some(Fate::Accepted),
            "drop" | "reject" => Fate::Dropped,
            "return" => Fate::Goes,
            "jump" | "goto" => {
                let target = value["target"].as_str()?.to_owned();
                let fate = self.follow(&[family.clone(), table.clone(), target], depth - 1);
                if fate == Fate::Accepted {
                    return Some(fate);
                }
                if fate == Fate::Goes && name == "jump" {
                    return None;
                }
                fate
            }
            _ => return None,
        };
        is_sure.then_some(fate)
    }
}

/// The ports of an address, as first and last of ranges, with the interface where it is.
pub(super) type Ports = (IpAddr, String, Vec<(u16, u16)>);

/// Where and how packets end.
#[derive(PartialEq, Eq)]
struct Dropper {
    base: Base,
    /// On their way to the virtual IP, or from it.
    comes: bool,
    /// They would pass if they were tracked.
    only_untracked: bool,
}

/// What drops clients of these addresses and ports, on the interfaces where those are; one for each chain and
/// direction.
pub(super) fn judge(rules: &Rules, ports: &[Ports]) -> Vec<Foreign> {
    let mut all: Vec<(Dropper, Vec<(u16, u16)>)> = Vec::new();
    for (address, interface, ranges) in ports {
        for (range, comes) in ranges.iter().flat_map(|r| [(r, true), (r, false)]) {
            let packet = Packet {
                comes,
                address: *address,
                port: range.0,
                interface: interface.clone(),
                state: "untracked",
            };
            for base in rules.droppers(&packet) {
                let state = if comes { "new" } else { "established" };
                let tracked = Packet {
                    state,
                    ..packet.clone()
                };
                let only_untracked = rules.droppers(&tracked).all(|b| b != base);
                let key = Dropper {
                    base: base.clone(),
                    comes,
                    only_untracked,
                };
                match all.iter_mut().find(|(k, _)| *k == key) {
                    Some((_, ranges)) if ranges.contains(range) => {}
                    Some((_, ranges)) => ranges.push(*range),
                    None => all.push((key, vec![*range])),
                }
            }
        }
    }
    all.iter()
        .map(|(dropper, ranges)| told(rules, dropper, ranges))
        .collect()
}

fn told(rules: &Rules, dropper: &Dropper, ranges: &[(u16, u16)]) -> Foreign {
    let words: Vec<String> = ranges
        .iter()
        .map(|(first, last)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        })
        .collect();
    let base = &dropper.base;
    let (family, table, chain) = (&base.family, &base.table, &base.chain);
    let way = if dropper.comes { "to" } else { "from" };
    let found = format!(
        "chain {family} {table} {chain} drops what goes {way} the virtual IP's ports {}",
        words.join(", ")
    );
    let ports = match words.as_slice() {
        [one] => one.clone(),
        several => format!("{{ {} }}", several.join(", ")),
    };
    let each = |before: &str, after: &str| {
        let each: Vec<String> = words
            .iter()
            .map(|w| format!("{before}{w}{after}"))
            .collect();
        each.join(" ")
    };
    let field = if dropper.comes { "dport" } else { "sport" };
    let remedy = if dropper.only_untracked {
        format!(
            "these connections are not tracked, so that no NAT rule rewrites them: nft insert rule {family} {table} {chain} tcp {field} {ports} ct state untracked accept"
        )
    } else if table == "firewalld" {
        format!(
            "firewall-cmd --permanent {} && firewall-cmd --reload",
            each("--add-port=", "/tcp")
        )
    } else if rules.has_chain(base, "ufw") {
        let commands: Vec<String> = words
            .iter()
            .map(|w| format!("ufw allow {}/tcp", w.replace('-', ":")))
            .collect();
        commands.join(" && ")
    } else {
        format!(
            "nft insert rule {family} {table} {chain} tcp {field} {ports} accept, also in the file that it comes from"
        )
    };
    Foreign { found, remedy }
}

#[cfg(test)]
mod tests;
