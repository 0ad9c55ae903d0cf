//! Turns events into actions. Decides everything about leading: when to hold, when to hand over,
//! which servers to check, which drains have ended. Does nothing itself.
//!
//! ```text
//!   not leading --elected--> asking for promises --quorum, log applied--> holding
//!        ^                        |    ^                                     |
//!        |                        |    +------- lease ran out ---------------+
//!        +--- another leads ------+--- handover: drop, release, transfer ----+
//! ```
//!
//! Being leader is never by itself a reason to act: only a lease that a quorum promised is.

mod action;
mod answers;
mod campaign;
mod checks;
mod drains;
mod event;
mod handover;
mod hold;
mod membership;
mod regulate;
mod settings;
mod succession;
mod suspicion;
#[cfg(test)]
mod tests;
mod upgrade;
mod voters;

pub use action::{Action, DropReason};
pub use event::{Event, NodeReport, Purpose, RaftNews, RaftRole, Stalls};
pub use handover::HandoverReason;
pub use settings::{ACTIVATE_AFTER, ControllerSettings, LOG_STALL_MAX, STEADY_FOR, VOTERS_MAX};
pub use voters::{Behind, Endurance};

use crate::id::{Epoch, NodeId, ServerId};
use crate::lease::{Hold, Refusal};
use crate::state::Facts;
use crate::time::{Instant, Timestamp};
use crate::view::Overlay;
use campaign::Campaign;
use checks::Checks;
use drains::Drains;
use handover::Handover;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use suspicion::Suspicion;
use upgrade::Upgrade;
use voters::Voters;

/// The decisions of one node.
#[derive(Debug)]
pub struct Controller {
    settings: ControllerSettings,
    raft: RaftNews,
    facts: Arc<Facts>,
    own: NodeReport,
    hold: Hold,
    holding: Option<Holding>,
    handover: Option<Handover>,
    drops: u64,
    next_lease: Instant,
    led_since: Instant,
    quorum_seen: Instant,
    log_moved: Instant,
    reports: BTreeMap<NodeId, NodeReport>,
    checks: Checks,
    drains: Drains,
    upgrade: Upgrade,
    suspicion: Suspicion,
    campaign: Campaign,
    /// As the last view had them.
    suspects: BTreeSet<ServerId>,
    /// Nodes that were silent at the last look.
    silent: BTreeSet<NodeId>,
    previous_leader: Option<NodeId>,
    voters: Voters,
    /// Since when the membership has been joint under this leader, or was last asked to be settled.
    joint_since: Option<Instant>,
    preferred_since: Option<Instant>,
}

/// The address is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    pub epoch: Epoch,
    /// The right ends then, whatever comes.
    pub until: Instant,
    pub since: Instant,
}

impl Controller {
    /// A node that knows nothing yet.
    pub fn new(settings: ControllerSettings, now: Instant) -> Self {
        Controller {
            settings,
            raft: RaftNews::default(),
            facts: Arc::default(),
            own: NodeReport::default(),
            hold: Hold::default(),
            holding: None,
            handover: None,
            drops: 0,
            next_lease: now,
            led_since: now,
            quorum_seen: now,
            log_moved: now,
            reports: BTreeMap::new(),
            checks: Checks::default(),
            drains: Drains::default(),
            upgrade: Upgrade::default(),
            suspicion: Suspicion::default(),
            campaign: Campaign::default(),
            suspects: BTreeSet::new(),
            silent: BTreeSet::new(),
            previous_leader: None,
            voters: Voters::default(),
            joint_since: None,
            preferred_since: None,
        }
    }

    /// Takes one piece of news and says what is to be done about it.
    pub fn step(&mut self, now: Instant, wall: Timestamp, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Tick => {}
            Event::Raft(news) => self.on_raft(now, news, &mut actions),
            Event::Applied(facts) => self.on_applied(now, facts),
            Event::LeaseAnswered {
                from,
                lease,
                result,
                report,
            } => {
                if result.is_ok() {
                    self.hold.on_acknowledged(from, lease);
                }
                if lease.term == self.raft.term && from != self.settings.me {
                    let report = report.bounded();
                    self.checks.on_report(now, &report.down);
                    // One that has just started refuses votes for one promise: an address that is handed to it
                    // would be nobody's for so long.
                    if result == Err(Refusal::JustStarted) {
                        self.reports.remove(&from);
                    } else {
                        self.reports.insert(from, report);
                    }
                }
            }
            Event::ReleaseAnswered { from, release } => {
                if let Some(h) = &mut self.handover {
                    h.on_release_answered(from, release);
                }
            }
            Event::Dropped { number } => {
                if let Some(h) = &mut self.handover {
                    h.on_dropped(number);
                }
            }
            Event::Promised { to } => {
                self.suspicion.on_promised(now, to);
                // Nothing is to be done about it; what its absence means is found by time.
                return actions;
            }
            Event::Checked {
                server,
                purpose: Purpose::Suspicion,
                result,
            } => {
                if self.suspicion.on_checked(now, server, result) {
                    actions.push(Action::Refresh);
                }
                self.on_suspect_looked_at(server, result, &mut actions);
            }
            Event::Checked {
                server,
                purpose: Purpose::Scheduled,
                result,
            } => self.on_checked(now, server, result, &mut actions),
            Event::ConnectFailed(server) => {
                if let Some(result) = self.checks.on_connect_failed(&self.facts, server) {
                    self.on_checked(now, server, result, &mut actions);
                }
            }
            Event::ConnectWorked(server) => self.checks.on_connect_worked(server),
            Event::Own(report) => self.own = report,
            Event::Sessions(counts) => self.drains.on_sessions(counts),
            Event::MoveLeader { to, reason } => self.start_handover(now, to, reason, &mut actions),
        }
        let silent_before = self.look_for_silence();
        self.regulate(now, wall, &mut actions);
        self.note_silence(now, silent_before, &mut actions);
        actions
    }

    /// When [`Event::Tick`] is wanted at the latest.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        let mut at = now + Duration::from_millis(250);
        if self.leads() && self.asks_for_promises(now) {
            at = at.min(self.next_lease);
        }
        if let Some(h) = self.holding {
            at = self.checks.next_due(at.min(h.until));
        }
        if let Some(h) = &self.handover {
            at = at.min(h.next_deadline());
        }
        if let Some(try_at) = campaign::next_deadline(
            now,
            self.suspicion.heard_leader(),
            &self.settings,
            &self.raft,
        ) {
            at = at.min(try_at);
        }
        at.min(self.suspicion.next_deadline(now, self.settings.promise))
    }

    /// Whether and until when this node holds.
    pub const fn holding(&self) -> Option<Holding> {
        self.holding
    }

    /// The replicated state as the controller knows it.
    pub const fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    /// Consensus as the controller knows it.
    pub const fn raft(&self) -> &RaftNews {
        &self.raft
    }

    /// What is known here and not in the log: for the view.
    pub fn overlay(&self) -> Overlay {
        let health = if self.leads() {
            self.checks.up_by_server()
        } else {
            BTreeMap::new()
        };
        Overlay {
            suspects: self.suspicion.suspects(&self.facts, &self.unreachable()),
            health,
        }
    }

    /// HAProxy's words for the health of a server, as the checks of this node stand.
    pub fn check_words(&self, server: ServerId) -> Option<(String, String)> {
        self.checks.words(server)
    }

    /// How each node was when it last answered a `Lease` of this term.
    pub fn report_of(&self, node: NodeId) -> Option<&NodeReport> {
        if node == self.settings.me {
            Some(&self.own)
        } else {
            self.reports.get(&node)
        }
    }

    /// Nodes that the leader does not hear.
    pub fn unreachable(&self) -> BTreeSet<NodeId> {
        self.silent_nodes().collect()
    }

    pub const fn me(&self) -> NodeId {
        self.settings.me
    }

    /// When this node last knew of a majority: that promised itself to it, or whose leader it heard.
    pub fn last_in_touch(&self) -> Instant {
        let heard = self.suspicion.heard_leader().map(|(_, at)| at);
        heard.map_or(self.quorum_seen, |at| at.max(self.quorum_seen))
    }

    /// Whether that is too long ago for an election or a handover to explain it.
    pub fn is_out_of_touch(&self, now: Instant) -> bool {
        now.saturating_since(self.last_in_touch()) > self.settings.promise * 2
    }

    /// Whether a handover is under way, and to whom.
    pub fn handing_over_to(&self) -> Option<NodeId> {
        self.handover.as_ref().map(Handover::target)
    }

    fn leads(&self) -> bool {
        self.raft.role == RaftRole::Leader
    }
}
