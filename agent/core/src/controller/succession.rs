//! Who can hold after this node: ready nodes, for want of one those that are drained, and at last those in maintenance.

use super::Controller;
use crate::id::NodeId;
use crate::model::AdminState;
use std::cmp::Reverse;
use std::collections::BTreeSet;

impl Controller {
    /// The node to which the address would go from here.
    pub fn best_successor(&self) -> Option<NodeId> {
        self.last_successor().filter(|n| self.facts.may_lead(*n))
    }

    /// Where it goes if it cannot stay: when operators want all others out, one of those holds it all the same,
    /// for what is drained can still forward, and an address that nobody holds helps nobody.
    pub fn last_successor(&self) -> Option<NodeId> {
        // The one with the most of the log can take over fastest.
        self.successors().min_by_key(|n| {
            let matched = self.raft.matched.get(n).copied().unwrap_or(0);
            (self.facts.admin_of(*n), Reverse(matched), *n)
        })
    }

    /// Whether an operator may send the address to `node`.
    ///
    /// # Errors
    /// Why it would not come there, or not stay there, and what helps.
    pub fn may_take_over(&self, node: NodeId) -> Result<(), String> {
        let name = self.facts.node_name(node);
        if !self.facts.is_server(node) {
            return Err(format!(
                "{name} is a witness: it votes, but it cannot hold the address"
            ));
        }
        if !self.raft.votes_throughout(node) && !self.is_successor_without_vote(node) {
            return Err(format!(
                "{name} does not vote yet: wait until it has caught up (`ha-cli status`)"
            ));
        }
        self.is_wanted(node, &name)?;
        match self.reports.get(&node) {
            Some(report) if !report.eligible => Err(format!(
                "{name} may not hold the address: {}",
                report.why_not
            )),
            Some(_) if !self.unreachable().contains(&node) => Ok(()),
            _ => Err(format!(
                "{name} does not answer, or has just started: try again in a second"
            )),
        }
    }

    /// Whether no operator wants `node` out, or all others as well.
    fn is_wanted(&self, node: NodeId, name: &str) -> Result<(), String> {
        let Some(order) = self.facts.node_admin.get(&node) else {
            return Ok(());
        };
        let by = match order.by.as_str() {
            "" => String::new(),
            by => format!(" (by {by})"),
        };
        let me = self.settings.me;
        let another_is_ready =
            (self.own.eligible && self.facts.may_lead(me)) || self.best_successor().is_some();
        match order.state {
            AdminState::Maintenance => Err(format!(
                "{name} is in maintenance{by}: it would hand the address back at once. `ha-cli ready {name}` first"
            )),
            AdminState::Drain if another_is_ready => Err(format!(
                "{name} is drained{by}, and another node can hold the address. `ha-cli ready {name}` first"
            )),
            AdminState::Drain | AdminState::Ready => Ok(()),
        }
    }

    /// Nodes that can hold, answer, and say that they may: voters, and where this node votes alone those that it can
    /// give its vote to.
    pub(super) fn successors(&self) -> impl Iterator<Item = NodeId> + '_ {
        let silent = self.unreachable();
        let voters: BTreeSet<NodeId> = self.other_voters().collect();
        let learners = self.raft.learners.iter().copied();
        let could_vote = learners.filter(|n| self.is_successor_without_vote(*n));
        voters
            .into_iter()
            .filter(move |n| !silent.contains(n) && self.raft.votes_throughout(*n))
            .chain(could_vote)
            .filter(|n| self.reports.get(n).is_some_and(|r| r.eligible) && self.facts.is_server(*n))
    }

    /// Whether this node votes alone and `node` follows it closely, by what is newest of it.
    fn is_successor_without_vote(&self, node: NodeId) -> bool {
        let newest = self
            .hold
            .newest(&self.raft.voters)
            .unwrap_or(self.led_since);
        self.can_be_given_the_vote(newest, node)
    }
}
