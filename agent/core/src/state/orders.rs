//! The numbers of orders: who gives one says which it saw last, so that one which was late does not undo a newer one.

use super::Facts;
use crate::command::{AdminOrder, AdminTarget, Answer, Outcome, Rejection};
use crate::id::{NodeId, ServerId};
use crate::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Orders are numbered through, whatever they are about. That a drain ended is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OrderNumbers {
    /// The last number that was given.
    pub last: u64,
    /// Of nodes, the last one each; also one that made it ready.
    pub nodes: BTreeMap<NodeId, u64>,
    /// The same of servers.
    pub servers: BTreeMap<ServerId, u64>,
}

impl Facts {
    /// The number of the newest order of what that means; 0: there was none.
    pub fn order_of(&self, target: &AdminTarget) -> u64 {
        match target {
            AdminTarget::Node(node) => self.orders.nodes.get(node).copied(),
            AdminTarget::Servers(ids) => {
                let of = |id| self.orders.servers.get(id).copied();
                ids.iter().filter_map(of).max()
            }
        }
        .unwrap_or_default()
    }

    /// Carries an order out if the last one is that which its giver saw.
    pub(super) fn order(
        &mut self,
        target: &AdminTarget,
        order: &AdminOrder,
        force: bool,
        expect: Option<u64>,
        at: Timestamp,
        by: &str,
    ) -> Answer {
        let now = self.order_of(target);
        if let Some(expected) = expect.filter(|e| *e != now) {
            return Err(Rejection::OrderMoved { now, expected });
        }
        self.set_admin(target, order, force, at, by)?;
        let orders = Arc::make_mut(&mut self.orders);
        orders.last += 1;
        let number = orders.last;
        match target {
            AdminTarget::Node(node) => drop(orders.nodes.insert(*node, number)),
            AdminTarget::Servers(ids) => orders.servers.extend(ids.iter().map(|id| (*id, number))),
        }
        Ok(Outcome::Ordered { since: at, number })
    }

    /// Of nodes and servers that are not known any more.
    pub(super) fn forget_orders(&mut self) {
        let known: std::collections::BTreeSet<ServerId> =
            self.server_ids.values().copied().collect();
        let (members, orders) = (self.members.clone(), Arc::make_mut(&mut self.orders));
        orders.nodes.retain(|id, _| members.contains_key(id));
        orders.servers.retain(|id, _| known.contains(id));
    }
}
