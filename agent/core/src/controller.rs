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

mod campaign;
mod checks;
mod drains;
mod handover;
mod regulate;
mod suspicion;
#[cfg(test)]
mod tests;
mod upgrade;

pub use handover::HandoverReason;

use crate::check::{CheckResult, Probe};
use crate::command::Command;
use crate::id::{Epoch, NodeId, ServerId};
use crate::lease::{Hold, Lease, Refusal, VoterSets};
use crate::model::Role;
use crate::state::Facts;
use crate::time::{Instant, Timestamp};
use crate::trust::Credentials;
use crate::version::Speaks;
use crate::view::Overlay;
use campaign::Campaign;
use checks::Checks;
use drains::Drains;
use handover::Handover;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use suspicion::Suspicion;
use upgrade::Upgrade;

/// What does not change while a node runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub me: NodeId,
    /// What it is for.
    pub role: Role,
    /// How long a voter stays promised.
    pub promise: Duration,
    /// How long after sending a `Lease` this node may hold on the strength of it.
    pub lease: Duration,
    /// Between two `Lease` messages.
    pub lease_every: Duration,
    /// A leader whose log stands still for so long hands over: longer than any expected disk stall.
    pub log_stall_max: Duration,
    /// As long as there are fewer voters, learners become voters by themselves.
    pub voters_max: usize,
    /// A newer version becomes active once all members have been heard and speak it for so long.
    pub activate_after: Duration,
}

impl Settings {
    /// The product's: a lease of four fifths of the promise, sent six times in its length.
    ///
    /// `lease * (1 + rho) + stop <= promise * (1 - rho)`: four fifths leave 20 % for drift and for stopping.
    pub const fn of(me: NodeId, role: Role, promise: Duration) -> Self {
        let lease = Duration::from_millis(promise.as_millis() as u64 * 4 / 5);
        Settings {
            me,
            role,
            promise,
            lease,
            lease_every: Duration::from_millis(lease.as_millis() as u64 / 6),
            log_stall_max: LOG_STALL_MAX,
            voters_max: VOTERS_MAX,
            activate_after: ACTIVATE_AFTER,
        }
    }
}

/// [`Settings::log_stall_max`] when nothing else is said.
pub const LOG_STALL_MAX: Duration = Duration::from_secs(30);

/// [`Settings::voters_max`] when nothing else is said: three of seven may fail, and every further voter makes each
/// entry and each lease wait for more answers. An operator may promote more.
pub const VOTERS_MAX: usize = 7;

/// [`Settings::activate_after`] when nothing else is said: time to see that the new agent does not do, and to go back.
pub const ACTIVATE_AFTER: Duration = Duration::from_secs(60);

/// What this node is in Raft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RaftRole {
    /// Does not vote yet.
    Learner,
    /// Follows.
    #[default]
    Follower,
    /// Campaigns.
    Candidate,
    /// Leads.
    Leader,
}

/// What consensus says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftNews {
    /// What this node is.
    pub role: RaftRole,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// The effective membership; two sets while it is joint.
    pub voters: VoterSets,
    /// Nodes that do not vote yet.
    pub learners: BTreeSet<NodeId>,
    /// Where every node listens.
    pub addresses: BTreeMap<NodeId, String>,
    /// The term of the newest applied entry.
    pub applied_term: u64,
    /// Index of the newest entry in this node's log.
    pub last_log: u64,
    /// Index up to which a quorum has the log.
    pub committed: u64,
    /// On the leader: up to where each node has the log.
    pub matched: BTreeMap<NodeId, u64>,
}

impl RaftNews {
    /// Whether `node` is a voter, in either half of a joint membership.
    pub fn votes(&self, node: NodeId) -> bool {
        self.voters.iter().any(|set| set.contains(&node))
    }

    /// Whether `node` is a voter now and when a change that is under way is done.
    pub fn votes_throughout(&self, node: NodeId) -> bool {
        self.voters.iter().all(|set| set.contains(&node))
    }
}

/// How a node is, as it says itself with each lease answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// It may hold: its proxy accepts, its interface has carrier, it is no witness.
    pub eligible: bool,
    /// Why not.
    pub why_not: String,
    /// What enforces its lease.
    pub fence: String,
    /// Servers on it that its own check finds down.
    pub down: BTreeSet<ServerId>,
    /// Whom it believes, and what it shows.
    pub credentials: Credentials,
    /// The version of its agent; empty: it does not say what it runs.
    pub agent_version: String,
    /// The versions of records that its agent reads and writes.
    pub speaks: Speaks,
    /// The kinds of check that its agent carries out.
    pub checks: BTreeSet<String>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Time has passed.
    Tick,
    /// Consensus changed.
    Raft(RaftNews),
    /// The replicated state changed.
    Applied(Arc<Facts>),
    /// A voter (this node included) answered a `Lease`.
    LeaseAnswered {
        /// Who.
        from: NodeId,
        /// What it answers to.
        lease: Lease,
        /// Whether it is promised.
        result: Result<(), Refusal>,
        /// How it is.
        report: NodeReport,
    },
    /// A node acknowledged a `Release`.
    ReleaseAnswered {
        /// Who.
        from: NodeId,
        /// What it answers to.
        release: Lease,
    },
    /// The address is away from this node, as that [`Action::Drop`] wanted.
    Dropped {
        /// The action's number.
        number: u64,
    },
    /// This node acknowledged a `Lease` of another.
    Promised {
        /// The leader.
        to: NodeId,
    },
    /// A server was checked.
    Checked {
        /// Which.
        server: ServerId,
        /// Why it was checked.
        purpose: Purpose,
        /// What was found.
        result: CheckResult,
    },
    /// Real traffic failed to connect to a server.
    ConnectFailed(ServerId),
    /// Real traffic connected to a server again.
    ConnectWorked(ServerId),
    /// How this node is.
    Own(NodeReport),
    /// Sessions per server on this node.
    Sessions(BTreeMap<ServerId, u32>),
    /// An operator wants leadership to move.
    MoveLeader {
        /// Where to; `None`: to the best other node.
        to: Option<NodeId>,
        /// Why.
        reason: HandoverReason,
    },
}

/// Why a server is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Its turn in the schedule.
    Scheduled,
    /// Its node has gone silent.
    Suspicion,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take this `Lease` through the own promise, then send it; answers come as events.
    SendLease {
        /// What.
        lease: Lease,
        /// The other voters.
        to: BTreeSet<NodeId>,
    },
    /// End the own promise, then tell the others; answers come as events.
    SendRelease {
        /// What.
        release: Lease,
        /// The other voters.
        to: BTreeSet<NodeId>,
    },
    /// Hold the addresses until then; first or again.
    Hold {
        /// In which epoch.
        epoch: Epoch,
        /// Until when.
        until: Instant,
    },
    /// Drop the addresses now; [`Event::Dropped`] follows.
    Drop {
        /// Why, for people.
        why: DropReason,
        /// Counts these actions: what is said of an earlier one says nothing of this one.
        number: u64,
    },
    /// Ask for votes, a pre-vote first: the leader has fallen silent and its turn is this node's.
    Campaign,
    /// Hand leadership over.
    Transfer {
        /// To whom.
        to: NodeId,
    },
    /// Tell the neighbours again.
    Announce,
    /// Check a server.
    Probe {
        /// Which.
        server: ServerId,
        /// How.
        probe: Probe,
        /// Why.
        purpose: Purpose,
    },
    /// Put a command into the log.
    Propose(Command),
    /// Make a learner a voter.
    Promote(NodeId),
    /// End a membership that has stayed joint: whoever began to change it leads no more.
    SettleMembership {
        /// As was intended; else as it was.
        forward: bool,
    },
    /// What is known here beyond the log has changed: make a new view.
    Refresh,
}

/// Why the address was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// No quorum promised in time.
    LeaseRanOut,
    /// Another node leads, or none.
    NotLeader,
    /// It is handed over.
    Handover,
    /// This node may not hold.
    NotEligible,
}

/// The decisions of one node.
#[derive(Debug)]
pub struct Controller {
    settings: Settings,
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
    /// Voters that were silent at the last look.
    silent: BTreeSet<NodeId>,
    previous_leader: Option<NodeId>,
    promote_asked: Option<(NodeId, Instant)>,
    /// Since when the membership has been joint under this leader, or was last asked to be settled.
    joint_since: Option<Instant>,
    preferred_since: Option<Instant>,
}

/// The address is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    /// In which epoch.
    pub epoch: Epoch,
    /// Until when.
    pub until: Instant,
    /// Since when.
    pub since: Instant,
}

impl Controller {
    /// A node that knows nothing yet.
    pub fn new(settings: Settings, now: Instant) -> Self {
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
            promote_asked: None,
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
        self.note_silence(silent_before, &mut actions);
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
        self.silent_voters().collect()
    }

    /// Whether a handover is under way, and to whom.
    pub fn handing_over_to(&self) -> Option<NodeId> {
        self.handover.as_ref().map(Handover::target)
    }

    /// The node to which the address would go from here.
    pub fn best_successor(&self) -> Option<NodeId> {
        self.successors(Facts::may_lead).first().copied()
    }

    /// Where it goes if it cannot stay: when operators want all others out, one of those holds it all the same,
    /// for what is drained can still forward, and an address that nobody holds helps nobody.
    pub fn last_successor(&self) -> Option<NodeId> {
        self.best_successor()
            .or_else(|| self.successors(Facts::is_server).first().copied())
    }

    fn leads(&self) -> bool {
        self.raft.role == RaftRole::Leader
    }
}
