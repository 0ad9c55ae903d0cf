//! What peers ask, answered: the guard on votes that come in, and the lease protocol.

use super::convert::Recorded;
use super::plausible::Plausible;
use super::types::{Runtime, Snapshot, SnapshotMeta, Types, Vote};
use super::{Consensus, SharedPromise};
use crate::outside::Call;
use ha_core::id::NodeId;
use ha_core::lease::{Ballot, Lease, Promise, ReleaseHeard, VoteDecision};
use ha_record::lease::{LeaseAnswer, Released};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest};
use std::cmp::Ordering;
use std::fmt::Display;
use std::io;
use std::sync::{MutexGuard, PoisonError};

/// Takes the lock even after a panic elsewhere: a promise is always consistent between two calls.
pub(crate) fn lock(promise: &SharedPromise) -> MutexGuard<'_, Promise> {
    promise.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R: Runtime> Consensus<R> {
    /// Answers what peer `from` asks. `Err` closes that call and nothing else, unless it carried what this node
    /// cannot read: see [`Consensus::failure`].
    pub async fn handle(&self, from: NodeId, call: Call, body: &[u8]) -> io::Result<Vec<u8>> {
        if let Some(why) = self.versions.halted() {
            return Err(io::Error::other(why));
        }
        match call {
            Call::AppendEntries => {
                let mut request: AppendEntriesRequest<Types<R>> = self.heard(from, call, body)?;
                if let Some(higher) = self.beyond(&request.vote) {
                    let known = AppendEntriesResponse::<Types<R>>::HigherVote(higher);
                    return self.answer(from, &known);
                }
                self.bound_commit(&mut request);
                let asked = self.raft.append_entries(request).await;
                self.answer(from, &asked.map_err(io::Error::other)?)
            }
            Call::TransferLeader => {
                let asked = self
                    .raft
                    .handle_transfer_leader(self.heard(from, call, body)?);
                self.answer(from, &asked.await.map_err(io::Error::other)?)
            }
            Call::PreVote => self.handle_vote(from, Ballot::PreVote, body).await,
            Call::Vote => self.handle_vote(from, Ballot::Vote, body).await,
            Call::InstallSnapshot => {
                let (vote, meta, snapshot): (Vote<R>, SnapshotMeta<R>, Vec<u8>) =
                    self.heard(from, call, body)?;
                if let Some(vote) = self.beyond(&vote) {
                    return self.answer(from, &SnapshotResponse::<Types<R>> { vote });
                }
                let snapshot = Snapshot::<R> { meta, snapshot };
                let asked = self.raft.install_full_snapshot(vote, snapshot).await;
                self.answer(from, &asked.map_err(io::Error::other)?)
            }
            Call::Lease => {
                let lease: Lease = self.versions.hear(from, body)?;
                let result = self.promise_to(self.outside.clock.now(), from, lease);
                let report = self
                    .report
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                Ok(self.versions.tell(from, &LeaseAnswer { result, report })?)
            }
            Call::Release => {
                let release: Lease = self.versions.hear(from, body)?;
                let heard = lock(&self.promise).on_release(from, release);
                if heard == ReleaseHeard::Refused {
                    let why = "it is not from whom this node is promised to, or not of that term";
                    self.complain(from, call, &why);
                }
                Ok(self.versions.tell(from, &Released)?)
            }
        }
    }

    /// The vote of this node, unless `vote` is as high: who leads by a lower one, or by another of the same term, has
    /// nothing to say. The library looks at some of what it says all the same.
    fn beyond(&self, vote: &Vote<R>) -> Option<Vote<R>> {
        let metrics = self.raft.metrics();
        let known = metrics.borrow_watched().vote;
        let is_as_high = matches!(
            vote.partial_cmp(&known),
            Some(Ordering::Equal | Ordering::Greater)
        );
        (!is_as_high).then_some(known)
    }

    /// What is committed is believed as far as there is a log, here or in the request: the library keeps it on the disk,
    /// and never starts again on a log that ends before.
    fn bound_commit(&self, request: &mut AppendEntriesRequest<Types<R>>) {
        let last = self.raft.metrics().borrow_watched().last_log_index;
        let follows = request.prev_log_id.map(|id| id.index) <= last;
        let sent = request.entries.last().map(|entry| entry.log_id.index);
        let end = last.max(sent.filter(|_| follows));
        let committed = request.leader_commit.take();
        request.leader_commit = committed.filter(|id| Some(id.index) <= end);
    }

    /// What `from` says, if it can be meant.
    fn heard<T>(&self, from: NodeId, call: Call, body: &[u8]) -> io::Result<T>
    where
        T: Recorded<Record: Plausible>,
    {
        let record: T::Record = self.versions.hear(from, body).inspect_err(|why| {
            // Only who leads says what there is to apply: nobody else makes this node stop.
            if self.news().leader == Some(from) {
                self.versions.stop_for(body, why);
            }
        })?;
        let now = self.outside.clock.now();
        self.terms
            .believe(now, from, self.term(), &record)
            .inspect_err(|why| self.complain(from, call, why))?;
        Ok(T::from_record(record)?)
    }

    fn complain(&self, from: NodeId, call: Call, why: &dyn Display) {
        let now = self.outside.clock.now();
        self.complaints.tell(now, from, call, why);
    }

    fn answer<T: Recorded>(&self, to: NodeId, answer: &T) -> io::Result<Vec<u8>> {
        let record = answer.to_record(self.versions.writes());
        Ok(self.versions.tell(to, &record)?)
    }

    async fn handle_vote(&self, from: NodeId, ballot: Ballot, body: &[u8]) -> io::Result<Vec<u8>> {
        let call = match ballot {
            Ballot::Vote => Call::Vote,
            Ballot::PreVote => Call::PreVote,
        };
        let request: VoteRequest<Types<R>> = self.heard(from, call, body)?;
        let last = request.last_log_id.as_ref().map_or(0, |l| l.index);
        if self.acknowledged.ends_early(from, last) {
            let why = "its log ends before what it once acknowledged";
            self.complain(from, call, &why);
            return Err(io::Error::other(why));
        }
        let term = request.vote.leader_id.term;
        if lock(&self.promise).vote_in(self.outside.clock.now(), from, term, ballot)
            == VoteDecision::Refuse
        {
            tracing::trace!(%from, term, ?ballot, "vote refused: this node is promised to another");
            return Err(io::Error::new(
                io::ErrorKind::WouldBlock,
                "promised to another leader",
            ));
        }
        if ballot == Ballot::PreVote {
            let asked = self.raft.pre_vote(request).await;
            return self.answer(from, &asked.map_err(io::Error::other)?);
        }
        // Whatever happens inside, the note in the promise must be taken back: also when this future is dropped.
        let mut note = VoteNote {
            promise: self.promise.clone(),
            answered: 0,
        };
        let response = self.raft.vote(request).await.map_err(io::Error::other)?;
        note.answered = response.vote.leader_id.term;
        drop(note);
        self.answer(from, &response)
    }
}

struct VoteNote {
    promise: SharedPromise,
    answered: u64,
}
impl Drop for VoteNote {
    fn drop(&mut self) {
        lock(&self.promise).vote_answered(self.answered);
    }
}
