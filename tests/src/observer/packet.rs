//! What counts as a sign that a machine answers for an address. Pure.

use std::net::IpAddr;

/// One frame in which a machine answers for a virtual IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sign {
    pub address: IpAddr,
    /// Who sent the frame.
    pub mac: [u8; 6],
    /// True for ARP and neighbour advertisements, false for traffic.
    pub claim: bool,
    /// What it was, for messages.
    pub kind: &'static str,
}

/// Reads an Ethernet frame (its first 128 bytes are enough).
pub fn sign(frame: &[u8], addresses: &[IpAddr]) -> Option<Sign> {
    let mac = frame.get(6..12)?.try_into().ok()?;
    let body = frame.get(14..)?;
    let (address, claim, kind) = match frame.get(12..14)? {
        [0x08, 0x06] => (ipv4(body.get(14..18)?)?, true, arp_kind(body)),
        [0x08, 0x00] => (ipv4(body.get(12..16)?)?, false, "ip packet"),
        [0x86, 0xdd] => six(body)?,
        _ => return None,
    };
    addresses.contains(&address).then_some(Sign {
        address,
        mac,
        claim,
        kind,
    })
}

fn six(body: &[u8]) -> Option<(IpAddr, bool, &'static str)> {
    let advertisement = body.get(6) == Some(&58) && body.get(40) == Some(&136);
    match advertisement {
        true => Some((ipv6(body.get(48..64)?)?, true, "neighbour advertisement")),
        false => Some((ipv6(body.get(8..24)?)?, false, "ipv6 packet")),
    }
}

fn arp_kind(body: &[u8]) -> &'static str {
    let announcement = body.get(14..18) == body.get(24..28);
    match (body.get(7), announcement) {
        (Some(1), true) => "arp announcement",
        (Some(1), false) => "arp request from the address",
        _ => "arp reply",
    }
}

fn ipv4(bytes: &[u8]) -> Option<IpAddr> {
    Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

fn ipv6(bytes: &[u8]) -> Option<IpAddr> {
    Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: [u8; 4] = [10, 77, 0, 100];

    #[test]
    fn a_reply_an_announcement_and_traffic_are_signs_and_a_probe_is_not() {
        let rows = [
            (2, VIP, [10, 77, 0, 201], Some("arp reply")),
            (1, VIP, VIP, Some("arp announcement")),
            (1, [0; 4], VIP, None),
            (1, [10, 77, 0, 201], VIP, None),
        ];
        for (operation, sender, target, expected) in rows {
            let seen = sign(&arp(operation, sender, target), &[IpAddr::from(VIP)]);
            assert_eq!(
                seen.map(|sign| sign.kind),
                expected,
                "{operation} {sender:?} {target:?}"
            );
        }
    }

    #[test]
    fn an_advertisement_counts_for_its_target_not_for_its_sender() {
        let vip: IpAddr = "fd77::100".parse().unwrap();
        let IpAddr::V6(six) = vip else { unreachable!() };
        let mut frame = vec![0; 14 + 64];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14 + 6] = 58;
        frame[14 + 40] = 136;
        frame[14 + 48..].copy_from_slice(&six.octets());
        assert_eq!(sign(&frame, &[vip]).map(|sign| sign.claim), Some(true));
    }

    #[test]
    fn a_cut_frame_is_no_sign() {
        let whole = arp(2, VIP, VIP);
        for length in 0..whole.len() - 10 {
            assert_eq!(
                sign(&whole[..length], &[IpAddr::from(VIP)]),
                None,
                "length {length}"
            );
        }
    }

    fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0xff; 12];
        frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend([2, 0x77, 0, 0, 1, 1]);
        frame.extend(sender);
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    }
}
