//! What the observer concludes: reigns in order, changes of hand, and whether
//! two machines answered at once. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::Log;

/// Signs of one machine for one address, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reign {
    pub address: IpAddr,
    pub mac: [u8; 6],
    /// In which phase of the test.
    pub phase: usize,
    /// Wall-clock time of the first sign.
    pub first: Duration,
    /// Wall-clock time of the last sign.
    pub last: Duration,
    pub signs: u64,
    /// How many of them were ARP or neighbour advertisements.
    pub claims: u64,
    /// What the first one was.
    pub first_kind: &'static str,
}

/// Two machines that answered for one address in one phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub address: IpAddr,
    /// Who answered again after another had begun to.
    pub old: String,
    /// Who had begun to.
    pub new: String,
    /// Last sign of the old machine minus first sign of the new one.
    pub overlap: Duration,
}

/// What was seen until the report was asked for.
#[derive(Clone, Debug)]
pub struct Report {
    /// All reigns, by address and in order.
    pub reigns: BTreeMap<IpAddr, Vec<Reign>>,
    /// Packets that the kernel could not hand over.
    pub lost: u64,
    names: BTreeMap<[u8; 6], String>,
}

impl Report {
    pub(super) fn new(log: &Log, names: &[([u8; 6], String)]) -> Report {
        let mut reigns = BTreeMap::<IpAddr, Vec<Reign>>::new();
        for reign in &log.reigns {
            reigns.entry(reign.address).or_default().push(reign.clone());
        }
        Report {
            reigns,
            lost: log.lost,
            names: names.iter().cloned().collect(),
        }
    }

    /// How often the address changed hands.
    pub fn changes_of_hand(&self, address: IpAddr) -> usize {
        self.of(address)
            .windows(2)
            .filter(|pair| pair[0].mac != pair[1].mac)
            .count()
    }

    /// Who answered last, by name.
    pub fn last_holder(&self, address: IpAddr) -> Option<String> {
        self.of(address).last().map(|reign| self.name(reign.mac))
    }

    /// The silence at each change of hand: last sign of the old to first sign of the new holder.
    pub fn silences(&self, address: IpAddr) -> Vec<Duration> {
        let changes = self
            .of(address)
            .windows(2)
            .filter(|pair| pair[0].mac != pair[1].mac);
        changes
            .map(|pair| pair[1].first.saturating_sub(pair[0].last))
            .collect()
    }

    /// Each pair of machines that answered at once: in one phase, one of them again after the other.
    pub fn violations(&self) -> Vec<Violation> {
        self.reigns
            .iter()
            .flat_map(|(&address, reigns)| self.violations_in(address, reigns))
            .collect()
    }

    /// Panics when two machines answered at once, or when packets were lost to the observer.
    #[track_caller]
    pub fn assert_single_holder(&self) {
        assert_eq!(self.lost, 0, "the observer lost packets: no verdict");
        let violations = self.violations();
        assert!(
            violations.is_empty(),
            "two machines answered for one address: {violations:#?}\n{self}"
        );
    }

    /// As [`Report::assert_single_holder`], and the address changed hands exactly so often.
    #[track_caller]
    pub fn assert_changes_of_hand(&self, address: IpAddr, expected: usize) {
        self.assert_single_holder();
        let seen = self.changes_of_hand(address);
        assert_eq!(seen, expected, "changes of hand of {address}\n{self}");
    }

    fn violations_in(&self, address: IpAddr, reigns: &[Reign]) -> Vec<Violation> {
        let mut found = vec![];
        for (at, again) in reigns.iter().enumerate() {
            let before = &reigns[..at];
            let earlier = before
                .iter()
                .position(|reign| reign.mac == again.mac && reign.phase == again.phase);
            let Some(earlier) = earlier else { continue };
            // Everybody who answered between the two reigns answered at the same time as this one.
            for other in before[earlier..]
                .iter()
                .filter(|reign| reign.mac != again.mac)
            {
                let overlap = again.last.saturating_sub(other.first);
                found.push(Violation {
                    address,
                    old: self.name(again.mac),
                    new: self.name(other.mac),
                    overlap,
                });
            }
        }
        found
    }

    fn of(&self, address: IpAddr) -> &[Reign] {
        self.reigns.get(&address).map_or(&[], Vec::as_slice)
    }

    fn name(&self, mac: [u8; 6]) -> String {
        self.names
            .get(&mac)
            .cloned()
            .unwrap_or_else(|| mac.map(|byte| format!("{byte:02x}")).join(":"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (address, reigns) in &self.reigns {
            let origin = reigns[0].first;
            writeln!(
                f,
                "{address}: who answered, in seconds since the first sign"
            )?;
            for reign in reigns {
                let (from, to) = (
                    (reign.first - origin).as_secs_f64(),
                    reign.last.saturating_sub(origin).as_secs_f64(),
                );
                let (name, signs, claims) = (self.name(reign.mac), reign.signs, reign.claims);
                let (phase, kind) = (reign.phase, reign.first_kind);
                writeln!(
                    f,
                    "  {from:11.6} .. {to:11.6}  {name:9} {signs:6} signs, {claims} claims, first {kind} (phase {phase})"
                )?;
            }
        }
        write!(f, "  packets lost to the observer: {}", self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_change_of_hand_is_no_violation() {
        let report = report(&[(1, 0, 0, 10), (2, 0, 500, 900)]);
        assert_eq!(report.violations(), []);
        assert_eq!(report.changes_of_hand(vip()), 1);
        assert_eq!(report.silences(vip()), [Duration::from_millis(490)]);
    }

    #[test]
    fn a_packet_of_the_old_holder_after_the_new_one_answered_is_a_violation() {
        let report = report(&[
            (1, 0, 0, 10),
            (2, 0, 500, 600),
            (1, 0, 700, 700),
            (2, 0, 701, 900),
        ]);
        let overlaps: Vec<_> = report
            .violations()
            .into_iter()
            .map(|found| (found.old, found.overlap.as_millis()))
            .collect();
        assert_eq!(overlaps, [("node-1".into(), 200), ("node-2".into(), 200)]);
    }

    #[test]
    fn coming_back_in_a_later_phase_is_allowed() {
        let report = report(&[
            (1, 0, 0, 10),
            (2, 0, 20, 30),
            (2, 1, 40, 50),
            (1, 1, 60, 70),
        ]);
        assert_eq!(report.violations(), []);
        assert_eq!(report.changes_of_hand(vip()), 2);
    }

    #[test]
    #[should_panic(expected = "no verdict")]
    fn lost_packets_forbid_a_verdict() {
        Report {
            lost: 1,
            ..report(&[])
        }
        .assert_single_holder();
    }

    fn vip() -> IpAddr {
        IpAddr::from([10, 77, 0, 100])
    }

    fn report(rows: &[(u8, usize, u64, u64)]) -> Report {
        let reign = |&(number, phase, first, last)| Reign {
            address: vip(),
            mac: [2, 0x77, 0, 0, 1, number],
            phase,
            first: Duration::from_millis(first),
            last: Duration::from_millis(last),
            signs: 1,
            claims: 1,
            first_kind: "arp reply",
        };
        let log = Log {
            reigns: rows.iter().map(reign).collect(),
            ..Log::default()
        };
        Report::new(
            &log,
            &[
                ([2, 0x77, 0, 0, 1, 1], "node-1".into()),
                ([2, 0x77, 0, 0, 1, 2], "node-2".into()),
            ],
        )
    }
}
