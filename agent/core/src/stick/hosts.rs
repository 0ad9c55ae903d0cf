//! Servers that move to another machine take their clients with them.

use super::{StickEntry, StickIndex};
use crate::id::ServerId;
use std::net::IpAddr;

impl StickIndex {
    /// The servers for which `moved` holds run at `host` from now on. Looks at every binding.
    pub fn move_hosts(&mut self, moved: impl Fn(ServerId) -> bool, host: IpAddr) {
        let elsewhere = |e: &StickEntry| moved(e.server) && e.host != host;
        let found: Vec<_> = self
            .table
            .iter()
            .filter(|(_, e)| elsewhere(e))
            .map(|(k, e)| (k.clone(), *e))
            .collect();
        for (key, entry) in found {
            // When it ends is not changed by that.
            self.table.leaves.insert(key, StickEntry { host, ..entry });
        }
    }
}
