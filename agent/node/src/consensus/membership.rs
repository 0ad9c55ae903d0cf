//! Changes of the membership: one at a time, by a leader that is in it.

use super::Consensus;
use super::news::propose_error;
use super::settings::ProposeError;
use super::types::Runtime;
use ha_core::id::NodeId;
use openraft::{BasicNode, ChangeMembers};
use std::collections::BTreeSet;

impl<R: Runtime> Consensus<R> {
    /// Makes a node a learner. Does not wait until it has caught up.
    pub async fn add_learner(&self, id: NodeId, listen: String) -> Result<(), ProposeError> {
        self.may_change()?;
        self.raft
            .add_learner(id, BasicNode::new(listen), false)
            .await
            .map(drop)
            .map_err(propose_error)
    }

    /// Makes these the voters, in one change, if `from` are it now. Who loses its vote goes on as a learner.
    pub async fn set_voters(
        &self,
        from: &BTreeSet<NodeId>,
        to: BTreeSet<NodeId>,
    ) -> Result<(), ProposeError> {
        if !matches!(self.news().voters.as_slice(), [now] if now == from) {
            return Err(ProposeError::NoMajority(
                "another change of the membership came first".to_owned(),
            ));
        }
        self.change(ChangeMembers::ReplaceAllVoters(to), true).await
    }

    /// Makes a learner a voter.
    pub async fn promote(&self, id: NodeId) -> Result<(), ProposeError> {
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true)
            .await
    }

    /// Ends a joint membership: as was intended, or as it was before; a uniform one stays as it is. Whether who loses its
    /// vote was to leave altogether is not known here: it goes on as a learner, and its removal can be asked for again.
    pub async fn settle_membership(&self, forward: bool) -> Result<(), ProposeError> {
        let to = match self.news().voters.as_slice() {
            // No further voters: the library itself finds out where that leads from what is in force then.
            [_, _, ..] if forward => ChangeMembers::AddVoterIds(BTreeSet::new()),
            [before, _, ..] => ChangeMembers::ReplaceAllVoters(before.clone()),
            _ => return Ok(()),
        };
        self.change(to, true).await
    }

    /// Makes these nodes, which are voters or learners now, the only voters, in one change; the other voters are out.
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ProposeError> {
        self.change(ChangeMembers::ReplaceAllVoters(voters), false)
            .await
    }

    /// Takes a node out of the membership altogether.
    pub async fn remove(&self, id: NodeId) -> Result<(), ProposeError> {
        if self.news().votes(id)
            && let Err(e) = self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id])), false).await
            // The same change may have been brought to its end beside this one.
            && self.news().votes(id)
        {
            return Err(e);
        }
        if self.news().learners.contains(&id) {
            self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), false)
                .await?;
        }
        Ok(())
    }

    /// A leader that is out of the membership leads until another does, and changes the membership no more.
    fn may_change(&self) -> Result<(), ProposeError> {
        if self.news().addresses.contains_key(&self.me) {
            Ok(())
        } else {
            Err(ProposeError::NotLeader(None))
        }
    }

    async fn change(
        &self,
        members: ChangeMembers<NodeId, BasicNode>,
        retain: bool,
    ) -> Result<(), ProposeError> {
        self.may_change()?;
        self.raft
            .change_membership(members, retain)
            .await
            .map(drop)
            .map_err(propose_error)
    }
}
