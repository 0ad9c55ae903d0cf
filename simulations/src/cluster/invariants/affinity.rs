//! A client stays at its server while that is usable, whichever port of the group it comes to, and if it stays away for no
//! longer than `expire`.

use ha_core::id::ServerId;
use ha_core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Where each client's last session went on a binding that was acknowledged, and when.
#[derive(Debug, Default)]
pub struct Affinity {
    last: BTreeMap<usize, (ServerId, Timestamp)>,
    /// Bindings that were proposed and not acknowledged: the log may still come to have them.
    doubts: BTreeMap<usize, BTreeSet<ServerId>>,
}

impl Affinity {
    /// The server that a client should get, if it comes by then.
    pub fn server_of(&self, client: usize, now: Timestamp, expire: Duration) -> Option<ServerId> {
        let (server, used) = self.last.get(&client)?;
        (now.saturating_since(*used) < expire).then_some(*server)
    }

    /// A session of `client` goes to `server`; `usable`: its last one could have been had.
    pub fn on_session(
        &mut self,
        client: usize,
        server: ServerId,
        how: How,
        usable: bool,
        now: Timestamp,
    ) -> Result<(), String> {
        let doubts = self.doubts.entry(client).or_default();
        if let Some((last, _)) = self.last.get(&client)
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
                self.last.insert(client, (server, now));
            }
            How::Bound => drop(self.last.insert(client, (server, now))),
            How::Meanwhile => {}
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
    /// Chosen or recorded now, and the log has it.
    Acknowledged,
    /// Its own is suspect; it stays bound there.
    Meanwhile,
}
