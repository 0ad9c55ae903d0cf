//! Probes: one file for each kind of check. Each asks one server once, within a bound, and says what it found.

mod tcp;

use ha_core::health::CheckResult;
use ha_core::model::CheckClose;
use std::net::SocketAddr;
use std::time::Duration;

/// Connects to a server and closes the connection as the check says.
pub async fn probe(to: SocketAddr, within: Duration, close: CheckClose) -> CheckResult {
    tcp::probe(to, within, close).await
}
