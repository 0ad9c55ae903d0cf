//! Outbound: what the consensus library sends, with the guard on votes before it leaves.

use super::acknowledged::Acknowledged;
use super::complaints::Complaints;
use super::convert::Recorded;
use super::plausible::{Implausible, Plausible};
use super::terms::Terms;
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
use openraft::type_config::alias::LogIdOf;
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
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
    pub(super) acknowledged: Acknowledged,
    pub(super) complaints: Arc<Complaints>,
    pub(super) terms: Arc<Terms>,
}

/// The way to one peer.
pub struct Peer<R> {
    outside: Outside,
    runtime: PhantomData<fn() -> R>,
    me: NodeId,
    promise: SharedPromise,
    versions: Versions,
    whereabouts: Whereabouts,
    acknowledged: Acknowledged,
    complaints: Arc<Complaints>,
    terms: Arc<Terms>,
    to: Addressee,
}

/// What of a question tells what its answer says of the peer's log; indexes are 0 where there is no entry.
#[derive(Clone, Copy)]
struct Sent {
    term: u64,
    previous: u64,
    upto: u64,
    committed: u64,
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
            acknowledged: self.acknowledged.clone(),
            complaints: self.complaints.clone(),
            terms: self.terms.clone(),
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
        let now = self.outside.clock.now();
        self.terms
            .believe(now, self.to.node, term, &record)
            .map_err(|e| self.not_believed(call, e))?;
        A::from_record(record).map_err(failed)
    }

    fn not_believed(&self, call: Call, why: Implausible) -> RPCError<Types<R>> {
        let now = self.outside.clock.now();
        self.complaints.tell(now, self.to.node, call, &why);
        RPCError::Network(NetworkError::new(&why))
    }

    /// Whether that can be an answer to that: the library would end this node over one that cannot.
    ///
    /// # Errors
    /// It acknowledges what it was not sent, or lacks an entry before the first.
    fn check_answer(
        &self,
        rpc: &AppendEntriesRequest<Types<R>>,
        answer: &AppendEntriesResponse<Types<R>>,
    ) -> Result<(), RPCError<Types<R>>> {
        let why = match answer {
            AppendEntriesResponse::PartialSuccess(has)
                if *has != rpc.prev_log_id
                    && !rpc.entries.iter().any(|e| Some(e.log_id) == *has) =>
            {
                Implausible::NotSent(has.as_ref().map_or(0, |id| id.index))
            }
            AppendEntriesResponse::Conflict if rpc.prev_log_id.is_none() => {
                Implausible::NothingBefore
            }
            _ => return Ok(()),
        };
        Err(self.not_believed(Call::AppendEntries, why))
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
        let answer: VoteResponse<Types<R>> = self
            .ask(call, &rpc, rpc.vote.leader_id.term, within)
            .await?;
        let last = answer.last_log_id.as_ref().map_or(0, |l| l.index);
        if answer.vote_granted && self.acknowledged.ends_early(self.to.node, last) {
            return Err(self.has_lost_its_log("its vote does not count"));
        }
        Ok(answer)
    }

    /// As an error of the network: it is tried again, in case that the peer is made anew.
    fn has_lost_its_log(&self, so: &str) -> RPCError<Types<R>> {
        tracing::debug!(peer = %self.to.node, at = %self.to.at, "its log ends before what it once acknowledged: {so}");
        RPCError::Network(NetworkError::from_string(format!(
            "the log of {} ends before what it once acknowledged: {so}",
            self.to.at
        )))
    }

    /// What the answer to entries up to `upto`, or to none after `previous`, says of the peer's log.
    ///
    /// # Errors
    /// It has less than it once acknowledged.
    fn note_answer(
        &self,
        question: &Sent,
        answer: &AppendEntriesResponse<Types<R>>,
    ) -> Result<(), RPCError<Types<R>>> {
        let Sent {
            term,
            previous,
            upto,
            committed,
        } = *question;
        let has = match answer {
            AppendEntriesResponse::Success => upto,
            AppendEntriesResponse::PartialSuccess(has) => has.as_ref().map_or(0, |l| l.index),
            AppendEntriesResponse::Conflict
                if self.acknowledged.contradicts(self.to.node, term, previous) =>
            {
                return Err(self.has_lost_its_log("it gets no entries"));
            }
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => return Ok(()),
        };
        self.acknowledged.note(self.to.node, term, has, committed);
        Ok(())
    }
}

impl<R: Runtime> RaftNetworkV2<Types<R>> for Peer<R> {
    type SnapshotData = Vec<u8>;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<R>>, RPCError<Types<R>>> {
        let index = |id: Option<&LogIdOf<Types<R>>>| id.map_or(0, |l| l.index);
        let previous = index(rpc.prev_log_id.as_ref());
        let sent = Sent {
            term: rpc.vote.leader_id.term,
            previous,
            upto: rpc.entries.last().map_or(previous, |e| e.log_id.index),
            committed: index(rpc.leader_commit.as_ref()),
        };
        let answer = self
            .ask(Call::AppendEntries, &rpc, sent.term, option.soft_ttl())
            .await?;
        self.check_answer(&rpc, &answer)?;
        self.note_answer(&sent, &answer)?;
        Ok(answer)
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
        let upto = question.1.last_log_id.as_ref().map_or(0, |l| l.index);
        let installed = |_: &_| self.acknowledged.note(self.to.node, term, upto, upto);
        self.ask(Call::InstallSnapshot, &question, term, SNAPSHOT_WITHIN)
            .await
            .inspect(installed)
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
