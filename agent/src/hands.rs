//! This node's hands on the virtual IPs: what `ha-node` says to them, `ha-address` does; the data plane opens and
//! closes with them.

use crate::config::AgentConfig;
use crate::error::Failure;
use ha_address::{
    Bound, Intercept, Release as Leaving, Traffic, Vip, VipError, VipEvent, VipSettings,
    VirtualIps, platform,
};
use ha_core::model::VirtualIp;
use ha_core::time::Instant;
use ha_node::outside::{Addresses, Intercepted, Release};
use ha_proxy::WatchedGate;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// The kernel counts lifetimes in whole seconds; less cannot be enforced by it.
pub const LIFETIME_PROMISE_MIN: Duration = Duration::from_millis(1600);
/// What is left between lease and promise for drift, in parts of their difference: nine tenths may be used.
const OVERRUN_PARTS: (u32, u32) = (9, 10);
/// News of the kernel that may wait to be told.
const NEWS_MAX: usize = 256;

/// What holds addresses, and the kernel behind it.
#[derive(Clone)]
pub struct Hands {
    addresses: Arc<dyn VirtualIps>,
    proxy_port: u16,
    interfaces: Arc<BTreeMap<String, String>>,
}

/// News of the kernel, if it is the kernel that holds.
pub type VipNews = Option<mpsc::Receiver<VipEvent>>;

impl Hands {
    /// Starts what holds addresses on this node.
    ///
    /// # Errors
    /// No privilege, no fence that the cluster's promise is long enough for, another agent on this machine.
    pub fn start(
        config: &AgentConfig,
        gate: Arc<WatchedGate>,
        promise: Duration,
        lease: Duration,
    ) -> Result<(Hands, VipNews), Failure> {
        let traffic = Arc::new(ProxyTraffic(gate));
        let hands = |addresses| Hands {
            addresses,
            proxy_port: config.proxy_port,
            interfaces: Arc::new(config.interfaces.clone()),
        };
        // A witness never holds: it needs no privilege.
        if !config.holds_in_kernel() {
            return Ok((hands(Arc::new(Bound::new(traffic))), None));
        }
        let mut settings = VipSettings::new(config.address);
        settings.interface = config.interface.clone();
        // The program that runs, also after another version was put in its place.
        settings.warden = Some("/proc/self/exe".into());
        settings.overrun = (promise - lease) * OVERRUN_PARTS.0 / OVERRUN_PARTS.1;
        settings.fence = config.fence;
        settings.on_claim = config.on_claim;
        settings.gateways = config.gateways.clone();
        let (events, news) = mpsc::channel(NEWS_MAX);
        let (addresses, fence) = platform::start(settings, traffic, events).map_err(|e| match e {
            VipError::InUse(_) => e.to_string(),
            e => format!("{e}: the virtual IP needs root or CAP_NET_ADMIN and CAP_NET_RAW; without them set vip = \"bind\""),
        })?;
        if !fence.nftables() && promise < LIFETIME_PROMISE_MIN {
            return Err(format!(
                "the only fence here is the address's lifetime, which the kernel counts in seconds: the cluster's promise must be at least {LIFETIME_PROMISE_MIN:?}, it is {promise:?}. \
                 Install nftables on this node, or found the cluster with `promise = \"1600ms\"` in [cluster]"
            )
            .into());
        }
        Ok((hands(addresses), Some(news)))
    }

    /// Drops the addresses and waits until they are away, for at most `within`.
    pub async fn drop_now(&self, within: Duration) {
        let (done, away) = tokio::sync::oneshot::channel();
        self.release(
            Release::Ended,
            Box::new(move || done.send(()).unwrap_or(())),
        );
        tokio::time::timeout(within, away).await.ok();
    }

    fn vips(&self, virtual_ips: &[VirtualIp]) -> Vec<Vip> {
        vips(&self.interfaces, virtual_ips)
    }

    /// Why this node cannot hold, if it cannot.
    pub fn obstacle(&self) -> Option<String> {
        self.addresses.obstacle()
    }
}

/// The virtual IPs with the interfaces that the machine's file gives some of them.
pub fn vips(interfaces: &BTreeMap<String, String>, virtual_ips: &[VirtualIp]) -> Vec<Vip> {
    let vip = |v: &VirtualIp| Vip {
        name: v.name.clone(),
        address: v.address,
        interface: interfaces.get(&v.name).cloned(),
    };
    virtual_ips.iter().map(vip).collect()
}

impl Addresses for Hands {
    fn configure(&self, virtual_ips: &[VirtualIp], intercepted: &[Intercepted]) {
        let vips = self.vips(virtual_ips);
        // One entry per address, also when no frontend uses it: it is guarded all the same.
        let mut by_address: BTreeMap<IpAddr, Intercept> = BTreeMap::new();
        for i in intercepted {
            let entry = by_address.entry(i.address).or_insert_with(|| Intercept {
                address: i.address,
                ports: Vec::new(),
                to_port: self.proxy_port,
            });
            entry
                .ports
                .extend(i.ports.iter().map(|(first, last)| *first..=*last));
        }
        self.addresses
            .configure(vips, by_address.into_values().collect());
    }

    fn taken(&self, virtual_ips: &[VirtualIp]) -> Vec<(String, String)> {
        let taken = self.addresses.taken(&self.vips(virtual_ips));
        let name_of = |address: IpAddr| {
            let named = virtual_ips.iter().find(|v| v.address == address);
            named.map_or_else(String::new, |v| v.name.clone())
        };
        let told = taken.into_iter().map(|(address, taken)| {
            let (found, remedy) = taken.words(address);
            (name_of(address), format!("{found}; {remedy}"))
        });
        told.collect()
    }

    fn hold(&self, until: Instant, first_ever: bool) {
        self.addresses.hold(until, first_ever);
    }

    fn release(&self, why: Release, done: Box<dyn FnOnce() + Send>) {
        let why = match why {
            Release::Handover => Leaving::Handover,
            Release::Ended => Leaving::Ended,
        };
        self.addresses.release(why, done);
    }

    fn announce(&self) {
        self.addresses.announce();
    }

    fn fence(&self) -> String {
        self.addresses.fence()
    }
}

/// The data plane, as far as the addresses open and close it.
struct ProxyTraffic(Arc<WatchedGate>);

impl Traffic for ProxyTraffic {
    fn open(&self, until: Instant) {
        self.0.open(until);
    }

    fn close(&self) {
        self.0.close();
    }

    fn sessions(&self) -> u64 {
        self.0.sessions()
    }
}
