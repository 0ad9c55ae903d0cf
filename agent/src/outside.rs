//! What a node needs from the outside, as this program gives it: clocks, tokio, sockets, the disk, the kernel.

use crate::sys::{boot_now, wall_now};
use crate::threads::Handles;
use crate::wire::channels::PeerChannels;
use ha_core::check::{CheckResult, Probe};
use ha_core::id::NodeId;
use ha_core::time::{Instant, Timestamp};
use ha_node::log_store::LogStore;
use ha_node::outside::{
    Addressee, Addresses, Boxed, Call, CallError, Clock, Outside, Peers, Prober, Tasks,
};
use ha_trust::store::TrustStore;
use openraft_rt_tokio::TokioRuntime;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tracing::Instrument as _;

/// The agreement of the cluster, as it runs here.
pub type Consensus = ha_node::consensus::Consensus<TokioRuntime>;

/// A node, as it runs here.
pub type Node = ha_node::Node<TokioRuntime>;

/// The outside of node `me`, with everything on the threads that this is called on.
pub fn of(
    me: NodeId,
    trust: Arc<TrustStore>,
    store: Arc<dyn LogStore>,
    addresses: Arc<dyn Addresses>,
) -> Outside {
    on(&Handles::here(), me, trust, store, addresses)
}

/// The outside of node `me`: its tasks and its calls are on the threads that keep the lease, probes are not.
pub fn on(
    threads: &Handles,
    me: NodeId,
    trust: Arc<TrustStore>,
    store: Arc<dyn LogStore>,
    addresses: Arc<dyn Addresses>,
) -> Outside {
    let peers = PeerChannels::on(&threads.lease, me, trust);
    Outside {
        clock: Arc::new(SystemClock),
        tasks: Arc::new(Spawned(threads.lease.clone())),
        peers: Arc::new(Network(Arc::new(peers))),
        prober: Arc::new(Probes(threads.others.clone())),
        store,
        addresses,
    }
}

/// The same outside, with tasks on other threads.
pub fn with_tasks_on(threads: &Handle, outside: &Outside) -> Outside {
    Outside {
        tasks: Arc::new(Spawned(threads.clone())),
        ..outside.clone()
    }
}

/// The clocks of this machine: boot time and Unix time.
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

struct Spawned(Handle);

impl Tasks for Spawned {
    fn spawn(&self, name: &'static str, task: Boxed<()>) {
        self.0
            .spawn(task.instrument(tracing::debug_span!("task", name)));
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

/// What a check does follows from what operators wrote.
struct Probes(Handle);

impl Prober for Probes {
    fn probe(&self, probe: Probe) -> Boxed<CheckResult> {
        let threads = self.0.clone();
        Box::pin(async move {
            let probing = threads.spawn(ha_check::probe(probe));
            // A probe that panicked found nothing that works.
            probing.await.unwrap_or(CheckResult::TimedOut)
        })
    }
}
