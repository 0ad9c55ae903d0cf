//! Everything that leaves and reaches a machine on the wire, by tcpdump, and what it was.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::netns::Machine;
use crate::process::Process;
use crate::wait;

pub struct Capture {
    tcpdump: Process,
    file: PathBuf,
}

/// The bytes that went one way on one connection.
pub type Flow = (SocketAddr, SocketAddr);

#[derive(Debug, Default)]
pub struct Captured {
    pub frames: usize,
    /// Payload of each TCP flow, in order and without repetitions.
    pub tcp: BTreeMap<Flow, Vec<u8>>,
    /// UDP datagrams, by where they went.
    pub udp: BTreeMap<Flow, usize>,
}

impl Capture {
    /// Captures all of `eth0` of a machine, from before this returns.
    pub fn start(machine: &Machine) -> Capture {
        let file = machine.dir().join("wire.pcap");
        let words = [
            "-i",
            "eth0",
            "-U",
            "-s",
            "0",
            "-B",
            "16384",
            "-w",
            &file.to_string_lossy(),
        ]
        .map(str::to_owned);
        let tcpdump = machine.spawn(
            "tcpdump",
            "tcpdump",
            &words.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        wait::until("tcpdump to listen", Duration::from_secs(10), || {
            if tcpdump.tail().contains("listening on") {
                Ok(())
            } else {
                Err(tcpdump.tail())
            }
        });
        Capture { tcpdump, file }
    }

    /// Ends it; fails when the kernel dropped frames before they were written.
    pub fn finish(mut self) -> Captured {
        self.tcpdump.terminate(Duration::from_secs(10));
        let said = self.tcpdump.tail();
        assert!(
            said.contains("0 packets dropped by kernel"),
            "the capture is not whole: {said}"
        );
        read(&std::fs::read(&self.file).expect("tcpdump wrote a file"))
    }
}

/// Reads a pcap file of Ethernet frames.
fn read(file: &[u8]) -> Captured {
    assert_eq!(
        file[..4],
        [0xd4, 0xc3, 0xb2, 0xa1],
        "a pcap file of this byte order"
    );
    let (mut captured, mut at) = (Captured::default(), 24);
    // Next sequence number of each flow, to drop what is sent again.
    let mut next: BTreeMap<Flow, u32> = BTreeMap::new();
    while at + 16 <= file.len() {
        let length =
            u32::from_le_bytes(file[at + 8..at + 12].try_into().expect("four bytes")) as usize;
        let frame = &file[at + 16..at + 16 + length];
        at += 16 + length;
        captured.frames += 1;
        let Some((protocol, from, to, payload)) = ip(frame) else {
            continue;
        };
        match protocol {
            6 => tcp(&mut captured, &mut next, from, to, payload),
            17 => {
                let port = |i| u16::from_be_bytes([payload[i], payload[i + 1]]);
                *captured
                    .udp
                    .entry((SocketAddr::new(from, port(0)), SocketAddr::new(to, port(2))))
                    .or_default() += 1;
            }
            _ => {}
        }
    }
    captured
}

fn ip(frame: &[u8]) -> Option<(u8, IpAddr, IpAddr, &[u8])> {
    let packet = frame.get(14..)?;
    match frame[12..14] {
        [0x08, 0x00] => {
            let (header, total) = (
                usize::from(packet[0] & 15) * 4,
                usize::from(u16::from_be_bytes([packet[2], packet[3]])),
            );
            let v4 = |i: usize| {
                IpAddr::V4(Ipv4Addr::new(
                    packet[i],
                    packet[i + 1],
                    packet[i + 2],
                    packet[i + 3],
                ))
            };
            Some((packet[9], v4(12), v4(16), packet.get(header..total)?))
        }
        [0x86, 0xdd] => {
            let v6 = |i: usize| {
                IpAddr::V6(Ipv6Addr::from(
                    <[u8; 16]>::try_from(&packet[i..i + 16]).expect("sixteen bytes"),
                ))
            };
            let total = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            Some((packet[6], v6(8), v6(24), packet.get(40..total)?))
        }
        _ => None,
    }
}

fn tcp(
    captured: &mut Captured,
    next: &mut BTreeMap<Flow, u32>,
    from: IpAddr,
    to: IpAddr,
    segment: &[u8],
) {
    let port = |i| u16::from_be_bytes([segment[i], segment[i + 1]]);
    let flow = (SocketAddr::new(from, port(0)), SocketAddr::new(to, port(2)));
    let sequence = u32::from_be_bytes(segment[4..8].try_into().expect("four bytes"));
    let (payload, syn) = (
        &segment[usize::from(segment[12] >> 4) * 4..],
        segment[13] & 2 != 0,
    );
    if syn {
        // A port that is used again begins another connection: told apart by where its bytes begin.
        next.insert(flow, sequence.wrapping_add(1));
        return;
    }
    let Some(expected) = next.get_mut(&flow) else {
        return;
    };
    let known = expected.wrapping_sub(sequence) as usize;
    if payload.len() > known && known < 1 << 30 {
        captured
            .tcp
            .entry(flow)
            .or_default()
            .extend_from_slice(&payload[known..]);
        *expected = sequence.wrapping_add(payload.len() as u32);
    }
}

/// What is no TLS record in a flow: where, and the bytes there. A record that was cut off by the end is one.
pub fn not_tls(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let [kind, major, minor, high, low, ..] = *rest else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(20..=23).contains(&kind)
            || major != 3
            || !(1..=3).contains(&minor)
            || length > (1 << 14) + 256
        {
            return Some((at, rest[..rest.len().min(64)].to_vec()));
        }
        at += 5 + length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_from_anything_else() {
        let record = |kind: u8, body: &[u8]| [&[kind, 3, 3, 0, body.len() as u8], body].concat();
        let good = [
            record(22, b"hello"),
            record(20, b"\x01"),
            record(23, b"sealed"),
        ]
        .concat();
        assert_eq!(not_tls(&good), None);
        assert_eq!(not_tls(&good[..good.len() - 3]), None, "cut off");
        assert_eq!(
            not_tls(b"PRI * HTTP/2.0\r\n\r\n").map(|(at, _)| at),
            Some(0)
        );
        assert_eq!(
            not_tls(&[good.clone(), b"state".to_vec()].concat()).map(|(at, _)| at),
            Some(good.len())
        );
    }
}
