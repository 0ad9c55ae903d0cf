//! The kernel's addresses: list, add or refresh, delete (rtnetlink).
//!
//! A managed address is a /32 or /128 with `IFA_PROTO` set to our mark. Kernels before 5.18 do not
//! keep that attribute; there a known virtual IP that is /32 or /128 with no preferred life counts
//! as ours.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::{NLM_F_CREATE, NLM_F_REPLACE, Netlink};
use super::wire::{Message, attributes};

pub(super) const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_PREFSRC: u16 = 7;
const RTN_LOCAL: u8 = 2;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;
const IFA_F_SECONDARY: u32 = 0x01;
const IFA_F_NODAD: u32 = 0x02;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
const FOREVER: u32 = u32::MAX;
const HEAD: usize = 8;

/// How long an address lives in the kernel unless it is refreshed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// `valid_lft 1`: gone 1.00 to 1.28 s later.
    OneSecond,
    /// Until it is deleted.
    Permanent,
}

/// One address as the kernel reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KernelAddress {
    pub(super) index: u32,
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
    pub(super) preferred: u32,
    pub(super) mark: Option<u8>,
    /// Another address of the same subnet was there before it (IPv4), or it is a passing one (IPv6).
    pub(super) is_secondary: bool,
}

impl KernelAddress {
    /// Whether this module (perhaps in an earlier life of the process) added it.
    pub(super) fn is_managed(&self, mark: u8, known: &BTreeSet<IpAddr>) -> bool {
        self.mark == Some(mark)
            || (known.contains(&self.address)
                && self.prefix == full_prefix(self.address)
                && self.preferred == 0)
    }
}

/// How this machine's own traffic leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) source: Option<IpAddr>,
    pub(super) index: Option<u32>,
}

/// The way to `far`, if there is one.
pub(super) fn way_towards(netlink: &mut Netlink, far: IpAddr) -> Option<Way> {
    let mut route = [0; 12];
    route[..2].copy_from_slice(&head(0, far)[..2]);
    let found = netlink.get(
        RTM_GETROUTE,
        &route,
        |out| with_bytes(far, |bytes| out.put(RTA_DST, bytes)),
        |m| {
            let mut way = Way::default();
            for (kind, value) in attributes(m.payload.get(12..)?) {
                match kind {
                    RTA_PREFSRC => way.source = ip(value),
                    RTA_OIF => way.index = value.first_chunk().map(|b| u32::from_ne_bytes(*b)),
                    _ => {}
                }
            }
            Some(way)
        },
    );
    // No route is no way.
    found.ok().flatten()
}

/// All addresses of this network namespace.
pub(super) fn list(netlink: &mut Netlink) -> io::Result<Vec<KernelAddress>> {
    netlink.dump(RTM_GETADDR, &[0; HEAD], |_| {}, read)
}

/// Those of them that this module added.
pub(super) fn managed(
    netlink: &mut Netlink,
    mark: u8,
    known: &BTreeSet<IpAddr>,
) -> io::Result<Vec<KernelAddress>> {
    let mut listed = list(netlink)?;
    listed.retain(|a| a.is_managed(mark, known));
    Ok(listed)
}

/// Adds the address, or gives it its full life again.
pub(super) fn put(
    netlink: &mut Netlink,
    index: u32,
    address: IpAddr,
    life: Life,
    mark: u8,
) -> io::Result<()> {
    let valid = match life {
        Life::OneSecond => 1,
        Life::Permanent => FOREVER,
    };
    // No preferred life: the virtual IP is never the source of the node's own traffic.
    let mut cache = [0; 16];
    cache[4..8].copy_from_slice(&u32::to_ne_bytes(valid));
    let flags = IFA_F_NODAD | IFA_F_NOPREFIXROUTE;
    netlink.request(
        RTM_NEWADDR,
        NLM_F_CREATE | NLM_F_REPLACE,
        &head(index, address),
        |out| {
            with_bytes(address, |bytes| {
                out.put(IFA_LOCAL, bytes);
                out.put(IFA_ADDRESS, bytes);
            });
            out.put(IFA_FLAGS, &flags.to_ne_bytes());
            out.put(IFA_CACHEINFO, &cache);
            out.put(IFA_PROTO, &[mark]);
        },
    )
}

/// Whether the kernel takes packets for the address in. IPv6 addresses are added in two steps, of
/// which the second, their route, comes a little after the acknowledgement.
pub(super) fn is_local(netlink: &mut Netlink, address: IpAddr) -> io::Result<bool> {
    let mut route = [0; 12];
    route[..2].copy_from_slice(&head(0, address)[..2]);
    let found = netlink.get(
        RTM_GETROUTE,
        &route,
        |out| with_bytes(address, |bytes| out.put(RTA_DST, bytes)),
        |m| m.payload.get(7).copied(),
    )?;
    Ok(found == Some(RTN_LOCAL))
}

/// Deletes the address; one that is not there is a success.
pub(super) fn delete(
    netlink: &mut Netlink,
    index: u32,
    address: IpAddr,
    prefix: u8,
) -> io::Result<()> {
    let mut head = head(index, address);
    head[1] = prefix;
    let outcome = netlink.request(RTM_DELADDR, 0, &head, |out| {
        with_bytes(address, |bytes| {
            out.put(IFA_LOCAL, bytes);
            out.put(IFA_ADDRESS, bytes);
        });
    });
    match outcome.as_ref().err().and_then(io::Error::raw_os_error) {
        Some(libc::EADDRNOTAVAIL | libc::ENODEV) => Ok(()),
        _ => outcome,
    }
}

/// Reads an address message of a dump or of the multicast group.
pub(super) fn read(message: Message<'_>) -> Option<KernelAddress> {
    if !matches!(message.kind, RTM_NEWADDR | RTM_DELADDR) {
        return None;
    }
    let head: &[u8; HEAD] = message.payload.first_chunk()?;
    let (mut local, mut peer, mut preferred, mut mark) = (None, None, FOREVER, None);
    let mut flags = u32::from(head[2]);
    for (kind, value) in attributes(&message.payload[HEAD..]) {
        match kind {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => peer = ip(value),
            IFA_CACHEINFO => {
                preferred = value
                    .first_chunk()
                    .map_or(FOREVER, |b| u32::from_ne_bytes(*b));
            }
            IFA_FLAGS => {
                flags = value
                    .first_chunk()
                    .map_or(flags, |b| u32::from_ne_bytes(*b))
            }
            IFA_PROTO => mark = value.first().copied(),
            _ => {}
        }
    }
    Some(KernelAddress {
        index: u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
        address: local.or(peer)?,
        prefix: head[1],
        preferred,
        mark,
        is_secondary: flags & IFA_F_SECONDARY != 0,
    })
}

/// The prefix of one address: 32 or 128.
pub(super) fn full_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Calls `with` with the address in network order.
pub(super) fn with_bytes<T>(address: IpAddr, with: impl FnOnce(&[u8]) -> T) -> T {
    match address {
        IpAddr::V4(v4) => with(&v4.octets()),
        IpAddr::V6(v6) => with(&v6.octets()),
    }
}

fn head(index: u32, address: IpAddr) -> [u8; HEAD] {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let mut head = [0; HEAD];
    head[0] = family as u8;
    head[1] = full_prefix(address);
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    let v6 = <[u8; 16]>::try_from(value).ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(v6)))
}
