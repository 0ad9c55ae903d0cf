//! Ethernet frames of ARP, neighbour discovery and TCP's opening: built, and read without trust. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

pub(super) type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_ADDRESS: u8 = 2;

/// "This address is mine", from somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) address: IpAddr,
    pub(super) mac: Mac,
}

/// Somebody's wish to connect: a TCP SYN without ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syn {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) from_mac: Mac,
}

/// The frames that tell all neighbours that `address` is at `mac`.
pub(super) fn announcements(address: IpAddr, mac: Mac) -> Vec<Vec<u8>> {
    match address {
        IpAddr::V4(v4) => vec![
            arp(1, mac, v4, [0; 6], v4).to_vec(),
            // Some neighbours heed only replies.
            arp(2, mac, v4, BROADCAST, v4).to_vec(),
        ],
        IpAddr::V6(v6) => vec![advertisement(v6, mac)],
    }
}

/// The question that whoever has `address` must answer.
pub(super) fn question(address: IpAddr, mac: Mac) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => arp(1, mac, Ipv4Addr::UNSPECIFIED, [0; 6], v4).to_vec(),
        IpAddr::V6(v6) => solicitation(v6, mac),
    }
}

/// Reads an ARP packet that says where its sender's address is.
pub(super) fn read_arp(frame: &[u8]) -> Option<Claim> {
    let arp: &[u8; 28] = frame.get(14..)?.first_chunk()?;
    if frame[12..14] != [0x08, 0x06] || arp[..6] != [0, 1, 8, 0, 6, 4] {
        return None;
    }
    let sender = Ipv4Addr::new(arp[14], arp[15], arp[16], arp[17]);
    // A probe has no sender address and claims nothing.
    (!sender.is_unspecified()).then_some(Claim {
        address: IpAddr::V4(sender),
        mac: [arp[8], arp[9], arp[10], arp[11], arp[12], arp[13]],
    })
}

/// Reads a neighbour advertisement.
pub(super) fn read_advertisement(frame: &[u8]) -> Option<Claim> {
    let ip: &[u8; 40] = frame.get(14..)?.first_chunk()?;
    let icmp: &[u8; 24] = frame.get(54..)?.first_chunk()?;
    // Hop limit 255: it came from this link and was not routed here.
    if frame[12..14] != [0x86, 0xdd] || ip[6] != ICMPV6 || ip[7] != 255 || icmp[0] != ADVERTISEMENT
    {
        return None;
    }
    let target: &[u8; 16] = icmp[8..].first_chunk()?;
    let option = frame
        .get(78..86)
        .filter(|o| o[0] == TARGET_LINK_ADDRESS && o[1] == 1);
    let mac = option.map_or(&frame[6..12], |o| &o[2..8]);
    Some(Claim {
        address: IpAddr::V6(Ipv6Addr::from(*target)),
        mac: *mac.first_chunk()?,
    })
}

/// Reads a SYN. One that is in fragments, or behind IPv6 extension headers, is none.
pub(super) fn read_syn(frame: &[u8]) -> Option<Syn> {
    let segment = find_segment(frame)?;
    let (from, to) = match *frame.get(segment.addresses)? {
        [a, b, c, d, e, f, g, h] => (IpAddr::from([a, b, c, d]), IpAddr::from([e, f, g, h])),
        ref both => (
            IpAddr::from(*both.first_chunk::<16>()?),
            IpAddr::from(*both.last_chunk::<16>()?),
        ),
    };
    let flags = *frame.get(segment.tcp)?.get(13)?;
    // SYN, and neither FIN, RST nor ACK; ECN's two flags may be there.
    (flags & 0x17 == 0x02).then_some(Syn {
        from,
        to,
        from_mac: *frame.get(6..12)?.first_chunk()?,
    })
}

/// The same packet in a frame to `mac`, from the hardware address that it came to.
///
/// A sender on the same machine leaves the TCP checksum to the network card, so that only the
/// addresses are in the sum; then it is completed. A wrong sum stays wrong.
pub(super) fn forwarded(frame: &[u8], mac: Mac) -> Option<Vec<u8>> {
    let Segment { addresses, tcp } = find_segment(frame)?;
    let mut frame = frame.to_vec();
    frame.copy_within(..6, 6);
    frame[..6].copy_from_slice(&mac);
    let length = u16::try_from(tcp.len()).ok()?.to_be_bytes();
    let pseudo = [frame.get(addresses)?, &length, &[0, TCP]].concat();
    let segment = frame.get_mut(tcp)?;
    if segment.get(16..18)? == (!checksum(pseudo.iter())).to_be_bytes() {
        segment[16..18].fill(0);
        let sum = checksum(pseudo.iter().chain(&*segment));
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
    }
    Some(frame)
}

/// Where things are in a frame with a whole TCP segment.
struct Segment {
    /// Source and destination of the packet, next to each other.
    addresses: Range<usize>,
    tcp: Range<usize>,
}

fn find_segment(frame: &[u8]) -> Option<Segment> {
    let number = |at: usize| {
        frame
            .get(at..at + 2)
            .map(|n| usize::from(u16::from_be_bytes([n[0], n[1]])))
    };
    let byte = |at: usize| frame.get(at).copied();
    let found = match (number(12)?, byte(14)? >> 4) {
        (0x0800, 4) => {
            let head = usize::from(byte(14)? & 15) * 4;
            let is_fragment = number(20)? & 0x3fff != 0;
            let fits = byte(23)? == TCP && !is_fragment && head >= 20;
            fits.then_some(Segment {
                addresses: 26..34,
                tcp: 14 + head..14 + number(16)?,
            })
        }
        (0x86dd, 6) => (byte(20)? == TCP).then_some(Segment {
            addresses: 22..54,
            tcp: 54..54 + number(18)?,
        }),
        _ => None,
    };
    // A TCP header without options has 20 bytes.
    found.filter(|s| frame.get(s.tcp.clone()).is_some_and(|tcp| tcp.len() >= 20))
}

fn arp(operation: u8, mac: Mac, sender: Ipv4Addr, target_mac: Mac, target: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0; 42];
    frame[..6].copy_from_slice(&BROADCAST);
    frame[6..12].copy_from_slice(&mac);
    frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame[22..28].copy_from_slice(&mac);
    frame[28..32].copy_from_slice(&sender.octets());
    frame[32..38].copy_from_slice(&target_mac);
    frame[38..].copy_from_slice(&target.octets());
    frame
}

fn advertisement(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let mut body = vec![ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    body.extend_from_slice(&address.octets());
    body.extend_from_slice(&[TARGET_LINK_ADDRESS, 1]);
    body.extend_from_slice(&mac);
    icmpv6(ALL_NODES_MAC, mac, address, ALL_NODES, body)
}

/// As in duplicate address detection: from no address, so the answer goes to all nodes.
fn solicitation(target: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let mut body = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    body.extend_from_slice(&target.octets());
    icmpv6(
        [0x33, 0x33, 0xff, a, b, c],
        mac,
        Ipv6Addr::UNSPECIFIED,
        group,
        body,
    )
}

fn icmpv6(to_mac: Mac, from_mac: Mac, from: Ipv6Addr, to: Ipv6Addr, mut body: Vec<u8>) -> Vec<u8> {
    let length = [0, body.len() as u8];
    let pseudo = [
        &from.octets()[..],
        &to.octets(),
        &[0, 0],
        &length,
        &[0, 0, 0, ICMPV6],
    ]
    .concat();
    let sum = checksum(pseudo.iter().chain(&body));
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    [
        &to_mac[..],
        &from_mac,
        &[0x86, 0xdd, 0x60, 0, 0, 0],
        &length,
        &[ICMPV6, 255],
        &from.octets(),
        &to.octets(),
        &body,
    ]
    .concat()
}

fn checksum<'a>(bytes: impl Iterator<Item = &'a u8>) -> u16 {
    let mut sum: u32 = 0;
    for (at, byte) in bytes.enumerate() {
        sum += u32::from(*byte) << if at % 2 == 0 { 8 } else { 0 };
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 9];

    #[test]
    fn announcements_are_claims() {
        for address in ["10.0.0.100", "fd00::64"] {
            let address: IpAddr = address.parse().expect("a literal");
            for frame in announcements(address, MAC) {
                let read = read_arp(&frame).or_else(|| read_advertisement(&frame));
                assert_eq!(read, Some(Claim { address, mac: MAC }));
            }
        }
    }

    #[test]
    fn questions_claim_nothing() {
        for address in ["10.0.0.100", "fd00::64"] {
            let frame = question(address.parse().expect("a literal"), MAC);
            assert_eq!((read_arp(&frame), read_advertisement(&frame)), (None, None));
        }
    }

    /// A SYN as a sender on the same machine leaves it: only the addresses are summed.
    fn syn(from: &str, to: &str, flags: u8) -> Vec<u8> {
        let (from, to): (IpAddr, IpAddr) = (
            from.parse().expect("a literal"),
            to.parse().expect("a literal"),
        );
        let mut tcp = [
            0x9c, 0x40, 0x13, 0x9e, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0,
        ];
        let (mut packet, addresses) = match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (
                vec![8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0],
                [from.octets(), to.octets()].concat(),
            ),
            (IpAddr::V6(from), IpAddr::V6(to)) => (
                vec![0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, TCP, 64],
                [from.octets(), to.octets()].concat(),
            ),
            _ => panic!("one family"),
        };
        let sum = !checksum(addresses.iter().chain(&[0, 20, 0, TCP]));
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        packet.extend([addresses, tcp.to_vec()].concat());
        [&MAC[..], &[2, 0, 0, 0, 0, 7], &packet].concat()
    }

    const SYNS: [(&str, &str); 2] = [("10.0.0.3", "10.0.0.100"), ("fd00::3", "fd00::64")];

    #[test]
    fn only_a_syn_is_a_syn() {
        for (from, to) in SYNS {
            let read = Syn {
                from: from.parse().expect("a literal"),
                to: to.parse().expect("a literal"),
                from_mac: [2, 0, 0, 0, 0, 7],
            };
            for (flags, is_syn) in [
                (0x02, true),
                (0xc2, true),
                (0x12, false),
                (0x10, false),
                (0x03, false),
                (0x06, false),
                (0, false),
            ] {
                assert_eq!(
                    read_syn(&syn(from, to, flags)),
                    is_syn.then_some(read),
                    "{flags:#x}"
                );
            }
        }
        let whole = syn("10.0.0.3", "10.0.0.100", 2);
        for (at, value, why) in [
            (20, 0x20, "more fragments"),
            (21, 1, "a later fragment"),
            (23, 17, "UDP"),
            (14, 0x44, "no header"),
            (14, 0x65, "version"),
            (17, 200, "too short"),
        ] {
            let mut frame = whole.clone();
            frame[at] = value;
            assert_eq!(read_syn(&frame), None, "{why}");
        }
    }

    #[test]
    fn a_forwarded_frame_is_the_same_packet_with_a_right_checksum() {
        let to_mac = [2, 0, 0, 0, 0, 5];
        for (from, to) in SYNS {
            let frame = syn(from, to, 2);
            let sent = forwarded(&frame, to_mac).expect("a SYN");
            assert_eq!((&sent[..6], &sent[6..12]), (&to_mac[..], &MAC[..]));
            let field = frame.len() - 4..frame.len() - 2;
            assert_eq!(
                (&sent[12..field.start], &sent[field.end..]),
                (&frame[12..field.start], &frame[field.end..])
            );
            let addresses = frame.len() - 20 - if from.contains(':') { 32 } else { 8 };
            assert_eq!(
                checksum(sent[addresses..].iter().chain(&[0, 20, 0, TCP])),
                0,
                "right"
            );
            assert_eq!(
                forwarded(&sent, to_mac).expect("a SYN")[12..],
                sent[12..],
                "a right sum stays"
            );
            let mut wrong = frame.clone();
            wrong[field.start] ^= 1;
            assert_eq!(
                forwarded(&wrong, to_mac).expect("a SYN")[12..],
                wrong[12..],
                "a wrong sum stays"
            );
        }
    }

    #[test]
    fn torn_frames_are_nothing() {
        for (from, to) in SYNS {
            let frame = syn(from, to, 2);
            for cut in 0..frame.len() {
                assert_eq!(
                    (read_syn(&frame[..cut]), forwarded(&frame[..cut], MAC)),
                    (None, None)
                );
            }
        }
        for address in ["10.0.0.100", "fd00::64"] {
            for frame in announcements(address.parse().expect("a literal"), MAC) {
                for cut in 0..frame.len() {
                    let _ = (read_arp(&frame[..cut]), read_advertisement(&frame[..cut]));
                }
            }
        }
    }
}
