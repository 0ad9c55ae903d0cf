//! Requests that are asked for again: one that was answered before is answered so again.

use super::{Operations, RequestError, rejection_error};
use ha_core::command::Outcome;
use ha_core::request::Request;
use ha_core::time::Timestamp;
use ha_proto::control as pb;

impl Operations {
    /// The request that this is an attempt at, made at `at`.
    ///
    /// # Errors
    /// Its id is none.
    pub(super) fn attempt(
        at: Timestamp,
        asked: Option<&pb::Asked>,
    ) -> Result<Option<Request>, RequestError> {
        let attempt = asked.map(|asked| {
            let id = asked.id.parse();
            let id = id.map_err(|e| RequestError::invalid_argument(format!("asked.id: {e}")))?;
            let asked = Timestamp(at.0.saturating_sub(asked.age_ms));
            Ok(Request { id, asked })
        });
        attempt.transpose()
    }

    /// What was answered to it at an earlier attempt, if it was: this is looked at before anything that would refuse it
    /// as things are now. The log decides all the same.
    pub(super) fn answered_before(
        &self,
        at: Timestamp,
        asked: Option<&pb::Asked>,
    ) -> Option<Result<Outcome, RequestError>> {
        let request = match Operations::attempt(at, asked) {
            Ok(request) => request?,
            Err(refused) => return Some(Err(refused)),
        };
        let answer = self.consensus.read().facts.answers.to(request, at)?;
        Some(answer.map_err(|r| rejection_error(&r)))
    }
}
