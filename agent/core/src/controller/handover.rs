//! Handing over, in the one order that is safe: address away, `Release`, then transfer.
//!
//! ```text
//!   Dropping --dropped--> Releasing --target and quorum, or 50 ms--> Transferring --new term--> gone
//!                             `--this node votes alone--> GivingTheVote --target votes alone--^
//! ```
//!
//! A transfer cannot be taken back within the term; it is asked again every 200 ms until the term ends. Where this node
//! is the only voter its vote goes first, in one change: while that is joint both must agree, and nobody holds.

use super::Action;
use crate::id::NodeId;
use crate::lease::{Lease, VoterSets};
use crate::model::AdminState;
use crate::time::Instant;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// How long the answers to `Release` are waited for.
const RELEASE_WITHIN: Duration = Duration::from_millis(50);
/// Between two tries to transfer.
const TRANSFER_AGAIN: Duration = Duration::from_millis(200);
/// A vote that could not be given away within so long stays here, and so does the address.
const VOTE_GIVEN_WITHIN: Duration = Duration::from_secs(1);
/// How long the kernel may take to drop the address, and at least until what was held has run out.
const DROP_WITHIN: Duration = Duration::from_millis(2500);

/// Why a leader hands over to another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandoverReason {
    Operator(String),
    Shutdown,
    /// This node may not hold, and why.
    NotEligible(String),
    /// It is a witness.
    Witness,
    /// An operator set it to maintenance.
    Administrative {
        who: String,
        node: String,
    },
    /// The preferred node is back.
    Failback,
    /// Its log has stood still for too long.
    LogStuck,
    /// No quorum promises although it leads.
    NoLeaseQuorum,
}

impl fmt::Display for HandoverReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandoverReason::Operator(who) => write!(f, "{who} asked for it"),
            HandoverReason::Shutdown => f.write_str("the agent stops"),
            HandoverReason::NotEligible(why) => write!(f, "this node may not hold: {why}"),
            HandoverReason::Witness => f.write_str("a witness does not hold"),
            HandoverReason::Administrative { who, node } => write!(
                f,
                "{} set {node} to {}",
                if who.is_empty() { "an operator" } else { who },
                AdminState::Maintenance.word()
            ),
            HandoverReason::Failback => f.write_str("the preferred node is healthy again"),
            HandoverReason::LogStuck => {
                f.write_str("the log has not moved for too long: look at the disks")
            }
            HandoverReason::NoLeaseQuorum => f.write_str("no majority promises itself"),
        }
    }
}

/// A handover under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    to: NodeId,
    reason: HandoverReason,
    stage: Stage,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum Stage {
    /// The numbered drop is carried out.
    Dropping {
        number: u64,
        dropped: bool,
        at_latest: Instant,
    },
    Releasing {
        release: Lease,
        answered: BTreeSet<NodeId>,
    },
    GivingTheVote {
        began: Instant,
        again: Instant,
    },
    Transferring {
        again: Instant,
    },
}

impl Handover {
    /// `gone`: when nothing here can answer any more, whatever becomes of the drop.
    pub(super) fn start(
        now: Instant,
        to: NodeId,
        reason: HandoverReason,
        number: u64,
        gone: Instant,
    ) -> Self {
        Handover {
            to,
            reason,
            stage: Stage::Dropping {
                number,
                dropped: false,
                at_latest: gone.max(now + DROP_WITHIN),
            },
        }
    }

    pub(super) const fn target(&self) -> NodeId {
        self.to
    }

    /// The library has been asked.
    pub(super) const fn is_transferring(&self) -> bool {
        matches!(self.stage, Stage::Transferring { .. })
    }

    /// The change that gives the vote to the target has been asked for.
    pub(super) const fn gives_the_vote(&self) -> bool {
        matches!(self.stage, Stage::GivingTheVote { .. })
    }

    /// Whether that change has not even begun after its time: the target is not there, or another change is under way.
    pub(super) fn is_refused(&self, now: Instant, target_votes: bool, alone: bool) -> bool {
        match self.stage {
            Stage::GivingTheVote { began, .. } => {
                alone && !target_votes && now.saturating_since(began) > VOTE_GIVEN_WITHIN
            }
            _ => false,
        }
    }

    pub(super) fn on_dropped(&mut self, drop: u64) {
        if let Stage::Dropping {
            number, dropped, ..
        } = &mut self.stage
            && *number == drop
        {
            *dropped = true;
        }
    }

    pub(super) fn on_release_answered(&mut self, from: NodeId, release: Lease) {
        if let Stage::Releasing {
            release: ours,
            answered,
        } = &mut self.stage
            && *ours == release
        {
            answered.insert(from);
        }
    }

    pub(super) fn regulate(
        &mut self,
        now: Instant,
        term: u64,
        me: NodeId,
        others: &BTreeSet<NodeId>,
        voters: &VoterSets,
        actions: &mut Vec<Action>,
    ) {
        if let Stage::Dropping {
            dropped, at_latest, ..
        } = &self.stage
            && (*dropped || now >= *at_latest)
        {
            let release = Lease { term, sent: now };
            actions.push(Action::SendRelease {
                release,
                to: others.clone(),
            });
            self.stage = Stage::Releasing {
                release,
                answered: BTreeSet::from([me]),
            };
        }
        if let Stage::Releasing { release, answered } = &self.stage {
            let quorum = voters
                .iter()
                .all(|set| set.intersection(answered).count() > set.len() / 2);
            if (quorum && answered.contains(&self.to))
                || now.saturating_since(release.sent) >= RELEASE_WITHIN
            {
                self.stage = if voters.iter().all(|set| set.contains(&self.to)) {
                    Stage::Transferring { again: now }
                } else {
                    Stage::GivingTheVote {
                        began: now,
                        again: now,
                    }
                };
            }
        }
        if let Stage::GivingTheVote { again, .. } = &mut self.stage {
            if matches!(voters.as_slice(), [set] if set.contains(&self.to)) {
                self.stage = Stage::Transferring { again: now };
            } else if now >= *again {
                *again = now + TRANSFER_AGAIN;
                actions.push(match voters.as_slice() {
                    [set] => Action::ChangeVoters {
                        from: set.clone(),
                        to: BTreeSet::from([self.to]),
                    },
                    // Who began it may have given up half way: the library forgets that it was to go on.
                    _ => Action::SettleMembership { forward: true },
                });
            }
        }
        if let Stage::Transferring { again } = &mut self.stage
            && now >= *again
        {
            *again = now + TRANSFER_AGAIN;
            actions.push(Action::Transfer { to: self.to });
        }
    }

    pub(super) fn next_deadline(&self) -> Instant {
        match &self.stage {
            Stage::Dropping { at_latest, .. } => *at_latest,
            Stage::Releasing { release, .. } => release.sent + RELEASE_WITHIN,
            Stage::GivingTheVote { again, .. } | Stage::Transferring { again } => *again,
        }
    }
}
