//! Addresses that are a machine's own and cannot be virtual IPs.
//!
//! A holder that took one would keep the packets that are for that machine, and the machine's own fence would drop
//! them: it could be reached by nobody any more, its operator included.

use crate::model::{Member, VirtualIp};
use std::fmt;
use std::net::IpAddr;

/// A virtual IP that is a node's own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The name of the virtual IP.
    pub virtual_ip: String,
    pub address: IpAddr,
    pub node: String,
}

impl fmt::Display for OwnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}'s own address", self.address, self.node)
    }
}

/// What to do about an [`OwnAddress`].
pub const REMEDY: &str =
    "give the virtual IP an address of the same subnet that no machine has: it moves between them";

/// Each virtual IP that is an address of one of these nodes, given with their names. On loopback, where every
/// machine has the same addresses, nothing moves and nothing is cut off.
pub fn among<'a>(
    virtual_ips: &'a [VirtualIp],
    nodes: impl IntoIterator<Item = (&'a str, IpAddr)>,
) -> Vec<OwnAddress> {
    let nodes: Vec<_> = nodes.into_iter().collect();
    let own = |v: &VirtualIp| {
        let address = v.address.to_canonical();
        let (node, _) = nodes
            .iter()
            .find(|(_, own)| own.to_canonical() == address && !address.is_loopback())?;
        Some(OwnAddress {
            virtual_ip: v.name.clone(),
            address,
            node: (*node).to_owned(),
        })
    };
    virtual_ips.iter().filter_map(own).collect()
}

/// Where a member is reached and where its servers listen.
pub fn of(member: &Member) -> [(&str, IpAddr); 2] {
    [
        (&member.name, member.listen.ip()),
        (&member.name, member.address),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::member;

    #[test]
    fn an_address_that_a_member_has_is_its_own() {
        let mut other = member(2);
        other.address = "10.1.0.2".parse().unwrap();
        let members = [member(1), other];
        let rows = [
            ("10.0.0.1", Some("node-1"), "where it listens"),
            ("::ffff:10.0.0.1", Some("node-1"), "the same, mapped"),
            ("10.1.0.2", Some("node-2"), "where its servers listen"),
            ("10.0.0.2", Some("node-2"), "where it listens"),
            ("10.0.0.100", None, "nobody's"),
        ];
        for (address, node, why) in rows {
            let virtual_ips = [VirtualIp {
                name: "print".to_owned(),
                address: address.parse().unwrap(),
                prefix: 24,
            }];
            let found = among(&virtual_ips, members.iter().flat_map(of));
            assert_eq!(
                found.first().map(|o| o.node.as_str()),
                node,
                "{address}: {why}"
            );
        }
    }

    #[test]
    fn on_loopback_nothing_is_cut_off() {
        let virtual_ips = [VirtualIp {
            name: "demo".to_owned(),
            address: "127.0.0.1".parse().unwrap(),
            prefix: 8,
        }];
        let here = [("node-1", "127.0.0.1".parse().unwrap())];
        assert_eq!(among(&virtual_ips, here), []);
    }
}
