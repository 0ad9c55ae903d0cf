//! What an operator was told is done is done: every later holder has it, until another order takes its place.

use ha_core::id::NodeId;
use ha_core::model::AdminState;
use ha_core::state::Facts;
use std::collections::BTreeMap;

/// Orders about nodes, given one after the other.
#[derive(Debug, Default)]
pub struct Orders {
    acknowledged: BTreeMap<NodeId, AdminState>,
    /// Given since then and not acknowledged: the log may come to have them or not.
    doubts: BTreeMap<NodeId, Vec<AdminState>>,
}

impl Orders {
    /// It is given.
    pub fn on_given(&mut self, node: NodeId, state: AdminState) {
        self.doubts.entry(node).or_default().push(state);
    }

    /// Its answer has come. A refused one changes nothing.
    pub fn on_answered(&mut self, node: NodeId, state: AdminState, done: bool) {
        if done {
            self.doubts.remove(&node);
            self.acknowledged.insert(node, state);
        } else if let Some(doubts) = self.doubts.get_mut(&node) {
            doubts.retain(|d| *d != state);
        }
    }

    /// The node is no member any more.
    pub fn on_removed(&mut self, node: NodeId) {
        self.acknowledged.remove(&node);
        self.doubts.remove(&node);
    }

    /// Node `me` answers from now on and knows this.
    pub fn on_claim(&self, me: usize, facts: &Facts) -> Result<(), String> {
        // With a member go the orders about it.
        for (node, wanted) in self.acknowledged.iter().filter(|(node, _)| facts.members.contains_key(node)) {
            let found = facts.node_admin.get(node).map_or(AdminState::Ready, |a| a.state);
            if found != *wanted && !self.doubts.get(node).is_some_and(|d| d.contains(&found)) {
                return Err(format!("orders: {} was to be {wanted:?}, which was acknowledged; node-{me} holds and has {found:?}", facts.node_name(*node)));
            }
        }
        Ok(())
    }
}
