//! The consensus library's type parameters, bound once. Everything else in this module uses these names.

use ha_core::command::{Answer, Stamped};
use ha_core::id::NodeId;
use ha_core::version::RecordVersion;
use openraft::RaftTypeConfig;
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft_rt::AsyncRuntime;
use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Where consensus gets its tasks, timers and random numbers: tokio in production, the simulator's in simulation.
pub trait Runtime: AsyncRuntime + Send + Sync {}
impl<R: AsyncRuntime + Send + Sync> Runtime for R {}

/// What is answered to a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied(pub Answer);

/// What is proposed to the log, at the version that was active where it was proposed: it is written so everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The version that has become active.
    pub version: RecordVersion,
    pub stamped: Arc<Stamped>,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stamped.fmt(f)
    }
}

/// The library's type configuration over a runtime.
pub struct Types<R>(PhantomData<fn() -> R>);

impl<R: Runtime> RaftTypeConfig for Types<R> {
    type D = Proposal;
    type R = Applied;
    type NodeId = NodeId;
    type Node = openraft::BasicNode;
    type Term = u64;
    /// One leader per term, so that the term can be the epoch.
    type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, NodeId>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Proposal, NodeId, openraft::BasicNode>;
    type Entry = openraft::impls::Entry<
        <Self::LeaderId as openraft::vote::RaftLeaderId>::Committed,
        Self::Payload,
    >;
    type AsyncRuntime = R;
    type Responder<T>
        = openraft::impls::ProgressResponder<Self, T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

// By hand, because deriving would ask the same of the runtime.
impl<R> Clone for Types<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for Types<R> {}
impl<R> Default for Types<R> {
    fn default() -> Self {
        Types(PhantomData)
    }
}
impl<R> fmt::Debug for Types<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}
impl<R> PartialEq for Types<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<R> Eq for Types<R> {}
impl<R> PartialOrd for Types<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<R> Ord for Types<R> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

/// An entry of the log.
pub type Entry<R> = EntryOf<Types<R>>;
/// Where an entry stands.
pub type LogId<R> = LogIdOf<Types<R>>;
/// A vote, with its term.
pub type Vote<R> = VoteOf<Types<R>>;
/// The membership and where it was decided.
pub type Membership<R> = StoredMembershipOf<Types<R>>;
/// What a snapshot covers.
pub type SnapshotMeta<R> = SnapshotMetaOf<Types<R>>;
/// A snapshot: what it covers and its bytes.
pub type Snapshot<R> = SnapshotOf<Types<R>, Vec<u8>>;
