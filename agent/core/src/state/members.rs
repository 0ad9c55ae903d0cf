//! Who belongs to the cluster. Ids, names and addresses are unique.

use super::Facts;
use super::configure::check_kinds;
use crate::command::{Answer, Outcome, Rejection};
use crate::events::What;
use crate::id::NodeId;
use crate::model::Member;
use crate::time::Timestamp;
use std::sync::Arc;

impl Facts {
    pub(super) fn add_member(&mut self, member: &Member, at: Timestamp, by: &str) -> Answer {
        let added = What::MemberAdded {
            node: member.name.clone(),
            role: member.role,
            listen: member.listen,
        };
        self.take_in(member, added, at, by)
    }

    /// Makes a node known, by which way ever it came.
    pub(super) fn take_in(
        &mut self,
        member: &Member,
        what: What,
        at: Timestamp,
        by: &str,
    ) -> Answer {
        if let Some(known) = self.members.get(&member.id) {
            // A join that is tried again after its answer was lost is the same join.
            return if known == member {
                Ok(Outcome::Done)
            } else {
                Err(Rejection::IdTaken(member.id, known.name.clone()))
            };
        }
        self.check_unique(member)?;
        self.check_speaks(member)?;
        check_kinds(&self.config, std::iter::once(member))?;
        self.event(at, what, by);
        self.come_back(member);
        Arc::make_mut(&mut self.members).insert(member.id, member.clone());
        Ok(Outcome::Done)
    }

    pub(super) fn remove_member(&mut self, id: NodeId, at: Timestamp, by: &str) -> Answer {
        let Some(member) = self.members.get(&id).cloned() else {
            return Err(Rejection::NodeUnknown(id.to_string()));
        };
        Arc::make_mut(&mut self.members).remove(&id);
        self.node_admin.remove(&id);
        self.forget_orders();
        self.shut_out(id, at);
        if self.holder.as_ref().is_some_and(|h| h.node == id) {
            self.holder = None;
        }
        self.event(at, What::MemberRemoved { node: member.name }, by);
        Ok(Outcome::Done)
    }

    pub(super) fn check_unique(&self, member: &Member) -> Result<(), Rejection> {
        for other in self.members.values().filter(|m| m.id != member.id) {
            if other.name == member.name {
                return Err(Rejection::NameTaken(member.name.clone()));
            }
            if other.listen == member.listen {
                return Err(Rejection::AddressTaken(
                    member.listen.to_string(),
                    other.name.clone(),
                ));
            }
        }
        Ok(())
    }
}
