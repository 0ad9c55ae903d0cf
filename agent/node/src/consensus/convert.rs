//! The one place where the consensus library's types become records, and records become the library's types. A new
//! version of the library changes this file, and nothing that is on a disk or on the wire.

use super::types::{Proposal, Runtime, Types};
use ha_core::id::NodeId;
use ha_core::version::RecordVersion;
use ha_record::entry::{self, Payload};
use ha_record::membership::{self, Decided};
use ha_record::peer::{self, AppendAnswer, TransferAnswer};
use ha_record::{RecordError, snapshot, vote};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::vote::leader_id_std::{CommittedLeaderId, LeaderId};
use openraft::{BasicNode, EntryPayload};

/// Something of the library that has a record.
pub trait Recorded: Sized {
    /// The record that it is written as.
    type Record: ha_record::Record;

    /// As a record. What has no version of its own is written at `at`.
    fn to_record(&self, at: RecordVersion) -> Self::Record;

    /// From a record.
    ///
    /// # Errors
    /// What the library could not have made.
    fn from_record(record: Self::Record) -> Result<Self, RecordError>;
}

// As the library has them, over whatever runtime.
type Vote = openraft::Vote<LeaderId<u64, NodeId>>;
type LogId = openraft::LogId<CommittedLeaderId<u64>>;
type Entry = openraft::Entry<CommittedLeaderId<u64>, EntryPayload<Proposal, NodeId, BasicNode>>;
type Members = openraft::Membership<NodeId, BasicNode>;
type Stored = openraft::StoredMembership<CommittedLeaderId<u64>, NodeId, BasicNode>;
type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId<u64>, NodeId, BasicNode>;

fn log_id(id: &LogId) -> vote::LogId {
    let openraft::LogId {
        leader_id: CommittedLeaderId { term },
        index,
    } = *id;
    vote::LogId { term, index }
}

fn log_id_of(id: vote::LogId) -> LogId {
    let vote::LogId { term, index } = id;
    LogId::new(CommittedLeaderId { term }, index)
}

fn vote(given: &Vote) -> vote::Vote {
    let Vote {
        leader_id: LeaderId { term, voted_for },
        committed,
    } = *given;
    vote::Vote {
        term,
        node: voted_for,
        committed,
    }
}

fn vote_of(given: vote::Vote) -> Vote {
    let vote::Vote {
        term,
        node,
        committed,
    } = given;
    openraft::Vote {
        leader_id: LeaderId {
            term,
            voted_for: node,
        },
        committed,
    }
}

fn members(m: &Members) -> membership::Membership {
    membership::Membership {
        voters: m.get_joint_config().clone(),
        nodes: m
            .nodes()
            .map(|(id, BasicNode { addr })| (*id, addr.clone()))
            .collect(),
    }
}

fn members_of(record: membership::Membership) -> Result<Members, RecordError> {
    let membership::Membership { voters, nodes } = record;
    let nodes: std::collections::BTreeMap<NodeId, BasicNode> = nodes
        .into_iter()
        .map(|(id, addr)| (id, BasicNode { addr }))
        .collect();
    // Before the first entry there is none.
    if voters.is_empty() && nodes.is_empty() {
        return Ok(Members::default());
    }
    Members::new(voters, nodes)
        .map_err(|_| RecordError::Malformed("a membership without voters or their addresses"))
}

impl Recorded for Vote {
    type Record = vote::Vote;
    fn to_record(&self, _: RecordVersion) -> Self::Record {
        vote(self)
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        Ok(vote_of(record))
    }
}

impl Recorded for Option<LogId> {
    type Record = Option<vote::LogId>;
    fn to_record(&self, _: RecordVersion) -> Self::Record {
        self.as_ref().map(log_id)
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        Ok(record.map(log_id_of))
    }
}

/// A command keeps the version that its proposer gave it.
impl Recorded for Entry {
    type Record = entry::Entry;
    fn to_record(&self, at: RecordVersion) -> Self::Record {
        let (version, payload) = match &self.payload {
            EntryPayload::Blank => (at, Payload::Blank),
            EntryPayload::Normal(Proposal { version, stamped }) => {
                (*version, Payload::Command(stamped.clone()))
            }
            EntryPayload::Membership(m) => (at, Payload::Membership(members(m))),
        };
        entry::Entry {
            version,
            id: log_id(&self.log_id),
            payload,
        }
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        let entry::Entry {
            version,
            id,
            payload,
        } = record;
        let payload = match payload {
            Payload::Blank => EntryPayload::Blank,
            Payload::Command(stamped) => EntryPayload::Normal(Proposal { version, stamped }),
            Payload::Membership(m) => EntryPayload::Membership(members_of(m)?),
        };
        Ok(Entry {
            log_id: log_id_of(id),
            payload,
        })
    }
}

impl Recorded for SnapshotMeta {
    type Record = snapshot::Header;
    fn to_record(&self, _: RecordVersion) -> Self::Record {
        let SnapshotMeta {
            last_log_id,
            last_membership,
        } = self;
        snapshot::Header {
            last: last_log_id.as_ref().map(log_id),
            membership: Decided {
                at: last_membership.log_id().as_ref().map(log_id),
                membership: members(last_membership.membership()),
            },
        }
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        let snapshot::Header {
            last,
            membership: Decided { at, membership },
        } = record;
        Ok(SnapshotMeta {
            last_log_id: last.map(log_id_of),
            last_membership: Stored::new(at.map(log_id_of), members_of(membership)?),
        })
    }
}

impl<R: Runtime> Recorded for AppendEntriesRequest<Types<R>> {
    type Record = peer::Append;
    fn to_record(&self, at: RecordVersion) -> Self::Record {
        let AppendEntriesRequest {
            vote: by,
            prev_log_id,
            entries,
            leader_commit,
        } = self;
        peer::Append {
            vote: vote(by),
            previous: prev_log_id.as_ref().map(log_id),
            committed: leader_commit.as_ref().map(log_id),
            entries: entries.iter().map(|e| e.to_record(at)).collect(),
        }
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        let peer::Append {
            vote,
            previous,
            committed,
            entries,
        } = record;
        Ok(AppendEntriesRequest {
            vote: vote_of(vote),
            prev_log_id: previous.map(log_id_of),
            entries: entries
                .into_iter()
                .map(Entry::from_record)
                .collect::<Result<_, _>>()?,
            leader_commit: committed.map(log_id_of),
        })
    }
}

impl<R: Runtime> Recorded for AppendEntriesResponse<Types<R>> {
    type Record = AppendAnswer;
    fn to_record(&self, _: RecordVersion) -> Self::Record {
        match self {
            AppendEntriesResponse::Success => AppendAnswer::Success,
            AppendEntriesResponse::PartialSuccess(upto) => {
                AppendAnswer::Partial(upto.as_ref().map(log_id))
            }
            AppendEntriesResponse::Conflict => AppendAnswer::Conflict,
            AppendEntriesResponse::HigherVote(higher) => AppendAnswer::HigherVote(vote(higher)),
        }
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        Ok(match record {
            AppendAnswer::Success => AppendEntriesResponse::Success,
            AppendAnswer::Partial(upto) => {
                AppendEntriesResponse::PartialSuccess(upto.map(log_id_of))
            }
            AppendAnswer::Conflict => AppendEntriesResponse::Conflict,
            AppendAnswer::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_of(vote)),
        })
    }
}

impl<R: Runtime> Recorded for VoteRequest<Types<R>> {
    type Record = peer::VoteRequest;
    fn to_record(&self, _: RecordVersion) -> Self::Record {
        let VoteRequest {
            vote: asked,
            last_log_id,
            leadership_transfer,
        } = self;
        peer::VoteRequest {
            vote: vote(asked),
            last: last_log_id.as_ref().map(log_id),
            transfer: *leadership_transfer,
        }
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        let peer::VoteRequest {
            vote,
            last,
            transfer,
        } = record;
        Ok(VoteRequest {
            vote: vote_of(vote),
            last_log_id: last.map(log_id_of),
            leadership_transfer: transfer,
        })
    }
}

impl<R: Runtime> Recorded for VoteResponse<Types<R>> {
    type Record = peer::VoteAnswer;
    fn to_record(&self, _: RecordVersion) -> Self::Record {
        let VoteResponse {
            vote: own,
            vote_granted,
            last_log_id,
        } = self;
        peer::VoteAnswer {
            vote: vote(own),
            granted: *vote_granted,
            last: last_log_id.as_ref().map(log_id),
        }
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        let peer::VoteAnswer {
            vote,
            granted,
            last,
        } = record;
        Ok(VoteResponse {
            vote: vote_of(vote),
            vote_granted: granted,
            last_log_id: last.map(log_id_of),
        })
    }
}

impl<R: Runtime> Recorded for TransferLeaderRequest<Types<R>> {
    type Record = peer::Transfer;
    fn to_record(&self, _: RecordVersion) -> Self::Record {
        peer::Transfer {
            from: vote(self.from_leader()),
            to: *self.to_node_id(),
            last: self.last_log_id().map(log_id),
        }
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        let peer::Transfer { from, to, last } = record;
        Ok(TransferLeaderRequest::new(
            vote_of(from),
            to,
            last.map(log_id_of),
        ))
    }
}

impl<R: Runtime> Recorded for TransferLeaderResponse<Types<R>> {
    type Record = TransferAnswer;
    fn to_record(&self, _: RecordVersion) -> Self::Record {
        match self {
            Ok(()) => TransferAnswer::Begun,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                TransferAnswer::VoteChanged {
                    expected: vote(expected),
                    actual: vote(actual),
                }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                TransferAnswer::LogNotFlushed {
                    expected: expected.as_ref().map(log_id),
                    actual: actual.as_ref().map(log_id),
                }
            }
        }
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        Ok(match record {
            TransferAnswer::Begun => Ok(()),
            TransferAnswer::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged {
                    expected: vote_of(expected),
                    actual: vote_of(actual),
                })
            }
            TransferAnswer::LogNotFlushed { expected, actual } => {
                Err(TransferLeaderError::LogNotFlushed {
                    expected: expected.map(log_id_of),
                    actual: actual.map(log_id_of),
                })
            }
        })
    }
}

impl Recorded for (Vote, SnapshotMeta, Vec<u8>) {
    type Record = peer::Snapshot;
    fn to_record(&self, at: RecordVersion) -> Self::Record {
        peer::Snapshot {
            vote: vote(&self.0),
            header: self.1.to_record(at),
            state: self.2.clone(),
        }
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        let peer::Snapshot {
            vote,
            header,
            state,
        } = record;
        Ok((vote_of(vote), SnapshotMeta::from_record(header)?, state))
    }
}

impl<R: Runtime> Recorded for SnapshotResponse<Types<R>> {
    type Record = peer::SnapshotAnswer;
    fn to_record(&self, _: RecordVersion) -> Self::Record {
        let SnapshotResponse { vote: own } = self;
        peer::SnapshotAnswer { vote: vote(own) }
    }
    fn from_record(record: Self::Record) -> Result<Self, RecordError> {
        let peer::SnapshotAnswer { vote } = record;
        Ok(SnapshotResponse {
            vote: vote_of(vote),
        })
    }
}

#[cfg(test)]
mod tests;
