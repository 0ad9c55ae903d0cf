//! When and how neighbours are told where a held address is.
//!
//! Every second for 10 s after the claim and after whatever may have misled neighbours (another machine's claim, a
//! link that came up, a new hardware address), at once when that happens, then every 2 s: who was told something
//! else finds the holder again within 2.5 s. Keepalived calls this `garp_master_refresh`.

use std::io;
use std::time::Duration;

use super::frames::announcements;
use super::links::Link;
use super::packet::PacketSocket;
use super::place::Placed;

const OFTEN: Duration = Duration::from_secs(1);
const OFTEN_FOR: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(2);

/// The timetable of one hold. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timetable {
    claimed: Duration,
    /// When neighbours may last have been misled.
    doubted: Duration,
    due: Duration,
}

impl Timetable {
    /// A hold that begins now; the first announcement is due now.
    pub(super) fn claimed(now: Duration) -> Self {
        Self {
            claimed: now,
            doubted: now,
            due: now,
        }
    }

    /// How long the hold has lasted.
    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.claimed)
    }

    /// When the next announcement is due.
    pub(super) fn due(&self) -> Duration {
        self.due
    }

    /// Takes note that an announcement went out.
    pub(super) fn announced(&mut self, now: Duration) {
        let is_doubted = now < self.doubted + OFTEN_FOR;
        self.due = now + if is_doubted { OFTEN } else { EVERY };
    }

    /// Somebody may have told the neighbours something else.
    pub(super) fn doubt(&mut self, now: Duration) {
        self.doubted = now;
        self.due = now;
    }
}

/// Announces one address. An interface without hardware addresses needs none; one without carrier
/// gets it when the link is up.
pub(super) fn announce(socket: &PacketSocket, placed: &Placed, links: &[Link]) -> io::Result<()> {
    let link = links.iter().find(|l| l.index == placed.index && l.carrier);
    let Some(mac) = link.and_then(|l| l.mac) else {
        return Ok(());
    };
    for frame in announcements(placed.address, mac) {
        socket.send(placed.index, &frame)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_while_neighbours_may_be_misled_and_then_every_2_s() {
        let start = Duration::from_secs(100);
        let mut table = Timetable::claimed(start);
        let mut sent = Vec::new();
        for _ in 0..13 {
            let now = table.due();
            sent.push((now - start).as_secs());
            table.announced(now);
        }
        assert_eq!(sent, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14]);
        let doubted = start + Duration::from_millis(14_700);
        table.doubt(doubted);
        assert_eq!(table.due(), doubted, "at once");
        for _ in 0..10 {
            table.announced(table.due());
        }
        let last_of_often = doubted + OFTEN_FOR;
        assert_eq!(table.due(), last_of_often);
        table.announced(table.due());
        assert_eq!(table.due(), last_of_often + EVERY);
    }
}
