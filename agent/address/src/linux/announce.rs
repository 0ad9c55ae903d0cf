//! When and how neighbours are told where a held address is.
//!
//! At the claim, 1 s and 5 s later, then every 10 s; at once when asked.

use std::io;
use std::time::Duration;

use super::frames::announcements;
use super::links::Link;
use super::packet::PacketSocket;
use super::place::Placed;

const FIRST_REPEATS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
const EVERY: Duration = Duration::from_secs(10);

/// The timetable of one hold. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timetable {
    claimed: Duration,
    due: Duration,
}

impl Timetable {
    /// A hold that begins now; the first announcement is due now.
    pub(super) fn claimed(now: Duration) -> Self {
        Self {
            claimed: now,
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
        let repeats = FIRST_REPEATS.iter().map(|after| self.claimed + *after);
        self.due = repeats.filter(|at| *at > now).min().unwrap_or(now + EVERY);
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
    fn at_once_after_1_s_after_5_s_then_every_10_s() {
        let start = Duration::from_secs(100);
        let mut table = Timetable::claimed(start);
        let mut sent = Vec::new();
        for _ in 0..5 {
            let now = table.due();
            sent.push((now - start).as_secs());
            table.announced(now);
        }
        assert_eq!(sent, [0, 1, 5, 15, 25]);
    }
}
