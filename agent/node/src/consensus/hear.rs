//! What peers ask, answered: the guard on votes that come in, and the lease protocol.

use super::convert::Recorded;
use super::plausible::Plausible;
use super::types::{Runtime, Snapshot, SnapshotMeta, Types, Vote};
use super::{Consensus, SharedPromise};
use crate::outside::Call;
use ha_core::id::NodeId;
use ha_core::lease::{Ballot, Lease, Promise, ReleaseHeard, VoteDecision};
use ha_record::lease::{LeaseAnswer, Released};
use openraft::raft::VoteRequest;
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
                let asked = self
                    .raft
                    .append_entries(self.heard(from, call, body)?)
                    .await;
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

    /// What `from` says, if it can be meant.
    fn heard<T>(&self, from: NodeId, call: Call, body: &[u8]) -> io::Result<T>
    where
        T: Recorded<Record: Plausible>,
    {
        let record: T::Record = self.versions.hear(from, body)?;
        record
            .check(from, self.term())
            .inspect_err(|why| self.complain(from, call, why))?;
        Ok(T::from_record(record)?)
    }

    /// For whoever looks for the member that is broken, or not what it should be.
    fn complain(&self, from: NodeId, call: Call, why: &dyn Display) {
        if let Some(times) = self.complaints.note(self.outside.clock.now(), from) {
            tracing::warn!(%from, ?call, %why, times, "a member says what is not believed");
        }
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
