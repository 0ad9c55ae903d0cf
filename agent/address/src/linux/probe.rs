//! Duplicate detection: does another machine answer for an address?

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::clock::boot_now;
use super::frames::{Claim, Mac, question, read_advertisement, read_arp};
use super::links::Link;
use super::packet::{Hears, PacketSocket};

type Read = fn(&[u8]) -> Option<Claim>;

/// The question is asked this often within the wait, for frames get lost.
const QUESTIONS: u32 = 3;
/// Between looks at the clock.
const PATIENCE: Duration = Duration::from_millis(10);

/// Asks on `link` and waits; the hardware address of whoever else claims `address` meanwhile.
pub(super) fn ask(
    link: &Link,
    links: &[Link],
    address: IpAddr,
    wait: Duration,
) -> io::Result<Option<Mac>> {
    let Some(mac) = link.mac else {
        return Ok(None);
    };
    let (hears, read): (Hears, Read) = match address {
        IpAddr::V4(_) => (Hears::Arp, read_arp),
        IpAddr::V6(_) => (Hears::Advertisements, read_advertisement),
    };
    let socket = PacketSocket::open(hears, Some(PATIENCE))?;
    let start = boot_now();
    let mut asked = 0;
    let mut buffer = [0; 256];
    loop {
        let now = boot_now();
        if now >= start + wait {
            return Ok(None);
        }
        if asked < QUESTIONS && now >= start + wait * asked / QUESTIONS {
            socket.send(link.index, &question(address, mac))?;
            asked += 1;
        }
        let (index, frame) = match socket.receive(&mut buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let claim = read(frame).filter(|c| index == link.index && c.address == address);
        if let Some(claim) = claim.filter(|c| !links.iter().any(|l| l.mac == Some(c.mac))) {
            return Ok(Some(claim.mac));
        }
    }
}
