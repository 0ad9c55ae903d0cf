//! The kernel's interfaces: index, name, hardware address, carrier (rtnetlink).

use std::io;

use super::netlink::Netlink;
use super::wire::{Message, attributes, text};

pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_EXT_MASK: u16 = 29;
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;
const ARPHRD_ETHER: u16 = 1;
/// Leaves out the statistics, which are most of a dump on a machine with many interfaces.
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
const HEAD: usize = 16;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// Hardware address, where ARP and neighbour discovery make sense.
    pub(super) mac: Option<[u8; 6]>,
    /// Administratively up, and the cable (or its like) is in.
    pub(super) carrier: bool,
}

/// All interfaces of this network namespace.
pub(super) fn list(netlink: &mut Netlink) -> io::Result<Vec<Link>> {
    let skip = RTEXT_FILTER_SKIP_STATS.to_ne_bytes();
    netlink.dump(
        RTM_GETLINK,
        &[0; HEAD],
        |out| out.put(IFLA_EXT_MASK, &skip),
        read,
    )
}

/// Reads a link message of a dump or of the multicast group.
pub(super) fn read(message: Message<'_>) -> Option<Link> {
    if !matches!(message.kind, RTM_NEWLINK | RTM_DELLINK) {
        return None;
    }
    let head: &[u8; HEAD] = message.payload.first_chunk()?;
    // Bridges report their ports in messages of their own family, without the device's flags.
    if head[0] != 0 {
        return None;
    }
    let hardware = u16::from_ne_bytes([head[2], head[3]]);
    let flags = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
    let (mut name, mut mac) = (String::new(), None);
    for (kind, value) in attributes(&message.payload[HEAD..]) {
        match kind {
            IFLA_IFNAME => name = text(value),
            IFLA_ADDRESS if hardware == ARPHRD_ETHER => mac = <[u8; 6]>::try_from(value).ok(),
            _ => {}
        }
    }
    Some(Link {
        index: u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
        name,
        mac,
        carrier: message.kind == RTM_NEWLINK
            && flags & (IFF_UP | IFF_LOWER_UP) == IFF_UP | IFF_LOWER_UP,
    })
}
