//! A client stays at its server while that is usable, whichever port of the group it comes to.

use ha_core::id::ServerId;
use std::collections::BTreeMap;

/// Where each client's last session went on a binding that was acknowledged.
#[derive(Debug, Default)]
pub struct Affinity {
    last: BTreeMap<usize, ServerId>,
}

impl Affinity {
    /// The server that a client should get.
    pub fn server_of(&self, client: usize) -> Option<ServerId> {
        self.last.get(&client).copied()
    }

    /// A session of `client` goes to `server`; `usable`: its last one could have been had.
    pub fn on_session(&mut self, client: usize, server: ServerId, acknowledged: bool, usable: bool) -> Result<(), String> {
        if let Some(last) = self.server_of(client)
            && last != server
            && usable
        {
            return Err(format!("affinity: client {client} was at server {}, which is usable, and is sent to {}", last.0, server.0));
        }
        if acknowledged {
            self.last.insert(client, server);
        } else if self.server_of(client) != Some(server) {
            // Forwarded without waiting for the log: nothing was promised to it.
            self.last.remove(&client);
        }
        Ok(())
    }
}
