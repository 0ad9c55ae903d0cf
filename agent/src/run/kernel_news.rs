//! What the kernel side tells: to the log of this agent, and another machine's claims to the cluster.

use crate::operate::claims;
use crate::outside::Consensus;
use ha_address::{OnClaim, VipEvent, mac_words};
use ha_core::command::{Command, Stamped};
use ha_core::controller::Event;
use ha_node::driver::DriverHandle;
use ha_node::outside::Outside;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::mpsc;

/// Claims of one address become one event in this time, whoever claims how often.
const CLAIM_EVENT_EVERY: Duration = Duration::from_secs(60);

/// Hears what the kernel side tells, and passes it on.
pub struct KernelNews {
    pub(super) outside: Outside,
    pub(super) consensus: Consensus,
    pub(super) driver: DriverHandle,
    pub(super) on_claim: OnClaim,
}

impl KernelNews {
    /// Until nobody tells any more.
    pub async fn hear(self, mut news: mpsc::Receiver<VipEvent>) {
        let mut claimed = BTreeMap::new();
        while let Some(event) = news.recv().await {
            match event {
                VipEvent::Carrier { interface, up } => {
                    tracing::info!(interface, up, "carrier");
                    if up {
                        self.outside.addresses.announce();
                    }
                    self.driver.tell(Event::Tick);
                }
                VipEvent::ForeignClaim { address, mac } => {
                    let text = self.claim(address, mac);
                    tracing::warn!("{text}");
                    let now = self.outside.clock.now().since_boot();
                    if is_due(&mut claimed, address, now) {
                        self.note(text);
                    }
                }
                VipEvent::AddressGone { address, interface } => {
                    tracing::warn!(%address, interface, "the virtual IP was removed by somebody else; put back");
                }
                VipEvent::Mended { what } => tracing::info!(what, "mended"),
                VipEvent::FenceLate { by } => {
                    tracing::warn!(?by, "a renewal of the fence came too late and was not sent");
                }
                VipEvent::Failed { what } => tracing::warn!(what, "the kernel refused"),
            }
        }
    }

    fn claim(&self, address: IpAddr, mac: [u8; 6]) -> String {
        let done = match self.on_claim {
            OnClaim::Defend => "announced again",
            OnClaim::Yield => "given up here",
        };
        let facts = self.consensus.read().facts;
        let of_address = facts
            .config
            .virtual_ips
            .iter()
            .find(|v| v.address == address);
        let name = of_address.map_or("", |v| v.name.as_str());
        format!(
            "another machine ({}) claims {name} ({address}); {done}",
            mac_words(mac)
        )
    }

    /// In a task: nothing here waits for a disk.
    fn note(&self, text: String) {
        let (consensus, at) = (self.consensus.clone(), self.outside.clock.wall());
        let task = async move {
            let kind = claims::KIND.to_owned();
            let stamped = Stamped {
                at,
                by: String::new(),
                command: Command::Note { kind, text },
                request: None,
            };
            if let Err(error) = consensus.propose(stamped).await {
                tracing::info!(%error, "a claim was not written down");
            }
        };
        self.outside.tasks.spawn("claim", Box::pin(task));
    }
}

/// Whether an address was not told of for long enough; then it is from now.
fn is_due(told: &mut BTreeMap<IpAddr, Duration>, address: IpAddr, now: Duration) -> bool {
    told.retain(|_, at| now.saturating_sub(*at) < CLAIM_EVENT_EVERY);
    let is_due = !told.contains_key(&address);
    if is_due {
        told.insert(address, now);
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_claimed_all_the_time_is_told_once_a_minute() {
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let rows = [
            (a, 0, true),
            (a, 1, false),
            (b, 1, true),
            (a, 59, false),
            (a, 60, true),
        ];
        let mut told = BTreeMap::new();
        for (address, second, due) in rows {
            let now = Duration::from_secs(second);
            assert_eq!(
                is_due(&mut told, address, now),
                due,
                "{address} at {second} s"
            );
        }
    }
}
