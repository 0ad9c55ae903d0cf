//! What the service manager (systemd) is told: that the agent is ready, that it lives and what it does, that it stops.
//!
//! Where there is none (no `NOTIFY_SOCKET`) nothing is told. An agent whose driver no longer answers is silent,
//! and `WatchdogSec=` of the unit ends it.

use ha_core::controller::{Controller, RaftRole};
use ha_node::driver::DriverHandle;
use ha_node::outside::Clock;
use sd_notify::NotifyState;
use std::time::Duration;

/// At least as often as this it hears that the agent lives.
const EVERY: Duration = Duration::from_secs(1);
/// How often within the time that the watchdog allows.
const PER_WATCHDOG: u32 = 3;

/// Tells the service manager that the agent answers.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It was asked to stop, and hands over first.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("hands over and stops"),
    ]);
}

/// Says again and again that it lives, until the driver ends. Returns at once where nobody listens.
pub async fn keep_telling(clock: &dyn Clock, driver: DriverHandle) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let every =
        sd_notify::watchdog_enabled().map_or(EVERY, |within| (within / PER_WATCHDOG).min(EVERY));
    while let Some(words) = driver.ask(summary).await {
        // Sending blocks where nobody reads; this loop may wait for ever then, the agent's threads must not.
        tokio::task::spawn_blocking(move || {
            tell(&[NotifyState::Watchdog, NotifyState::Status(&words)])
        })
        .await
        .ok();
        clock.sleep(every).await;
    }
}

fn tell(what: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// One line for `systemctl status`.
fn summary(c: &Controller) -> String {
    let raft = c.raft();
    match (c.holding(), raft.role, raft.leader) {
        (Some(held), ..) => format!("holds the virtual IP in epoch {}", held.epoch),
        (None, RaftRole::Leader, _) => {
            "leads, and does not hold the virtual IP: see `ha-cli explain vip`".to_owned()
        }
        (None, _, Some(leader)) => format!("follows {}", c.facts().node_name(leader)),
        (None, _, None) => "hears no leader".to_owned(),
    }
}
