//! The lease is asked for and the hold that rests on it begins, goes on and ends.

use super::{Action, Controller, DropReason, Holding};
use crate::command::Command;
use crate::id::Epoch;
use crate::lease::Lease;
use crate::model::Role;
use crate::time::Instant;

impl Controller {
    pub(super) fn send_lease(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if now < self.next_lease || !self.asks_for_promises(now) {
            return;
        }
        self.next_lease = now + self.settings.lease_every;
        // Learners are asked too: one that promises itself can become a voter without costing the lease.
        let to = self
            .other_voters()
            .chain(self.raft.learners.iter().copied())
            .collect();
        actions.push(Action::SendLease {
            lease: Lease {
                term: self.raft.term,
                sent: now,
            },
            to,
        });
    }

    pub(super) fn regulate_hold(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let until = self
            .hold
            .until(&self.raft.voters, self.settings.lease)
            .filter(|u| *u > now);
        if until.is_some() {
            self.quorum_seen = now;
        }
        let Some(until) = until else {
            return self.stop_holding(DropReason::LeaseRanOut, actions);
        };
        if !self.may_hold() {
            return self.stop_holding(DropReason::NotEligible, actions);
        }
        let epoch = Epoch(self.raft.term);
        match &mut self.holding {
            Some(h) if h.epoch == epoch => {
                if until > h.until {
                    h.until = until;
                    actions.push(Action::Hold { epoch, until });
                }
            }
            _ => {
                self.holding = Some(Holding {
                    epoch,
                    until,
                    since: now,
                });
                actions.push(Action::Hold { epoch, until });
                actions.push(Action::Refresh);
                let reason = self.reason_for_log();
                actions.push(Action::Propose(Command::Holder {
                    node: self.settings.me,
                    epoch,
                    reason,
                }));
            }
        }
    }

    /// A leader may hold once it has applied its first own entry: then it knows everything that was acknowledged.
    /// Who holds already and cannot serve any more hands over, in order; it does not let go by itself.
    fn may_hold(&self) -> bool {
        self.settings.role == Role::Server
            && self.raft.applied_term == self.raft.term
            && self.handover.is_none()
            && (self.own.eligible || self.holding.is_some() || self.last_successor().is_none())
    }

    fn reason_for_log(&self) -> String {
        match self.previous_leader {
            Some(old) if self.facts.members.contains_key(&old) => {
                let heard = self.hold.heard(old).is_some();
                let what = if heard {
                    "handed over or lost leadership"
                } else {
                    "does not answer"
                };
                format!(
                    "elected in term {}, {} {what}",
                    self.raft.term,
                    self.facts.node_name(old)
                )
            }
            _ => format!("elected in term {}", self.raft.term),
        }
    }

    pub(super) fn stop_holding(&mut self, why: DropReason, actions: &mut Vec<Action>) {
        if self.holding.take().is_some() {
            self.drop_addresses(why, actions);
        }
    }

    pub(super) fn drop_addresses(&mut self, why: DropReason, actions: &mut Vec<Action>) {
        self.drops += 1;
        actions.push(Action::Drop {
            why,
            number: self.drops,
        });
    }
}
