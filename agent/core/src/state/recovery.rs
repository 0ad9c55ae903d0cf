//! What one node alone took over after the others were lost, and members that come to another place or id.
//!
//! A cluster has a *generation*: 1 from its founding on, one more with each recovery. Members of an earlier one may still
//! exist, with a majority among themselves; whoever meets a later generation takes no part any more.

use super::{AdminRecord, Facts};
use crate::command::{Answer, Outcome, Rejection};
use crate::events::What;
use crate::id::{NodeId, ServerId};
use crate::model::{Member, Server};
use crate::own_address;
use crate::time::Timestamp;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The newest recovery of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// That of the cluster since then: 2 after the first.
    pub generation: u64,
    /// When.
    pub at: Timestamp,
    /// The node whose log went on, under its new id.
    pub node: NodeId,
    /// Its name.
    pub by: String,
    /// Members of before that have not come back under their names, by their ids of then.
    pub former: BTreeMap<NodeId, Former>,
}

/// A member of before a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Former {
    /// Its name.
    pub name: String,
    /// Where it was reached.
    pub listen: SocketAddr,
    /// What was wanted of it: still is when it comes back.
    pub admin: Option<AdminRecord>,
}

impl Facts {
    /// Grows with each recovery.
    pub fn generation(&self) -> u64 {
        self.recovery.as_ref().map_or(1, |r| r.generation)
    }

    /// All that was agreed goes on, with `member` alone: it was `was`. Every earlier id is not heard any more. Nobody
    /// holds, so that it is looked whether somebody else answers for the addresses.
    pub(super) fn recover(
        &mut self,
        facts: &Facts,
        was: NodeId,
        member: &Member,
        at: Timestamp,
        by: &str,
    ) -> Answer {
        if self.cluster_id != NodeId::default() {
            return Err(Rejection::AlreadyFounded);
        }
        if facts.members.contains_key(&member.id) || facts.trust.removed.contains_key(&member.id) {
            return Err(Rejection::NodeRemoved(member.id));
        }
        facts.check_speaks(member)?;
        let mut next = facts.clone();
        let generation = next.generation() + 1;
        let mut former = next
            .recovery
            .take()
            .map_or_else(BTreeMap::new, |r| r.former);
        for (id, known) in facts.members.iter() {
            next.shut_out(*id, at);
            let admin = next.node_admin.remove(id);
            if *id == was {
                next.node_admin.extend(admin.map(|a| (member.id, a)));
                continue;
            }
            let (name, listen) = (known.name.clone(), known.listen);
            former.insert(
                *id,
                Former {
                    name,
                    listen,
                    admin,
                },
            );
        }
        next.members = Arc::new(BTreeMap::from([(member.id, member.clone())]));
        (next.holder, next.maintenance) = (None, None);
        next.recovery = Some(Recovery {
            generation,
            at,
            node: member.id,
            by: member.name.clone(),
            former,
        });
        let node = member.name.clone();
        next.event(at, What::Recovered { generation, node }, by);
        *self = next;
        Ok(Outcome::Done)
    }

    /// Who comes back under the name of a former member is wanted as that one was.
    pub(super) fn come_back(&mut self, member: &Member) {
        let Some(recovery) = &mut self.recovery else {
            return;
        };
        let named = |f: &Former| f.name == member.name;
        let back: Vec<NodeId> = recovery
            .former
            .iter()
            .filter(|(_, f)| named(f))
            .map(|(id, _)| *id)
            .collect();
        for id in back {
            let admin = recovery.former.remove(&id).and_then(|f| f.admin);
            self.node_admin.extend(admin.map(|a| (member.id, a)));
        }
    }

    /// Forgets the member `old`, in whose place `new` comes: under its name, and wanted as it was.
    pub(super) fn give_way(
        &mut self,
        old: NodeId,
        new: &Member,
        at: Timestamp,
        by: &str,
    ) -> Result<(), Rejection> {
        let Some(known) = self.members.get(&old) else {
            // It was removed by itself before.
            return Ok(());
        };
        if (&known.name, known.role) != (&new.name, new.role) {
            return Err(Rejection::NameTaken(new.name.clone()));
        }
        let admin = self.node_admin.remove(&old);
        self.remove_member(old, at, by)?;
        self.node_admin.extend(admin.map(|a| (new.id, a)));
        Ok(())
    }

    /// The servers that run on a node, by its name.
    pub(super) fn servers_on(&self, node: NodeId) -> BTreeSet<ServerId> {
        let Some(member) = self.members.get(&node) else {
            return BTreeSet::new();
        };
        let on_it = |s: &&Server| s.node.as_ref() == Some(&member.name);
        let backends = self.config.backends.iter();
        let servers =
            backends.flat_map(|b| b.servers.iter().filter(on_it).map(|s| (&b.name, &s.name)));
        servers
            .filter_map(|(backend, server)| self.server_id(backend, server))
            .collect()
    }

    /// A member as it would be at another place. `None`: it is there.
    ///
    /// # Errors
    /// Another member, or a virtual IP, has that address.
    pub fn moved(
        &self,
        node: NodeId,
        listen: SocketAddr,
        address: IpAddr,
    ) -> Result<Option<Member>, Rejection> {
        let Some(known) = self.members.get(&node) else {
            return Err(Rejection::NodeUnknown(node.to_string()));
        };
        if (known.listen, known.address) == (listen, address) {
            return Ok(None);
        }
        let moved = Member {
            listen,
            address,
            ..known.clone()
        };
        self.check_unique(&moved)?;
        match own_address::among(&self.config.virtual_ips, own_address::of(&moved)).first() {
            Some(own) => Err(Rejection::AddressOfVirtualIp(
                own.address.to_string(),
                own.virtual_ip.clone(),
            )),
            None => Ok(Some(moved)),
        }
    }

    /// A member is reached elsewhere from now on, and its servers listen elsewhere.
    pub(super) fn relocate(
        &mut self,
        node: NodeId,
        listen: SocketAddr,
        address: IpAddr,
        at: Timestamp,
    ) -> Answer {
        let Some(moved) = self.moved(node, listen, address)? else {
            return Ok(Outcome::Done);
        };
        let before = self.members.get(&node).map_or(listen, |m| m.listen);
        let what = What::MemberMoved {
            node: moved.name.clone(),
            listen,
            before,
        };
        self.event(at, what, "");
        Arc::make_mut(&mut self.members).insert(node, moved);
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests;
