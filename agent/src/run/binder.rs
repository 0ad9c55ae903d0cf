//! The bindings of the log, as the data plane asks for them.

use ha_core::dispatch::{Remembered, UnderWay};
use ha_core::stick::{StickEntry, StickKey};
use ha_node::binder::LogBinder;
use ha_proxy::{Binder, Binding};
use std::sync::Arc;

/// Gives the data plane the binder that writes to the log.
pub struct ProxyBinder(pub Arc<LogBinder>);

impl UnderWay for ProxyBinder {
    fn is_under_way(&self, key: &StickKey) -> bool {
        self.0.is_under_way(key)
    }
}

impl Binder for ProxyBinder {
    fn bind(&self, key: StickKey, proposal: StickEntry, remembered: Remembered) -> Binding {
        told(self.0.bind(key, proposal, remembered))
    }

    fn refresh(&self, key: StickKey, entry: StickEntry) -> Binding {
        told(self.0.refresh(key, entry))
    }
}

fn told(binding: ha_node::binder::Binding) -> Binding {
    Binding {
        entry: binding.entry,
        committed: binding.committed,
    }
}
