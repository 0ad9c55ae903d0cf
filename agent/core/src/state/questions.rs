//! What the agreed facts answer: who is who, and what is wanted of it.

use super::{AdminRecord, Facts};
use crate::id::{NodeId, ServerId};
use crate::model::{AdminState, Member, Role, VOTER_TIMEOUT};
use std::time::Duration;

impl Facts {
    /// The number of a configured server.
    pub fn server_id(&self, backend: &str, server: &str) -> Option<ServerId> {
        // The map is small and asked when a view is made, so two short-lived strings do no harm.
        self.server_ids
            .get(&(backend.to_owned(), server.to_owned()))
            .copied()
    }

    /// Backend and name of a server.
    pub fn server_name(&self, id: ServerId) -> Option<(&str, &str)> {
        self.server_ids
            .iter()
            .find(|(_, i)| **i == id)
            .map(|((b, s), _)| (b.as_str(), s.as_str()))
    }

    /// The member with that name.
    pub fn member_named(&self, name: &str) -> Option<&Member> {
        self.members.values().find(|m| m.name == name)
    }

    /// Whether the checks call it usable. A server without checks, or never checked, is.
    pub fn is_up(&self, id: ServerId) -> bool {
        self.health.get(&id).is_none_or(|h| h.up)
    }

    /// After how long a voter that is silent loses its vote; zero: never. By itself only where there is no witness, which
    /// is the other way to have one of three machines die after the other.
    pub fn voter_timeout(&self) -> Duration {
        self.config.voter_timeout.unwrap_or_else(|| {
            let witnesses = self.members.values().any(|m| m.role == Role::Witness);
            if witnesses {
                Duration::ZERO
            } else {
                VOTER_TIMEOUT
            }
        })
    }

    /// Whether `node` is of the kind that holds.
    pub fn is_server(&self, node: NodeId) -> bool {
        self.members
            .get(&node)
            .is_some_and(|m| m.role == Role::Server)
    }

    /// Whether `node` is of the kind that holds, and no operator wants it out.
    pub fn may_lead(&self, node: NodeId) -> bool {
        self.is_server(node) && self.admin_of(node) == AdminState::Ready
    }

    /// What an operator wants of a node.
    pub fn admin_of(&self, node: NodeId) -> AdminState {
        self.node_admin
            .get(&node)
            .map_or(AdminState::Ready, |a| a.state)
    }

    /// The stricter of what is wanted of a server and of the node it runs on.
    pub fn effective_admin(&self, id: ServerId, node: Option<NodeId>) -> AdminRecord {
        let of_server = self.server_admin.get(&id);
        let of_node = node.and_then(|n| self.node_admin.get(&n));
        match (of_server, of_node) {
            (Some(s), Some(n)) if n.state > s.state => n.clone(),
            (Some(s), _) => s.clone(),
            (None, Some(n)) => n.clone(),
            (None, None) => AdminRecord::default(),
        }
    }

    /// The name of a node, or its id when it is not known.
    pub fn node_name(&self, id: NodeId) -> String {
        self.members
            .get(&id)
            .map_or_else(|| id.to_string(), |m| m.name.clone())
    }
}
