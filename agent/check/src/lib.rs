//! Probes: one file for each kind of check. Each asks one server once, within a bound, and says what it found.

#![forbid(unsafe_code)]

mod always;
mod tcp;

use ha_core::check::{CheckResult, Kind, Probe};

/// Asks one server once.
pub async fn probe(probe: Probe) -> CheckResult {
    match probe.kind {
        Kind::Tcp { close, .. } => tcp::probe(probe.to(), probe.within, close).await,
        Kind::Always { up } => always::probe(up),
        // A kind that this version does not know: an agent that does not know it is refused at `apply`.
        Kind::Other { .. } => CheckResult::Refused,
    }
}
