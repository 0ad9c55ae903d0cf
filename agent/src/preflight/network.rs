//! What the virtual IP needs of the network: interface, rules, an address that nobody has.

use super::{Inspection, Moment, NOT_HERE, Said, Verdict, machine};
use crate::hands::{self, LIFETIME_PROMISE_MIN};
use ha_address::platform::examine;
use ha_address::{FenceMode, Vip, VipSettings};
use ha_core::model::VirtualIp;
use ha_core::own_address;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How long the answer of another machine is waited for.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);

fn settings(s: &Inspection) -> VipSettings {
    VipSettings {
        interface: s.config.interface.clone(),
        ..VipSettings::new(s.config.address)
    }
}

fn vips(s: &Inspection) -> Vec<Vip> {
    hands::vips(&s.config.interfaces, s.virtual_ips())
}

pub(super) fn interface(s: &Inspection) -> Said {
    if !s.config.holds_in_kernel() {
        return Said::skipped(NOT_HERE);
    }
    let names: Vec<&str> = s.virtual_ips().iter().map(|v| v.name.as_str()).collect();
    let mut for_none = s
        .config
        .interfaces
        .keys()
        .filter(|n| !names.contains(&n.as_str()));
    if let Some(name) = for_none.next().filter(|_| !names.is_empty()) {
        return Said::warning(
            format!("`interface` in agent.toml names {name}, and there is no such virtual_ip"),
            format!("use a name of cluster.toml: {}", names.join(", ")),
        );
    }
    let remedy = "set `interface` in agent.toml, or `address` to one that this machine has";
    match examine::interfaces(&settings(s), &vips(s)) {
        Err(error) => Said::failed(error.to_string(), remedy),
        Ok(found) if found.is_empty() => {
            let found = s.config.interface.as_ref().map_or_else(
                || format!("no interface has {}", s.config.address),
                |name| format!("there is no interface {name}"),
            );
            // The subnets of the virtual IPs may say more.
            if s.virtual_ips().is_empty() && s.config.interface.is_none() {
                Said::warning(found, remedy)
            } else {
                Said::failed(found, remedy)
            }
        }
        Ok(found) => {
            let names: Vec<&str> = found.iter().map(|i| i.name.as_str()).collect();
            match found.iter().find(|i| !i.carrier) {
                None => Said::ok(format!("{} has carrier", names.join(", "))),
                Some(down) => Said::warning(
                    format!("{} has no carrier", down.name),
                    "this node cannot hold the address until its cable is in and the interface is up",
                ),
            }
        }
    }
}

pub(super) fn rules(s: &Inspection) -> Said {
    if !s.config.holds_in_kernel() {
        return Said::skipped(NOT_HERE);
    }
    if s.moment == Moment::Starting {
        return Said::skipped("tried when the agent starts");
    }
    match examine::rules(&settings(s), s.config.proxy_port) {
        Ok(()) => Said::ok("the kernel takes the rules of the fence and of the interception"),
        Err(error) => {
            // The address's lifetime is a fence too, where promises are long enough for it.
            let other_fence = s.config.fence != FenceMode::Nftables
                && s.promise.is_none_or(|p| p >= LIFETIME_PROMISE_MIN);
            let verdict = if other_fence {
                Verdict::Warning
            } else {
                s.denied()
            };
            let remedy = format!(
                "install nftables, and a kernel with nf_tables and nft_tproxy; without them a cluster needs promises of {LIFETIME_PROMISE_MIN:?}"
            );
            Said(verdict, error.to_string(), remedy)
        }
    }
}

/// Where the kernel sends what is intercepted.
pub(super) fn proxy_port(s: &Inspection) -> Said {
    if !s.config.holds_in_kernel() {
        return Said::skipped(NOT_HERE);
    }
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, s.config.proxy_port));
    machine::port(s, at, |e| {
        let found = match e.kind() {
            io::ErrorKind::AddrInUse => machine::in_use(at),
            _ => format!("{at}: {e}"),
        };
        let remedy =
            "set `proxy_port` in agent.toml to a port that is free, or end the one that has it";
        Said::failed(found, remedy)
    })
}

pub(super) fn addresses(s: &Inspection) -> Said {
    if !s.config.holds_in_kernel() {
        return Said::skipped(NOT_HERE);
    }
    if s.virtual_ips().is_empty() || s.moment == Moment::Starting {
        return Said::skipped("the virtual IPs are not known here");
    }
    if let Some(own) = s.config.own_among(s.virtual_ips()).first() {
        return Said::failed(own.to_string(), own_address::REMEDY);
    }
    let (settings, vips) = (settings(s), vips(s));
    match examine::at_home(&settings, &vips) {
        Err(error) => return Said::failed(error.to_string(), "the kernel must answer rtnetlink"),
        Ok(found) => {
            if let Some((address, taken)) = found.first() {
                let (found, remedy) = taken.words(*address);
                return Said::failed(found, remedy);
            }
        }
    }
    match examine::claimed(&settings, &vips, ANSWER_WITHIN) {
        Err(error) => Said::warning(
            error.to_string(),
            "whether another machine has the virtual IP cannot be seen without CAP_NET_RAW",
        ),
        Ok(claimed) => match claimed.first() {
            None => Said::ok("nobody answers for the virtual IPs"),
            Some((address, taken)) => {
                let (found, remedy) = taken.words(*address);
                if s.moment == Moment::Founding {
                    Said::failed(found, remedy)
                } else {
                    Said::warning(
                        found,
                        "unless that is a member of this cluster, take the address off it: two would answer",
                    )
                }
            }
        },
    }
}

/// Other people's rules on the way of the clients.
pub(super) fn firewall(s: &Inspection) -> Said {
    if !s.config.holds_in_kernel() {
        return Said::skipped(NOT_HERE);
    }
    if s.virtual_ips().is_empty() || s.moment == Moment::Starting {
        return Said::skipped("the virtual IPs are not known here");
    }
    let ports = |v: &VirtualIp| {
        let all = s.cluster.iter().flat_map(|c| &c.frontends);
        let its = all.filter(|f| f.virtual_ips.contains(&v.name));
        let listeners = its.flat_map(|f| f.listeners.iter().map(|l| l.first..=l.last));
        (v.address, listeners.collect())
    };
    let ports: Vec<_> = s.virtual_ips().iter().map(ports).collect();
    match examine::foreign_rules(&settings(s), &vips(s), &ports) {
        // A machine without the program has none of its rules, and is told so above.
        Err(error) => Said::skipped(&error.to_string()),
        Ok(found) => match found.first() {
            None => Said::ok("no rule of this machine drops what goes to the virtual IPs"),
            Some(first) => {
                let more = match found.len() {
                    1 => String::new(),
                    all => format!(" (and {} more like it)", all - 1),
                };
                let remedies: Vec<&str> = found.iter().map(|f| f.remedy.as_str()).collect();
                Said::warning(format!("{}{more}", first.found), remedies.join("\n"))
            }
        },
    }
}
