//! A read that is as new as the newest answer to anybody: confirmed by a quorum.

use super::types::Runtime;
use super::{Consensus, ProposeError};
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use std::time::Duration;

impl<R: Runtime> Consensus<R> {
    /// Returns once a quorum has said that this node still leads, after this was called, and everything that was
    /// committed before has been applied here.
    ///
    /// # Errors
    /// It does not lead, or nobody has said so `within` that time.
    pub async fn confirm(&self, within: Duration) -> Result<(), ProposeError> {
        let asked = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        let clock = self.outside.clock.clone();
        let answer = tokio::select! {
            biased;
            answer = asked => answer,
            () = clock.sleep(within) => {
                return Err(ProposeError::NoMajority(format!("nothing within {within:?}")));
            }
        };
        answer.map(drop).map_err(|e| match e {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(f)) => {
                ProposeError::NotLeader(f.leader_id)
            }
            RaftError::APIError(other) => ProposeError::NoMajority(other.to_string()),
            RaftError::Fatal(e) => ProposeError::Ended(e.to_string()),
        })
    }
}
