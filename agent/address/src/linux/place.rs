//! Which virtual IP goes on which interface. Pure.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::addresses::KernelAddress;
use super::links::Link;
use super::own::{Machine, Static};
use crate::types::{Taken, Vip, VipError, VipSettings};

/// A virtual IP with its interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) address: IpAddr,
    pub(super) index: u32,
    pub(super) interface: String,
}

/// What is managed, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) placed: Vec<Placed>,
    /// The interface whose carrier counts while there is no virtual IP.
    pub(super) fallback: Option<(u32, String)>,
    /// Those of them that somebody else has put on this machine, where, and with what length of subnet. They are
    /// fenced all the same.
    pub(super) left: BTreeMap<IpAddr, (String, u8)>,
}

impl Plan {
    /// Interfaces that carry a virtual IP, or the fallback.
    pub(super) fn interfaces(&self) -> BTreeMap<u32, String> {
        let mut all: BTreeMap<u32, String> = self
            .placed
            .iter()
            .map(|p| (p.index, p.interface.clone()))
            .collect();
        if all.is_empty() {
            all.extend(self.fallback.clone());
        }
        all
    }

    pub(super) fn find(&self, address: IpAddr) -> Option<&Placed> {
        self.placed.iter().find(|p| p.address == address)
    }

    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.placed.iter().map(|p| p.address).collect()
    }

    /// What somebody else has put on this machine.
    pub(super) fn left(&self) -> impl Iterator<Item = (IpAddr, Taken)> {
        self.left.iter().map(|(address, (interface, prefix))| {
            let (interface, prefix) = (interface.clone(), *prefix);
            (*address, Taken::Left { interface, prefix })
        })
    }

    /// The part of the plan that `other` has too.
    pub(super) fn common(&self, other: &Plan) -> Plan {
        let placed = self
            .placed
            .iter()
            .filter(|p| other.placed.contains(p))
            .cloned()
            .collect();
        Plan {
            placed,
            fallback: self.fallback.clone(),
            left: self.left.clone(),
        }
    }
}

/// Places what can be placed; the errors say which virtual IPs cannot, and why. `fenced` are those that the plan
/// before this one had.
pub(super) fn place(
    settings: &VipSettings,
    vips: &[Vip],
    links: &[Link],
    addresses: &[KernelAddress],
    machine: &Machine,
    fenced: &BTreeSet<IpAddr>,
) -> (Plan, Vec<VipError>) {
    let by_name = |name: &str| links.iter().find(|l| l.name == name);
    let by_index = |index: u32| links.iter().find(|l| l.index == index);
    let own = addresses
        .iter()
        .find(|a| a.address == settings.node_address);
    let default = match &settings.interface {
        Some(name) => by_name(name),
        None => own.and_then(|a| by_index(a.index)),
    };
    let mut plan = Plan {
        fallback: default.map(|l| (l.index, l.name.clone())),
        ..Plan::default()
    };
    let mut errors = Vec::new();
    for vip in vips {
        let judged = machine.judge(vip.address, addresses, settings.mark, fenced);
        if judged == Some(Static::Own) {
            let address = vip.address;
            errors.push(VipError::Own { address });
            continue;
        }
        if let Some(Static::Left { index, prefix }) = judged {
            let interface = by_index(index).map_or_else(String::new, |l| l.name.clone());
            plan.left.insert(vip.address, (interface, prefix));
        }
        let named = vip.interface.as_ref().or(settings.interface.as_ref());
        let link = match named {
            Some(name) => by_name(name),
            None => addresses
                .iter()
                .filter(|a| a.mark != Some(settings.mark) && same_subnet(a, vip.address))
                // The longest, as a route is chosen; of equal ones the first.
                .min_by_key(|a| Reverse(a.prefix))
                .and_then(|a| by_index(a.index))
                .or(default),
        };
        match link.filter(|l| is_plain(&l.name)) {
            Some(link) => plan.placed.push(Placed {
                address: vip.address,
                index: link.index,
                interface: link.name.clone(),
            }),
            None => errors.push(VipError::NoInterface {
                address: vip.address,
                reason: match named {
                    Some(name) => format!("there is no interface {name:?}"),
                    None => format!("none has its subnet or {}", settings.node_address),
                },
            }),
        }
    }
    plan.placed.sort_by_key(|p| p.address);
    (plan, errors)
}

/// The virtual IPs of a plan that their interfaces cannot have, because IPv6 is switched off there.
pub(super) fn without_ipv6(plan: &Plan) -> impl Iterator<Item = VipError> {
    let six = plan.placed.iter().filter(|p| p.address.is_ipv6());
    six.filter(|p| is_off(&p.interface))
        .map(|p| VipError::NoIpv6 {
            address: p.address,
            interface: p.interface.clone(),
        })
}

/// A kernel without IPv6 has no such file.
fn is_off(interface: &str) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    std::fs::read_to_string(path).map_or(true, |text| text.trim() != "0")
}

fn same_subnet(have: &KernelAddress, wanted: IpAddr) -> bool {
    match (have.address, wanted) {
        (IpAddr::V4(a), IpAddr::V4(b)) if (1..32).contains(&have.prefix) => {
            (a.to_bits() ^ b.to_bits()) >> (32 - have.prefix) == 0
        }
        (IpAddr::V6(a), IpAddr::V6(b)) if (1..128).contains(&have.prefix) => {
            (a.to_bits() ^ b.to_bits()) >> (128 - have.prefix) == 0
        }
        _ => false,
    }
}

/// Interface names go into nftables text between quotes.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() < libc::IFNAMSIZ
        && name
            .bytes()
            .all(|b| b.is_ascii_graphic() && !b"\"\\*$".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn have(index: u32, address: [u8; 4], prefix: u8) -> KernelAddress {
        let address = IpAddr::from(address);
        KernelAddress {
            index,
            address,
            prefix,
            preferred: u32::MAX,
            mark: None,
            is_secondary: false,
        }
    }

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.into(),
            mac: None,
            carrier: true,
        }
    }

    #[test]
    fn a_virtual_ip_goes_where_its_subnet_is() {
        let settings = VipSettings::new(IpAddr::from([10, 0, 0, 1]));
        let links = [link(2, "eth0"), link(3, "eth1"), link(4, "a\" drop")];
        let addresses = [
            have(2, [10, 0, 0, 1], 24),
            have(2, [10, 3, 0, 1], 16),
            have(3, [10, 1, 0, 1], 16),
            have(3, [10, 3, 3, 1], 24),
        ];
        let rows = [
            ([10, 0, 0, 100], None, Some(2), "subnet of eth0"),
            ([10, 1, 9, 100], None, Some(3), "subnet of eth1"),
            ([10, 3, 9, 100], None, Some(2), "the only subnet"),
            ([10, 3, 3, 100], None, Some(3), "the longer of two subnets"),
            ([192, 0, 2, 1], None, Some(2), "the node's own address"),
            ([10, 3, 3, 1], None, None, "this machine's own"),
            ([10, 1, 9, 100], Some("eth0"), Some(2), "named"),
            ([10, 1, 9, 100], Some("eth7"), None, "named and absent"),
            (
                [10, 1, 9, 100],
                Some("a\" drop"),
                None,
                "not fit for a rule",
            ),
        ];
        for (address, interface, index, why) in rows {
            let vip = Vip {
                name: "v".into(),
                address: IpAddr::from(address),
                interface: interface.map(str::to_owned),
            };
            let (plan, errors) = place(
                &settings,
                &[vip],
                &links,
                &addresses,
                &Machine::default(),
                &BTreeSet::new(),
            );
            assert_eq!(plan.placed.first().map(|p| p.index), index, "{why}");
            assert_eq!(errors.is_empty(), index.is_some(), "{why}");
        }
    }
}
