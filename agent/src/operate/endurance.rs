//! How much may fail: who may die, who must not, and what an acknowledgement is worth at the moment.

use super::Operations;
use super::status::Seen;
use ha_core::controller::Endurance;
use ha_core::state::Facts;
use ha_proto::control as pb;

impl Operations {
    /// As the leader sees it; `None` where who answers does not lead.
    pub(super) fn endurance(&self, facts: &Facts, seen: &Seen) -> Option<pb::Endurance> {
        let endures = seen.endurance.as_ref()?;
        let names = endures.critical.iter().map(|n| facts.node_name(*n));
        let one_disk = endures.alone && self.consensus.acknowledges_alone();
        Some(pb::Endurance {
            deaths: u32::try_from(endures.deaths).unwrap_or(u32::MAX),
            critical: names.collect(),
            one_disk,
            one_disk_entries: self.consensus.acknowledged_alone(),
            text: words(facts, endures, one_disk),
        })
    }
}

fn words(facts: &Facts, endures: &Endurance, one_disk: bool) -> String {
    let names: Vec<String> = endures
        .critical
        .iter()
        .map(|n| facts.node_name(*n))
        .collect();
    let who = match (endures.deaths, names.as_slice()) {
        (0, [only]) if facts.members.len() == 1 => format!("{only} is the only node"),
        (0, [only]) => format!("{only} votes alone: it must not die, the others may"),
        (0, _) => format!("none of {} may die", names.join(", ")),
        (1, _) => "any one node may die".to_owned(),
        (n, _) => format!("any {n} nodes may die"),
    };
    let disk = if one_disk {
        "; what is acknowledged is on one disk"
    } else {
        ""
    };
    format!("{who}{disk}")
}
