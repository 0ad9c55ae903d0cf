//! Whose an address is that is to be a virtual IP and is on this machine already. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::addresses::{KernelAddress, Way, full_prefix};
use super::netlink::Netlink;

/// An address that is on this machine and was not put there by this module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Static {
    /// The machine is reached there: a fence around it, or another holder, would cut it off.
    Own,
    /// One more of a subnet, or one without a subnet, as keepalived and others leave it. It is fenced as any
    /// virtual IP: two machines would answer otherwise.
    Left { index: u32, prefix: u8 },
}

/// What else makes an address this machine's own.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// What the agent's file calls the node's address.
    pub(super) node: Option<IpAddr>,
    /// What its traffic by the default routes comes from.
    pub(super) sources: Vec<IpAddr>,
    /// The interface of its default route in IPv4.
    pub(super) way_out: Option<u32>,
}

impl Machine {
    /// Asks the kernel for the sources, with addresses for documentation: only a default route leads there.
    pub(super) fn look(node: IpAddr, route: &mut Netlink) -> Machine {
        let far = ["192.0.2.1", "2001:db8::1"];
        let ways: Vec<Way> = far
            .into_iter()
            .filter_map(|f| super::addresses::way_towards(route, f.parse().ok()?))
            .collect();
        let v4 = ways.iter().find(|w| w.source.is_some_and(|s| s.is_ipv4()));
        Machine {
            node: Some(node),
            way_out: v4.and_then(|w| w.index),
            sources: ways.iter().filter_map(|w| w.source).collect(),
        }
    }

    /// `None`: the address is not here, or only as this module put it. `fenced` are those that have a fence
    /// already: what is added to the machine behind it changes nothing.
    pub(super) fn judge(
        &self,
        address: IpAddr,
        have: &[KernelAddress],
        mark: u8,
        fenced: &BTreeSet<IpAddr>,
    ) -> Option<Static> {
        if self.node == Some(address) {
            return Some(Static::Own);
        }
        let full = full_prefix(address);
        let by_others =
            |a: &&KernelAddress| a.mark != Some(mark) && !(a.prefix == full && a.preferred == 0);
        let mut others = have
            .iter()
            .filter(|a| a.address == address)
            .filter(by_others);
        let any = others.clone().next()?;
        // The first of its subnet: the kernel takes it as the source there.
        let is_first = others.any(|a| a.prefix < full && !a.is_secondary);
        let is_own = self.sources.contains(&address) || (is_first && !fenced.contains(&address));
        let (index, prefix) = (any.index, any.prefix);
        Some(if is_own {
            Static::Own
        } else {
            Static::Left { index, prefix }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_is_reached_at_is_its_own_and_what_is_left_there_is_not() {
        let at = |address: &str, prefix, is_secondary| KernelAddress {
            index: 2,
            address: address.parse().expect("a literal"),
            prefix,
            preferred: u32::MAX,
            mark: None,
            is_secondary,
        };
        let ours = |preferred, mark| KernelAddress {
            preferred,
            mark,
            ..at("10.0.0.103", 32, false)
        };
        let have = [
            at("10.0.0.1", 24, false),
            at("10.0.0.100", 24, true),
            at("10.0.0.101", 32, false),
            at("10.9.0.1", 24, false),
            at("10.0.0.102", 32, false),
            ours(0, Some(0x48)),
            at("fd00::1", 64, false),
            at("fd00::2", 128, false),
        ];
        let machine = Machine {
            node: Some(IpAddr::from([10, 8, 0, 1])),
            sources: vec![IpAddr::from([10, 0, 0, 102])],
            way_out: None,
        };
        let fenced = BTreeSet::from([IpAddr::from([10, 9, 0, 1])]);
        let none = BTreeSet::new();
        let left = |prefix| Some(Static::Left { index: 2, prefix });
        let rows = [
            ("10.0.0.1", &none, Some(Static::Own), "the first of eth0"),
            ("10.8.0.1", &none, Some(Static::Own), "the node's address"),
            ("10.0.0.100", &none, left(24), "keepalived's /24"),
            ("10.0.0.101", &none, left(32), "keepalived's /32"),
            ("10.0.0.102", &none, Some(Static::Own), "a default route's"),
            ("10.0.0.103", &none, None, "put there by this module"),
            ("10.0.0.200", &none, None, "not there"),
            ("10.9.0.1", &none, Some(Static::Own), "another interface's"),
            ("10.9.0.1", &fenced, left(24), "behind a fence"),
            ("fd00::1", &none, Some(Static::Own), "the IPv6 address"),
            ("fd00::2", &none, left(128), "keepalived's /128"),
        ];
        for (address, fenced, expected, why) in rows {
            let address = address.parse().expect("a literal");
            let judged = machine.judge(address, &have, 0x48, fenced);
            assert_eq!(judged, expected, "{address}: {why}");
        }
        let before_5_18 = ours(0, None);
        assert_eq!(
            machine.judge(before_5_18.address, &[before_5_18], 0x48, &none),
            None,
            "kernels that keep no mark"
        );
    }
}
