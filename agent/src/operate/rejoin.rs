//! Makes the place of a member free for the same machine, which has lost its data and comes under a new id.

use super::{Operations, propose_error};
use crate::error::RequestError;
use crate::meet::{self, Heard, Place};
use ha_core::controller::Behind;
use ha_core::id::NodeId;
use ha_core::model::Member;
use std::time::Duration;

/// How long the member of before may take to show that it is there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

impl Operations {
    /// The member in whose place `new` comes; it votes and learns no more. `None`: nobody has that name.
    ///
    /// # Errors
    /// It is another, or it answers; a majority that would be lost.
    pub(super) async fn make_place(&self, new: &Member) -> Result<Option<NodeId>, RequestError> {
        let facts = self.consensus.read().facts;
        let Some(old) = facts.member_named(&new.name).filter(|m| m.id != new.id) else {
            return Ok(None);
        };
        let name = &old.name;
        if old.role != new.role {
            return Err(RequestError::invalid_argument(format!(
                "{name} is a {}, and `role` in its agent.toml is {}: a node comes back as what it was. For another role: `ha-cli member remove {name}`, then `ha-agent join` there",
                old.role.word(),
                new.role.word()
            )));
        }
        let answers = || {
            RequestError::failed_precondition(format!(
                "{name} answers, so it has not lost its place: if another machine has that name, give this one another `name` in agent.toml; else stop its agent first"
            ))
        };
        let id = old.id;
        if id == self.member.id {
            return Err(answers());
        }
        let place = Place {
            name: name.clone(),
            listen: old.listen,
        };
        let question = meet::question(facts.cluster_id, &self.known());
        let heard = meet::ask(&self.trust, &[place], &question, ANSWERS_WITHIN).await;
        if matches!(heard.first(), Some((_, Heard::Agent(there, _))) if *there == id) {
            return Err(answers());
        }
        // It may be reached where it was not asked.
        let silent = self
            .driver
            .ask(move |c| c.unreachable().contains(&id))
            .await;
        if self.consensus.news().votes(id) && silent != Some(true) {
            return Err(answers());
        }
        self.wait_for_majority_without(id, Behind::IsMissing)
            .await?;
        self.consensus
            .remove(id)
            .await
            .map_err(|e| propose_error(&e))?;
        Ok(Some(id))
    }
}
