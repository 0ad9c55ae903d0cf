//! Who forwards is who answers; a server in maintenance gets no session.

use ha_core::id::ServerId;
use std::collections::BTreeMap;

/// A view follows the log within this time.
const FOLLOWS: u64 = 20_000_000;

/// Since when each node has known of servers in maintenance, in world time.
#[derive(Debug, Default)]
pub struct Service {
    maintenance: BTreeMap<(usize, ServerId), u64>,
}

impl Service {
    /// Node `me` has applied something; these servers are in maintenance.
    pub fn on_applied(&mut self, me: usize, now: u64, in_maintenance: &[ServerId]) {
        self.maintenance.retain(|(node, server), _| *node != me || in_maintenance.contains(server));
        for server in in_maintenance {
            self.maintenance.entry((me, *server)).or_insert(now);
        }
    }

    /// A process has ended; the next one of its node learns anew.
    pub fn on_ended(&mut self, me: usize) {
        self.maintenance.retain(|(node, _), _| *node != me);
    }

    /// Node `me` forwards a session.
    pub fn on_session(&self, me: usize, now: u64, holders: &[usize], server: ServerId) -> Result<(), String> {
        if !holders.contains(&me) {
            return Err(format!("served by the holder: node-{me} forwards and does not answer for the address"));
        }
        if self.maintenance.get(&(me, server)).is_some_and(|since| now > since + FOLLOWS) {
            return Err(format!("maintenance: node-{me} knows that server {} is in maintenance and sends it a session", server.0));
        }
        Ok(())
    }
}
