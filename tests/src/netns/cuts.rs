//! Cuts: frames that the switch drops from one machine to another, by an
//! nftables chain on the bridge. The sender notices nothing, and the observer,
//! who listens where frames enter the switch, still sees what it sends.

use super::{Machine, Topology};
use crate::process::must;

pub(super) fn prepare(switch: &str) {
    nft(
        switch,
        "add table bridge cuts\nadd chain bridge cuts forward { type filter hook forward priority 0; }\n",
    );
}

impl Topology {
    /// Drops frames from each of `from` to each of `to`; the other direction stays.
    pub fn cut_one_way(&self, from: &[&Machine], to: &[&Machine]) {
        nft(&self.switch, &rules(from, to));
    }

    /// Drops frames between the two sides, in both directions, in one transaction.
    pub fn cut(&self, one: &[&Machine], other: &[&Machine]) {
        nft(&self.switch, &(rules(one, other) + &rules(other, one)));
    }

    /// Cuts one node from all other nodes; clients still reach everyone.
    pub fn cut_from_peers(&self, number: u8) {
        let others: Vec<_> = self
            .nodes
            .iter()
            .filter(|node| node.number != number)
            .collect();
        self.cut(&[self.node(number)], &others);
    }

    /// Takes all cuts away.
    pub fn heal(&self) {
        nft(&self.switch, "flush chain bridge cuts forward\n");
    }
}

fn rules(from: &[&Machine], to: &[&Machine]) -> String {
    let pairs = from.iter().flat_map(|a| to.iter().map(move |b| (a, b)));
    pairs
        .map(|(a, b)| {
            format!(
                "add rule bridge cuts forward iifname {} oifname {} drop\n",
                a.port(),
                b.port()
            )
        })
        .collect()
}

fn nft(switch: &str, script: &str) {
    must(&["ip", "netns", "exec", switch, "nft", "-f", "-"], script);
}
