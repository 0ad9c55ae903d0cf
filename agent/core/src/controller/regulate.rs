//! What is looked at after every event, in which order; and where the address should be.

use super::{Action, Checks, Controller, DropReason, Handover, HandoverReason, RaftNews};
use crate::check::CheckResult;
use crate::command::{Command, HealthChange};
use crate::id::{NodeId, ServerId};
use crate::lease::Hold;
use crate::model::{AdminState, Failback, Role};
use crate::placement;
use crate::state::Facts;
use crate::time::{Instant, Timestamp};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A node that has just become leader does not hand over for reasons of preference before this.
const SETTLE: Duration = Duration::from_secs(2);

impl Controller {
    pub(super) fn on_raft(&mut self, now: Instant, news: RaftNews, actions: &mut Vec<Action>) {
        let was_leader = self.leads();
        let new_term = news.term != self.raft.term;
        if let Some(leader) = news.leader.filter(|l| *l != self.settings.me) {
            self.previous_leader = Some(leader);
        }
        let log_moves = news.committed != self.raft.committed || news.committed >= news.last_log;
        if log_moves || new_term || self.raft.committed >= self.raft.last_log {
            self.log_moved = now;
        }
        self.raft = news;
        if new_term || was_leader != self.leads() {
            self.hold = Hold::new(self.raft.term);
            self.handover = None;
            self.reports.clear();
        }
        if self.leads() && (!was_leader || new_term) {
            (
                self.led_since,
                self.quorum_seen,
                self.log_moved,
                self.next_lease,
            ) = (now, now, now, now);
            self.checks = Checks::taking_over(&self.facts, now);
            self.drains.reset();
            self.preferred_since = None;
            self.joint_since = None;
            self.begin_voters();
            actions.push(Action::Refresh);
        }
        if !self.leads() {
            self.stop_holding(DropReason::NotLeader, actions);
        }
    }

    pub(super) fn on_applied(&mut self, now: Instant, facts: Arc<Facts>) {
        self.facts = facts;
        if self.leads() {
            self.checks.follow(&self.facts, now);
        }
    }

    pub(super) fn on_checked(
        &mut self,
        now: Instant,
        server: ServerId,
        result: CheckResult,
        actions: &mut Vec<Action>,
    ) {
        let change = self.checks.on_checked(now, server, result);
        note_health(change, actions);
    }

    /// A failed look at a server whose node is silent is a failed check; one that passed only clears it of suspicion.
    pub(super) fn on_suspect_looked_at(
        &mut self,
        server: ServerId,
        result: CheckResult,
        actions: &mut Vec<Action>,
    ) {
        let place = placement::of(&self.facts, server);
        let counts = place.is_some_and(|p| {
            let admin = self.facts.effective_admin(server, p.node_id()).state;
            let silent = p.node_id().is_some_and(|n| self.silent.contains(&n));
            silent && p.is_checked() && admin != AdminState::Maintenance
        });
        if counts && self.holding.is_some() && result != CheckResult::Passed {
            let change = self.checks.on_suspect_failed(server, result);
            note_health(change, actions);
        }
    }

    pub(super) fn regulate(&mut self, now: Instant, wall: Timestamp, actions: &mut Vec<Action>) {
        self.suspicion.watch(
            now,
            &self.settings,
            &self.facts,
            self.raft.leader,
            &self.silent,
            actions,
        );
        if !self.leads() {
            if self.own.eligible
                && self.campaign.is_due(
                    now,
                    self.suspicion.heard_leader(),
                    &self.settings,
                    &self.raft,
                    &self.facts,
                )
            {
                actions.push(Action::Campaign);
            }
            return;
        }
        self.send_lease(now, actions);
        self.regulate_hold(now, actions);
        self.regulate_handover(now, actions);
        if self.holding.is_some() {
            self.checks.start_due(now, &self.facts, actions);
            self.drains.regulate(now, wall, &self.facts, actions);
            self.regulate_versions(now, actions);
        } else {
            self.upgrade.reset();
        }
        if self.handover.is_none() {
            self.look_for_reasons_to_move(now, actions);
            self.settle_membership(now, actions);
            self.regulate_voters(now, actions);
        }
    }

    fn regulate_versions(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let (me, own, hold, reports) = (self.settings.me, &self.own, &self.hold, &self.reports);
        let promise = self.settings.promise;
        let heard = |n: NodeId| {
            let lately = |at| now.saturating_since(at) < promise;
            if n == me {
                return Some(own);
            }
            reports
                .get(&n)
                .filter(|_| hold.heard(n).is_some_and(lately))
        };
        let after = self.settings.activate_after;
        let commands = self.upgrade.regulate(now, after, &self.facts, heard);
        actions.extend(commands.into_iter().map(Action::Propose));
    }

    /// Looks who is silent; the set before, if that has changed.
    pub(super) fn look_for_silence(&mut self) -> Option<BTreeSet<NodeId>> {
        // Almost always nothing has changed: no set is made to find that out.
        if self.silent_nodes().eq(self.silent.iter().copied()) {
            return None;
        }
        let silent = self.silent_nodes().collect();
        Some(std::mem::replace(&mut self.silent, silent))
    }

    /// Who fell silent or is heard again changes where clients go, and whom to tell of the address.
    pub(super) fn note_silence(
        &mut self,
        now: Instant,
        before: Option<BTreeSet<NodeId>>,
        actions: &mut Vec<Action>,
    ) {
        let suspects = self.suspicion.suspects(&self.facts, &self.silent);
        if suspects != self.suspects {
            self.suspects = suspects;
            actions.push(Action::Refresh);
        }
        let heard_again = before.unwrap_or_default();
        let heard_again: Vec<NodeId> = heard_again.difference(&self.silent).copied().collect();
        if self.holding.is_some() && !heard_again.is_empty() {
            let servers = placement::on_nodes(&self.facts, heard_again).map(|p| p.id);
            self.checks.look_now(now, servers);
            actions.push(Action::Announce);
        }
    }

    pub(super) fn start_handover(
        &mut self,
        now: Instant,
        to: Option<NodeId>,
        reason: HandoverReason,
        actions: &mut Vec<Action>,
    ) {
        let Some(to) = to.or_else(|| self.best_successor()) else {
            return;
        };
        if !self.leads()
            || self.handover.is_some()
            || to == self.settings.me
            || !(self.raft.votes_throughout(to) || self.can_be_given_the_vote(now, to))
        {
            return;
        }
        actions.push(Action::Propose(Command::Note {
            kind: "holder".to_owned(),
            text: format!(
                "{} hands over to {}: {reason}",
                self.facts.node_name(self.settings.me),
                self.facts.node_name(to)
            ),
        }));
        // Also when nothing is held: the order stays drop, release, transfer. What is held is gone at the end
        // of the promise on which it rests, whichever fence ends it.
        let beyond = self.settings.promise.saturating_sub(self.settings.lease);
        let gone = self.holding.take().map_or(now, |h| h.until + beyond);
        self.drop_addresses(DropReason::Handover, actions);
        self.hold.release();
        self.handover = Some(Handover::start(now, to, reason, self.drops, gone));
    }

    fn regulate_handover(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(target) = self.handing_over_to() else {
            return;
        };
        // The library knows no way back from a transfer, and a node that does not vote never wins one. While this node
        // votes alone it can stay; once the vote is on its way it cannot.
        let votes = self.raft.votes_throughout(target);
        let can_vote = votes || (self.is_only_voter() && self.raft.learners.contains(&target));
        let given_up = |h: &Handover| {
            !h.is_transferring()
                && (!(can_vote || h.gives_the_vote())
                    || h.is_refused(now, votes, self.is_only_voter()))
        };
        if self.handover.as_ref().is_some_and(given_up) {
            self.handover = None;
            self.hold = Hold::resumed(self.raft.term, now);
            return;
        }
        let others = self.other_voters().chain([target]).collect();
        if let Some(h) = &mut self.handover {
            h.regulate(
                now,
                self.raft.term,
                self.settings.me,
                &others,
                &self.raft.voters,
                actions,
            );
        }
    }

    fn look_for_reasons_to_move(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let reason = self.reason_to_move(now);
        if let Some((to, reason)) = reason {
            self.start_handover(now, to, reason, actions);
        }
    }

    fn reason_to_move(&mut self, now: Instant) -> Option<(Option<NodeId>, HandoverReason)> {
        let settled = now.saturating_since(self.led_since) > self.settings.promise * 2;
        if self.log_is_stuck(now) {
            return Some((None, HandoverReason::LogStuck));
        }
        if settled
            && now.saturating_since(self.quorum_seen) > self.settings.promise * 2
            && self.successors_known()
        {
            return Some((None, HandoverReason::NoLeaseQuorum));
        }
        if self.raft.applied_term != self.raft.term {
            return None;
        }
        let wanted = if self.settings.role == Role::Witness {
            HandoverReason::Witness
        } else if !self.own.eligible && settled {
            HandoverReason::NotEligible(self.own.why_not.clone())
        } else if let Some(order) = self
            .facts
            .node_admin
            .get(&self.settings.me)
            .filter(|a| a.state == AdminState::Maintenance)
        {
            // What is drained can still forward, and to move the address would reset the sessions on all servers.
            // One in maintenance may as well hold as another that is.
            let to = self
                .last_successor()
                .filter(|to| self.facts.admin_of(*to) < AdminState::Maintenance);
            let (who, node) = (order.by.clone(), self.facts.node_name(self.settings.me));
            return to.map(|to| (Some(to), HandoverReason::Administrative { who, node }));
        } else {
            return self
                .failback(now)
                .map(|to| (Some(to), HandoverReason::Failback));
        };
        self.last_successor().map(|to| (Some(to), wanted))
    }

    fn failback(&mut self, now: Instant) -> Option<NodeId> {
        let Failback::Auto { prefer, hold_down } = &self.facts.config.failback else {
            return None;
        };
        let preferred = self.facts.member_named(prefer)?.id;
        if preferred == self.settings.me
            || !self
                .successors()
                .any(|n| n == preferred && self.facts.may_lead(n))
        {
            self.preferred_since = None;
            return None;
        }
        let since = *self.preferred_since.get_or_insert(now);
        (now.saturating_since(since) >= *hold_down && now.saturating_since(self.led_since) > SETTLE)
            .then_some(preferred)
    }

    fn successors_known(&self) -> bool {
        self.other_voters()
            .any(|n| self.reports.get(&n).is_some_and(|r| r.eligible))
    }

    /// Else there is no next `Lease` to wake up for.
    pub(super) fn asks_for_promises(&self, now: Instant) -> bool {
        !self.hold.is_released() && !self.log_is_stuck(now)
    }

    fn log_is_stuck(&self, now: Instant) -> bool {
        self.raft.committed < self.raft.last_log
            && now.saturating_since(self.log_moved) > self.settings.log_stall_max
    }

    /// Twice while the membership is joint, if it is in both halves.
    pub(super) fn other_voters(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.raft
            .voters
            .iter()
            .flatten()
            .copied()
            .filter(|n| *n != self.settings.me)
    }

    /// Nodes that have not acknowledged a `Lease` for one promise, those that follow without a vote too: there are servers
    /// on them. The old leader counts as silent at once.
    pub(super) fn silent_nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        let listens = self.leads() && !self.hold.is_released();
        let newest = self
            .hold
            .newest(&self.raft.voters)
            .unwrap_or(self.led_since);
        let members = &self.facts.members;
        let learners = self
            .raft
            .learners
            .iter()
            .filter(|n| members.contains_key(n));
        self.other_voters()
            .chain(learners.copied())
            .filter(move |n| {
                listens
                    && match self.hold.heard(*n) {
                        Some(at) => newest.saturating_since(at) >= self.settings.promise,
                        None => {
                            Some(*n) == self.previous_leader
                                || newest.saturating_since(self.led_since) >= self.settings.promise
                        }
                    }
            })
    }
}

fn note_health(change: Option<HealthChange>, actions: &mut Vec<Action>) {
    if let Some(change) = change {
        actions.push(Action::Refresh);
        actions.push(Action::Propose(Command::Health(vec![change])));
    }
}
