//! A service that is back within the turn-around keeps its clients.

use ha_core::id::ServerId;
use std::collections::BTreeMap;

/// The turn-around is a second of a clock that may be fast.
const TURN_AROUND: u64 = 900_000_000;

/// Who was sent away from a server because it refused, with the instant of the first refusal, by its node.
#[derive(Debug, Default)]
pub struct TurnAround {
    left: BTreeMap<usize, Vec<(usize, ServerId, u64)>>,
}

impl TurnAround {
    /// A client that is bound to `server` on `node` is bound elsewhere after nothing but refusals, the first one then.
    pub fn on_left(&mut self, node: usize, client: usize, server: ServerId, refused: u64) {
        let left = self.left.entry(node).or_default();
        left.push((client, server, refused));
    }

    /// The service of `node` serves.
    pub fn on_back(&mut self, node: usize, now: u64) -> Result<(), String> {
        let left = self.left.remove(&node).unwrap_or_default();
        match left.iter().find(|(.., at)| now < at + TURN_AROUND) {
            None => Ok(()),
            Some((client, server, at)) => Err(format!(
                "turn-around: client {client} was sent away from server {}, which serves {} ms after it refused",
                server.0,
                (now - at) / 1_000_000
            )),
        }
    }
}
