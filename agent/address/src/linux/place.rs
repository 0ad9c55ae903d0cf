//! Which virtual IP goes on which interface. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::addresses::KernelAddress;
use super::links::Link;
use crate::types::{Vip, VipError, VipSettings};

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
        }
    }
}

/// Places what can be placed; the errors say which virtual IPs cannot, and why.
pub(super) fn place(
    settings: &VipSettings,
    vips: &[Vip],
    links: &[Link],
    addresses: &[KernelAddress],
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
        placed: Vec::new(),
        fallback: default.map(|l| (l.index, l.name.clone())),
    };
    let mut errors = Vec::new();
    for vip in vips {
        let named = vip.interface.as_ref().or(settings.interface.as_ref());
        let link = match named {
            Some(name) => by_name(name),
            None => addresses
                .iter()
                .find(|a| a.mark != Some(settings.mark) && same_subnet(a, vip.address))
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
        let addresses = [have(2, [10, 0, 0, 1], 24), have(3, [10, 1, 0, 1], 16)];
        let rows = [
            ([10, 0, 0, 100], None, Some(2), "subnet of eth0"),
            ([10, 1, 9, 100], None, Some(3), "subnet of eth1"),
            ([192, 0, 2, 1], None, Some(2), "the node's own address"),
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
            let (plan, errors) = place(&settings, &[vip], &links, &addresses);
            assert_eq!(plan.placed.first().map(|p| p.index), index, "{why}");
            assert_eq!(errors.is_empty(), index.is_some(), "{why}");
        }
    }
}
