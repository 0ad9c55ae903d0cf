//! Who forwards is who answers; a server in maintenance gets no session, one that drains no newcomer, and one
//! that is down and has long been known to be gets nobody.

use ha_core::id::ServerId;
use std::collections::BTreeMap;

/// A view follows the log within this time.
const FOLLOWS: u64 = 20_000_000;
/// A server that has refused for so long was found down by whoever leads, whenever that began to lead.
const FOUND_DOWN: u64 = 8_000_000_000;
/// What one leader knows the next one knows, so long after the log has had it.
const KNOWN_DOWN: u64 = 4_000_000_000;

/// Since when each node has known of servers, in world time.
#[derive(Debug, Default)]
pub struct Service {
    maintenance: Known,
    draining: Known,
    down: Known,
}

type Known = BTreeMap<(usize, ServerId), u64>;

fn learn(known: &mut Known, me: usize, now: u64, servers: &[ServerId]) {
    known.retain(|(node, server), _| *node != me || servers.contains(server));
    for server in servers {
        known.entry((me, *server)).or_insert(now);
    }
}

impl Service {
    /// Node `me` has applied something; these servers are in maintenance, these drain, these are down.
    pub fn on_applied(
        &mut self,
        me: usize,
        now: u64,
        in_maintenance: &[ServerId],
        draining: &[ServerId],
        down: &[ServerId],
    ) {
        learn(&mut self.maintenance, me, now, in_maintenance);
        learn(&mut self.draining, me, now, draining);
        learn(&mut self.down, me, now, down);
    }

    /// A process has ended; the next one of its node learns anew.
    pub fn on_ended(&mut self, me: usize) {
        self.on_applied(me, 0, &[], &[], &[]);
    }

    /// Node `me` chooses a server for a client that is bound to none.
    pub fn on_newcomer(&self, me: usize, now: u64, server: ServerId) -> Result<(), String> {
        if self
            .draining
            .get(&(me, server))
            .is_some_and(|since| now > since + FOLLOWS)
        {
            return Err(format!(
                "drain: node-{me} knows that server {} drains and sends it a newcomer",
                server.0
            ));
        }
        Ok(())
    }

    /// Node `me` tries to connect a client to a server that has not served since `broken`.
    pub fn on_attempt(
        &self,
        me: usize,
        now: u64,
        server: ServerId,
        broken: Option<u64>,
    ) -> Result<(), String> {
        let long_known = self
            .down
            .get(&(me, server))
            .is_some_and(|since| now > since + KNOWN_DOWN);
        if long_known && broken.is_some_and(|since| now > since + FOUND_DOWN) {
            return Err(format!(
                "health: node-{me} has long known that server {} is down and sends it a client",
                server.0
            ));
        }
        Ok(())
    }

    /// Node `me` forwards a session.
    pub fn on_session(
        &self,
        me: usize,
        now: u64,
        holders: &[usize],
        server: ServerId,
    ) -> Result<(), String> {
        if !holders.contains(&me) {
            return Err(format!(
                "served by the holder: node-{me} forwards and does not answer for the address"
            ));
        }
        if self
            .maintenance
            .get(&(me, server))
            .is_some_and(|since| now > since + FOLLOWS)
        {
            return Err(format!(
                "maintenance: node-{me} knows that server {} is in maintenance and sends it a session",
                server.0
            ));
        }
        Ok(())
    }
}
