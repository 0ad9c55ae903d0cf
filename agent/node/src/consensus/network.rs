//! Outbound: what the consensus library sends, with the guard on votes before it leaves.

use super::convert::Recorded;
use super::plausible::Plausible;
use super::types::{Runtime, Snapshot, SnapshotMeta, Types, Vote};
use super::versions::Versions;
use super::whereabouts::Whereabouts;
use super::{SharedPromise, lock};
use crate::outside::{Addressee, Call, CallError, Outside};
use ha_core::id::NodeId;
use ha_core::lease::{Ballot, VoteDecision};
use ha_record::RecordError;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

/// A snapshot of tens of megabytes over a slow link; progress is not seen inside one call.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(60);

/// Makes a client for each peer.
pub struct Network<R> {
    pub(super) outside: Outside,
    pub(super) runtime: PhantomData<fn() -> R>,
    pub(super) me: NodeId,
    pub(super) promise: SharedPromise,
    pub(super) versions: Versions,
    pub(super) whereabouts: Whereabouts,
}

/// The way to one peer.
pub struct Peer<R> {
    outside: Outside,
    runtime: PhantomData<fn() -> R>,
    me: NodeId,
    promise: SharedPromise,
    versions: Versions,
    whereabouts: Whereabouts,
    to: Addressee,
}

impl<R: Runtime> RaftNetworkFactory<Types<R>> for Network<R> {
    type Network = Peer<R>;

    async fn new_client(&mut self, id: NodeId, node: &BasicNode) -> Peer<R> {
        Peer {
            outside: self.outside.clone(),
            runtime: PhantomData,
            me: self.me,
            promise: self.promise.clone(),
            versions: self.versions.clone(),
            whereabouts: self.whereabouts.clone(),
            to: Addressee {
                node: id,
                at: node.addr.clone(),
            },
        }
    }
}

impl<R: Runtime> Peer<R> {
    /// `term`: that of the question, which this node is in.
    async fn ask<Q, A>(
        &self,
        call: Call,
        question: &Q,
        term: u64,
        within: Duration,
    ) -> Result<A, RPCError<Types<R>>>
    where
        Q: Recorded,
        A: Recorded<Record: Plausible>,
    {
        let failed = |e: RecordError| RPCError::Network(NetworkError::new(&e));
        let record = question.to_record(self.versions.writes());
        let body = self.versions.tell(self.to.node, &record).map_err(failed)?;
        let to = Addressee {
            node: self.to.node,
            at: self.whereabouts.of(self.to.node, &self.to.at),
        };
        let answer = self.outside.peers.call(to, call, body, within).await;
        let answer = answer.map_err(|e| {
            self.versions.forget(self.to.node);
            match e {
                CallError::Unreachable(_) => RPCError::Unreachable(Unreachable::new(&e)),
                CallError::NoAnswer(_) => RPCError::Network(NetworkError::new(&e)),
            }
        })?;
        let record: A::Record = self.versions.hear(self.to.node, &answer).map_err(failed)?;
        record
            .check(self.to.node, term)
            .map_err(|e| RPCError::Network(NetworkError::new(&e)))?;
        A::from_record(record).map_err(failed)
    }

    /// While this node is promised to another, its own votes stay here.
    async fn ask_for_vote(
        &self,
        ballot: Ballot,
        rpc: VoteRequest<Types<R>>,
        within: Duration,
    ) -> Result<VoteResponse<Types<R>>, RPCError<Types<R>>> {
        let gate = lock(&self.promise).vote_out(
            self.outside.clock.now(),
            self.me,
            rpc.vote.leader_id.term,
            ballot,
        );
        if gate == VoteDecision::Refuse {
            tracing::trace!(to = %self.to.at, ?ballot, "vote held back: this node is promised to another");
            return Err(RPCError::Network(NetworkError::from_string(
                "held back: this node is promised to another leader",
            )));
        }
        let call = if ballot == Ballot::Vote {
            Call::Vote
        } else {
            Call::PreVote
        };
        self.ask(call, &rpc, rpc.vote.leader_id.term, within).await
    }
}

impl<R: Runtime> RaftNetworkV2<Types<R>> for Peer<R> {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<R>>, RPCError<Types<R>>> {
        let term = rpc.vote.leader_id.term;
        self.ask(Call::AppendEntries, &rpc, term, option.soft_ttl())
            .await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, RPCError<Types<R>>> {
        self.ask_for_vote(Ballot::Vote, rpc, option.soft_ttl())
            .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, RPCError<Types<R>>> {
        self.ask_for_vote(Ballot::PreVote, rpc, option.soft_ttl())
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<R>,
        snapshot: Snapshot<R>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types<R>>, StreamingError<Types<R>>> {
        let question: (Vote<R>, SnapshotMeta<R>, Vec<u8>) =
            (vote, snapshot.meta, snapshot.snapshot);
        let term = question.0.leader_id.term;
        self.ask(Call::InstallSnapshot, &question, term, SNAPSHOT_WITHIN)
            .await
            .map_err(|e| match e {
                RPCError::Unreachable(e) => StreamingError::Unreachable(e),
                other => StreamingError::Network(NetworkError::new(&other)),
            })
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types<R>>, RPCError<Types<R>>> {
        let term = rpc.from_leader().leader_id.term;
        self.ask(Call::TransferLeader, &rpc, term, option.soft_ttl())
            .await
    }
}
