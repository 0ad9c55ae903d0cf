//! What a node needs from the outside, as this program gives it: clocks, tokio, sockets, the disk, the kernel.

use crate::sys::{boot_now, wall_now};
use crate::wire::channels::PeerChannels;
use ha_core::check::{CheckResult, Probe};
use ha_core::id::NodeId;
use ha_core::time::{Instant, Timestamp};
use ha_node::consensus::log_store::LogStore;
use ha_node::outside::{
    Addressee, Addresses, Boxed, Call, CallError, Clock, Outside, Peers, Prober, Tasks,
};
use ha_trust::store::TrustStore;
use openraft_rt_tokio::TokioRuntime;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument as _;

/// The agreement of the cluster, as it runs here.
pub type Consensus = ha_node::consensus::Consensus<TokioRuntime>;

/// The outside of node `me`.
pub fn of(
    me: NodeId,
    trust: Arc<TrustStore>,
    store: Arc<dyn LogStore>,
    addresses: Arc<dyn Addresses>,
) -> Outside {
    Outside {
        clock: Arc::new(SystemClock),
        tasks: Arc::new(Spawned),
        peers: Arc::new(Network(Arc::new(PeerChannels::new(me, trust)))),
        prober: Arc::new(Probes),
        store,
        addresses,
    }
}

/// The machine's clocks.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        boot_now()
    }

    fn wall(&self) -> Timestamp {
        wall_now()
    }

    fn sleep(&self, duration: Duration) -> Boxed<()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

struct Spawned;

impl Tasks for Spawned {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the spawn that everybody else is told to use"
    )]
    fn spawn(&self, name: &'static str, task: Boxed<()>) {
        tokio::spawn(task.instrument(tracing::debug_span!("task", name)));
    }
}

struct Network(Arc<PeerChannels>);

impl Peers for Network {
    fn call(
        &self,
        to: Addressee,
        call: Call,
        body: Vec<u8>,
        within: Duration,
    ) -> Boxed<Result<Vec<u8>, CallError>> {
        let peers = self.0.clone();
        Box::pin(async move { peers.call(to, call, body, within).await })
    }
}

struct Probes;

impl Prober for Probes {
    fn probe(&self, probe: Probe) -> Boxed<CheckResult> {
        Box::pin(ha_check::probe(probe))
    }
}
