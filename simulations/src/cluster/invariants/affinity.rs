//! A client stays at its server while that is usable, whichever port of the group it comes to.

use ha_core::id::ServerId;
use std::collections::{BTreeMap, BTreeSet};

/// Where each client's last session went on a binding that was acknowledged.
#[derive(Debug, Default)]
pub struct Affinity {
    last: BTreeMap<usize, ServerId>,
    /// Bindings that were proposed and not acknowledged: the log may still come to have them.
    doubts: BTreeMap<usize, BTreeSet<ServerId>>,
}

impl Affinity {
    /// The server that a client should get.
    pub fn server_of(&self, client: usize) -> Option<ServerId> {
        self.last.get(&client).copied()
    }

    /// A session of `client` goes to `server`; `usable`: its last one could have been had.
    pub fn on_session(
        &mut self,
        client: usize,
        server: ServerId,
        how: How,
        usable: bool,
    ) -> Result<(), String> {
        let doubts = self.doubts.entry(client).or_default();
        if let Some(last) = self.last.get(&client)
            && *last != server
            && usable
            // The log may have any of them by now, and that one may not be usable.
            && doubts.is_empty()
        {
            return Err(format!(
                "affinity: client {client} was at server {}, which is usable, and is sent to {}",
                last.0, server.0
            ));
        }
        match how {
            How::Proposed => {
                doubts.insert(server);
                self.last.remove(&client);
            }
            How::Acknowledged => {
                doubts.clear();
                self.last.insert(client, server);
            }
            How::Bound => drop(self.last.insert(client, server)),
        }
        Ok(())
    }
}

/// How a session came to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was bound before.
    Bound,
    /// Chosen now; the log does not have it, or not yet.
    Proposed,
    /// Chosen now, and the log has it.
    Acknowledged,
}
