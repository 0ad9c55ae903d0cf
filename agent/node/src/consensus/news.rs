//! What the consensus library says of itself, as the controller and who proposes take it.

use super::types::{Runtime, Types};
use super::versions::Versions;
use super::whereabouts::Whereabouts;
use super::{Consensus, ProposeError};
use ha_core::controller::{RaftNews, RaftRole};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use openraft::{RaftMetrics, ServerState};

/// Which membership was in force: the term and index of its entry. Nothing was seen yet at first.
pub type MembershipSeen = Option<(u64, u64)>;

fn membership_of<R: Runtime>(m: &RaftMetrics<Types<R>>) -> MembershipSeen {
    m.membership_config
        .log_id()
        .as_ref()
        .map(|l| (l.leader_id.term, l.index))
}

impl<R: Runtime> Consensus<R> {
    /// At which version this node writes, and what it reads.
    pub const fn versions(&self) -> &Versions {
        &self.versions
    }

    /// What the controller should know about consensus at this moment.
    pub fn news(&self) -> RaftNews {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let mut news = news_of::<R>(&metrics);
        for (node, at) in &mut news.addresses {
            *at = self.whereabouts.of(*node, at);
        }
        news
    }

    /// The news, if the membership in force is not the one that was `seen` last: who counts promises must not go by
    /// one that was replaced, and news may come late.
    pub fn other_membership(&self, seen: &mut MembershipSeen) -> Option<RaftNews> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let now = membership_of::<R>(&metrics);
        if now == *seen {
            return None;
        }
        *seen = now;
        Some(news_of::<R>(&metrics))
    }

    /// Where the other nodes are reached.
    pub const fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }
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
