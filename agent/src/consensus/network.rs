//! Outbound: what the consensus library sends, with the guard on votes before it leaves.

use super::codec::{decode, encode};
use super::types::{Runtime, Snapshot, SnapshotMeta, Types, Vote};
use super::{SharedPromise, lock};
use crate::world::{Addressee, Call, CallError, World};
use ha_core::id::NodeId;
use ha_core::lease::{Ballot, Gate};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A snapshot of tens of megabytes over a slow link; progress is not seen inside one call.
const SNAPSHOT_WITHIN: Duration = Duration::from_secs(60);

/// Makes a client for each peer.
pub struct Peers<W: World> {
    pub(super) world: Arc<W>,
    pub(super) me: NodeId,
    pub(super) promise: SharedPromise,
}

/// The way to one peer.
pub struct Peer<W: World> {
    world: Arc<W>,
    me: NodeId,
    promise: SharedPromise,
    to: Addressee,
}

impl<W: World> RaftNetworkFactory<Types<W::Runtime>> for Peers<W> {
    type Network = Peer<W>;

    async fn new_client(&mut self, id: NodeId, node: &BasicNode) -> Peer<W> {
        Peer {
            world: self.world.clone(),
            me: self.me,
            promise: self.promise.clone(),
            to: Addressee {
                node: id,
                at: node.addr.clone(),
            },
        }
    }
}

impl<W: World> Peer<W> {
    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        call: Call,
        question: &Q,
        within: Duration,
    ) -> Result<A, RPCError<Types<W::Runtime>>> {
        let body = encode(question).map_err(|e| RPCError::Network(NetworkError::new(&e)))?;
        let answer = self
            .world
            .call(self.to.clone(), call, body, within)
            .await
            .map_err(|e| match e {
                CallError::Unreachable(_) => RPCError::Unreachable(Unreachable::new(&e)),
                CallError::NoAnswer(_) => RPCError::Network(NetworkError::new(&e)),
            })?;
        decode(&answer).map_err(|e| RPCError::Network(NetworkError::new(&e)))
    }

    /// While this node is promised to another, its own votes stay here.
    async fn ask_for_vote(
        &self,
        ballot: Ballot,
        rpc: VoteRequest<Types<W::Runtime>>,
        within: Duration,
    ) -> Result<VoteResponse<Types<W::Runtime>>, RPCError<Types<W::Runtime>>> {
        let gate = lock(&self.promise).vote_out(
            self.world.now(),
            self.me,
            rpc.vote.leader_id.term,
            ballot,
        );
        if gate == Gate::Refuse {
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
        self.ask(call, &rpc, within).await
    }
}

impl<W: World> RaftNetworkV2<Types<W::Runtime>> for Peer<W>
where
    W::Runtime: Runtime,
{
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types<W::Runtime>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<W::Runtime>>, RPCError<Types<W::Runtime>>> {
        self.ask(Call::AppendEntries, &rpc, option.soft_ttl()).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types<W::Runtime>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<W::Runtime>>, RPCError<Types<W::Runtime>>> {
        self.ask_for_vote(Ballot::Vote, rpc, option.soft_ttl())
            .await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types<W::Runtime>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<W::Runtime>>, RPCError<Types<W::Runtime>>> {
        self.ask_for_vote(Ballot::PreVote, rpc, option.soft_ttl())
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote<W::Runtime>,
        snapshot: Snapshot<W::Runtime>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types<W::Runtime>>, StreamingError<Types<W::Runtime>>> {
        let question: (Vote<W::Runtime>, SnapshotMeta<W::Runtime>, Vec<u8>) =
            (vote, snapshot.meta, snapshot.snapshot);
        self.ask(Call::InstallSnapshot, &question, SNAPSHOT_WITHIN)
            .await
            .map_err(|e| match e {
                RPCError::Unreachable(e) => StreamingError::Unreachable(e),
                other => StreamingError::Network(NetworkError::new(&other)),
            })
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Types<W::Runtime>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types<W::Runtime>>, RPCError<Types<W::Runtime>>> {
        self.ask(Call::TransferLeader, &rpc, option.soft_ttl())
            .await
    }
}
