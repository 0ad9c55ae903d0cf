//! How this machine is, as the node reports it.

use super::stalls::SeenStalls;
use crate::hands::Hands;
use ha_core::controller::Stalls;
use ha_core::id::ServerId;
use ha_core::trust::Credentials;
use ha_node::outside::{Boxed, SelfCheck};
use ha_proxy::Proxy;
use ha_trust::store::TrustStore;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Looks at this machine for the node's report.
pub struct ThisMachine {
    pub(super) stalls: SeenStalls,
    pub(super) proxy: Arc<Proxy>,
    pub(super) hands: Hands,
    pub(super) trust: Arc<TrustStore>,
}

impl SelfCheck for ThisMachine {
    fn data_plane(&self) -> Boxed<Option<String>> {
        let proxy = self.proxy.clone();
        Box::pin(async move { proxy.self_check().await.err() })
    }

    fn obstacle(&self) -> Option<String> {
        self.hands.obstacle()
    }

    fn sessions(&self) -> BTreeMap<ServerId, u32> {
        let counters = self.proxy.counters();
        counters
            .servers
            .iter()
            .map(|(id, c)| (*id, c.now + c.queued))
            .collect()
    }

    fn credentials(&self) -> Credentials {
        self.trust.live().credentials()
    }

    fn stalls(&self) -> Stalls {
        self.stalls.get()
    }
}
