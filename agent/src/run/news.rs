//! News of the data plane and of the kernel, passed on to the driver and to the log of this agent.

use super::kernel_news::KernelNews;
use ha_address::VipEvent;
use ha_core::controller::Event;
use ha_node::driver::DriverHandle;
use ha_node::outside::Outside;
use ha_proxy::ProxyEvent;
use tokio::sync::mpsc;

/// What the kernel says is heard where the lease is `kept`; what clients cause is not.
pub fn hear(
    kept: &Outside,
    others: &Outside,
    proxy: mpsc::Receiver<ProxyEvent>,
    hearing: KernelNews,
    kernel: Option<mpsc::Receiver<VipEvent>>,
) {
    let heard = hear_proxy(proxy, hearing.driver.clone());
    others.tasks.spawn("proxy-news", Box::pin(heard));
    if let Some(kernel) = kernel {
        kept.tasks
            .spawn("kernel-news", Box::pin(hearing.hear(kernel)));
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
