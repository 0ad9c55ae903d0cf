//! Whether the data plane works: its listeners have answered once, and its workers go round.
//!
//! A worker notes the time whenever it goes round, at least twice a second, so a look at it costs nothing and disturbs
//! nobody. Each connects to nothing: that a listener answers is tried once, after it was set up, over the network.
//! One look that finds a worker late says little (the machine may have stood still); several in a row do.

use super::shared::Shared;
use crate::platform::sockets as sys;
use ha_core::time::Instant;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// What a listener answers to the self-check; the worker's index follows.
pub(super) const BANNER: &str = "ha-agent proxy worker ";
/// A worker that has not gone round for so long is late.
const LATE: Duration = Duration::from_secs(1);
/// So many looks in a row must find one late.
const MISSES: u32 = 3;
/// How long the look over the network may take.
const LOOK: Duration = Duration::from_secs(1);

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Health {
    at: Vec<SocketAddr>,
    listeners_answered: AtomicBool,
    misses: AtomicU32,
}

impl Health {
    /// Listeners that are to answer.
    pub(super) fn looks_at(&mut self, listeners: impl Iterator<Item = SocketAddr>) {
        self.at.extend(listeners);
    }

    /// What is wrong with the workers, see [`super::Proxy::self_check`].
    pub(super) async fn check(&self, shared: &Shared) -> Result<(), String> {
        if !self.listeners_answered.load(Relaxed) {
            let shed = shared.report.shed();
            // A newcomer is counted a moment after its reset, so what was shed lately counts too.
            let is_full = |e: &io::Error| {
                let report = &shared.report;
                sys::is_out_of_resources(e) || report.is_shedding() || report.shed() > shed
            };
            match tokio::time::timeout(LOOK, self.ask_all(shared.tables.len())).await {
                Ok(Ok(())) => self.listeners_answered.store(true, Relaxed),
                // Full is not broken: who is here is served. Asked again when there is room.
                Ok(Err((_, error))) if is_full(&error) => {}
                Ok(Err((at, error))) => {
                    return Err(format!("the proxy does not answer on {at}: {error}"));
                }
                Err(_) => return Err(format!("no answer of every worker within {LOOK:?}")),
            }
        }
        let late = late_workers(shared);
        if late.is_empty() {
            self.misses.store(0, Relaxed);
            return Ok(());
        }
        let misses = self.misses.fetch_add(1, Relaxed) + 1;
        tracing::warn!(workers = ?late, misses, "proxy workers have not gone round for a second");
        if misses < MISSES {
            return Ok(());
        }
        Err(format!("proxy workers {late:?} do not go round"))
    }

    /// Connects to the listeners until every worker has answered.
    async fn ask_all(&self, workers: usize) -> Result<(), (SocketAddr, io::Error)> {
        let mut silent: BTreeSet<usize> = (0..workers).collect();
        // Which worker gets a connection to a shared port is the kernel's choice: ask until all have had one.
        for at in self.at.iter().cycle() {
            let worker = ask(*at).await.map_err(|e| (*at, e))?;
            silent.remove(&worker);
            if silent.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

fn late_workers(shared: &Shared) -> Vec<usize> {
    let now = (shared.clock.now)();
    let last = |worker: usize| Instant(shared.beats[worker].load(Relaxed));
    (0..shared.beats.len())
        .filter(|worker| now.saturating_since(last(*worker)) > LATE)
        .collect()
}

/// The index of the worker that answers there.
async fn ask(at: SocketAddr) -> std::io::Result<usize> {
    let mut answer = String::new();
    tokio::net::TcpStream::connect(at)
        .await?
        .take(64)
        .read_to_string(&mut answer)
        .await?;
    let worker = answer
        .strip_prefix(BANNER)
        .and_then(|rest| rest.trim_end().parse().ok());
    worker.ok_or_else(|| std::io::Error::other(format!("it says {answer:?}")))
}
