//! Ethernet frames of ARP and neighbour discovery: built, and read without trust. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) type Mac = [u8; 6];

const BROADCAST: Mac = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
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
    (!sender.is_unspecified()).then_some(Claim { address: IpAddr::V4(sender), mac: [arp[8], arp[9], arp[10], arp[11], arp[12], arp[13]] })
}

/// Reads a neighbour advertisement.
pub(super) fn read_advertisement(frame: &[u8]) -> Option<Claim> {
    let ip: &[u8; 40] = frame.get(14..)?.first_chunk()?;
    let icmp: &[u8; 24] = frame.get(54..)?.first_chunk()?;
    // Hop limit 255: it came from this link and was not routed here.
    if frame[12..14] != [0x86, 0xdd] || ip[6] != ICMPV6 || ip[7] != 255 || icmp[0] != ADVERTISEMENT {
        return None;
    }
    let target: &[u8; 16] = icmp[8..].first_chunk()?;
    let option = frame.get(78..86).filter(|o| o[0] == TARGET_LINK_ADDRESS && o[1] == 1);
    let mac = option.map_or(&frame[6..12], |o| &o[2..8]);
    Some(Claim { address: IpAddr::V6(Ipv6Addr::from(*target)), mac: *mac.first_chunk()? })
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
    icmpv6([0x33, 0x33, 0xff, a, b, c], mac, Ipv6Addr::UNSPECIFIED, group, body)
}

fn icmpv6(to_mac: Mac, from_mac: Mac, from: Ipv6Addr, to: Ipv6Addr, mut body: Vec<u8>) -> Vec<u8> {
    let length = [0, body.len() as u8];
    let pseudo = [&from.octets()[..], &to.octets(), &[0, 0], &length, &[0, 0, 0, ICMPV6]].concat();
    let sum = checksum(pseudo.iter().chain(&body));
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    [&to_mac[..], &from_mac, &[0x86, 0xdd, 0x60, 0, 0, 0], &length, &[ICMPV6, 255], &from.octets(), &to.octets(), &body].concat()
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

    #[test]
    fn torn_frames_are_nothing() {
        for address in ["10.0.0.100", "fd00::64"] {
            for frame in announcements(address.parse().expect("a literal"), MAC) {
                for cut in 0..frame.len() {
                    let _ = (read_arp(&frame[..cut]), read_advertisement(&frame[..cut]));
                }
            }
        }
    }
}
