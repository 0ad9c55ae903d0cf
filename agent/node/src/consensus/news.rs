//! What the consensus library says of itself, as the controller and who proposes take it.

use super::ProposeError;
use super::types::{Runtime, Types};
use ha_core::controller::{RaftNews, RaftRole};
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{RaftMetrics, ServerState};

/// Which membership was in force: the term and index of its entry. Nothing was seen yet at first.
pub type MembershipSeen = Option<(u64, u64)>;

pub(super) fn membership_of<R: Runtime>(m: &RaftMetrics<Types<R>>) -> MembershipSeen {
    m.membership_config
        .log_id()
        .as_ref()
        .map(|l| (l.leader_id.term, l.index))
}

pub(super) fn propose_error<R: Runtime>(
    e: RaftError<Types<R>, ClientWriteError<Types<R>>>,
) -> ProposeError {
    match e {
        RaftError::APIError(ClientWriteError::ForwardToLeader(f)) => {
            ProposeError::NotLeader(f.leader_id)
        }
        RaftError::APIError(other) => ProposeError::NoMajority(other.to_string()),
        RaftError::Fatal(e) => ProposeError::Ended(e.to_string()),
    }
}

pub(super) fn news_of<R: Runtime>(m: &RaftMetrics<Types<R>>) -> RaftNews {
    let membership = m.membership_config.membership();
    RaftNews {
        role: match m.state {
            ServerState::Leader => RaftRole::Leader,
            ServerState::Candidate => RaftRole::Candidate,
            ServerState::Learner => RaftRole::Learner,
            _ => RaftRole::Follower,
        },
        term: m.current_term,
        leader: m.current_leader,
        voters: membership.get_joint_config().clone(),
        learners: membership.learner_ids().collect(),
        addresses: membership
            .nodes()
            .map(|(id, n)| (*id, n.addr.clone()))
            .collect(),
        applied_term: m.last_applied.map_or(0, |l| l.leader_id.term),
        last_log: m.last_log_index.unwrap_or(0),
        matched: m
            .replication
            .iter()
            .flatten()
            .filter_map(|(id, log)| log.as_ref().map(|l| (*id, l.index)))
            .collect(),
        committed: m.cluster_committed.map_or(0, |l| l.index),
    }
}
