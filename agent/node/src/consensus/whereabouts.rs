//! Where the other nodes are reached.
//!
//! As a node said itself, as long as the log does not have it yet; else as the log has it; else as the membership of the
//! consensus library has it. That one never changes: to change an address there could split the cluster in two, and the
//! library warns of it. Whom a call is for is in its certificate, so a wrong address is silence and nothing worse.

use ha_core::id::NodeId;
use ha_core::state::Facts;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// See the module.
#[derive(Clone)]
pub struct Whereabouts {
    said: Arc<RwLock<BTreeMap<NodeId, SocketAddr>>>,
    facts: Arc<dyn Fn() -> Arc<Facts> + Send + Sync>,
}

impl Whereabouts {
    /// Nobody has said anything yet; `facts` is what the log says at this moment.
    pub fn new(facts: impl Fn() -> Arc<Facts> + Send + Sync + 'static) -> Self {
        Whereabouts {
            said: Arc::default(),
            facts: Arc::new(facts),
        }
    }

    /// Where a node is reached; `otherwise`, when neither it nor the log has said.
    pub fn of(&self, node: NodeId, otherwise: &str) -> String {
        let said = self.said.read().unwrap_or_else(PoisonError::into_inner);
        let known = said.get(&node).copied();
        drop(said);
        known
            .or_else(|| (self.facts)().members.get(&node).map(|m| m.listen))
            .map_or_else(|| otherwise.to_owned(), |at| at.to_string())
    }

    /// A member says itself, with its certificate, where it is reached. Whether the log has it otherwise. Of who is no
    /// member nothing is noted, so there are never more than those.
    pub fn note(&self, node: NodeId, listen: SocketAddr) -> bool {
        let facts = (self.facts)();
        let mut said = self.said.write().unwrap_or_else(PoisonError::into_inner);
        said.retain(|n, at| facts.members.get(n).is_some_and(|m| m.listen != *at));
        let Some(known) = facts.members.get(&node) else {
            return false;
        };
        if known.listen == listen {
            said.remove(&node);
            return false;
        }
        said.insert(node, listen);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_core::model::{Member, Role};
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    #[test]
    fn what_a_node_says_counts_until_the_log_has_it_and_nobody_else_is_noted() {
        let node = NodeId::from_random;
        let at = |host: u8| SocketAddr::from(([10, 0, 0, host], 7400));
        let log = Arc::new(Mutex::new(Arc::new(Facts::default())));
        let put = |host| {
            let member = Member {
                id: node(1),
                name: "node-1".into(),
                listen: at(host),
                address: at(host).ip(),
                role: Role::Server,
                version: String::new(),
                speaks: ha_core::version::CURRENT,
                checks: BTreeSet::new(),
            };
            let members = Arc::new(BTreeMap::from([(node(1), member)]));
            *log.lock().unwrap() = Arc::new(Facts {
                members,
                ..Facts::default()
            });
        };
        let read = log.clone();
        let whereabouts = Whereabouts::new(move || read.lock().unwrap().clone());
        let of = |n| whereabouts.of(node(n), "membership:1");
        assert_eq!(of(1), "membership:1");
        assert!(!whereabouts.note(node(1), at(7)), "it is no member");
        assert_eq!(of(1), "membership:1");
        put(1);
        assert_eq!(of(1), "10.0.0.1:7400");
        assert!(whereabouts.note(node(1), at(2)));
        assert_eq!(of(1), "10.0.0.2:7400");
        put(2);
        assert!(!whereabouts.note(node(1), at(2)));
        put(3);
        assert_eq!(of(1), "10.0.0.3:7400", "what it said is over");
        assert_eq!(of(2), "membership:1");
    }
}
