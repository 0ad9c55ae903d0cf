//! News of the data plane and of the kernel, passed on to the driver and to the log of this agent.

use ha_address::VipEvent;
use ha_core::controller::Event;
use ha_node::driver::DriverHandle;
use ha_node::outside::{Addresses, Outside};
use ha_proxy::ProxyEvent;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What the kernel says is heard where the lease is `kept`; what clients cause is not.
pub fn hear(
    kept: &Outside,
    others: &Outside,
    driver: &DriverHandle,
    proxy: mpsc::Receiver<ProxyEvent>,
    kernel: Option<mpsc::Receiver<VipEvent>>,
) {
    let heard = hear_proxy(proxy, driver.clone());
    others.tasks.spawn("proxy-news", Box::pin(heard));
    if let Some(kernel) = kernel {
        let heard = hear_kernel(kernel, kept.addresses.clone(), driver.clone());
        kept.tasks.spawn("kernel-news", Box::pin(heard));
    }
}

/// Passes news of the kernel on to the log of this agent.
async fn hear_kernel(
    mut news: mpsc::Receiver<VipEvent>,
    addresses: Arc<dyn Addresses>,
    driver: DriverHandle,
) {
    while let Some(event) = news.recv().await {
        match event {
            VipEvent::Carrier { interface, up } => {
                tracing::info!(interface, up, "carrier");
                if up {
                    addresses.announce();
                }
                driver.tell(Event::Tick);
            }
            VipEvent::ForeignClaim { address, mac } => {
                tracing::warn!(%address, ?mac, "another machine claims the virtual IP; announced again");
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

async fn hear_proxy(mut news: mpsc::Receiver<ProxyEvent>, driver: DriverHandle) {
    while let Some(event) = news.recv().await {
        match event {
            ProxyEvent::ConnectFailed { server } => driver.tell(Event::ConnectFailed(server)),
            ProxyEvent::ConnectWorked { server } => driver.tell(Event::ConnectWorked(server)),
            other => tracing::warn!(event = ?other, "proxy"),
        }
    }
}
