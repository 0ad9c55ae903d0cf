//! The real world: boot-time clock, tokio, sockets, the disk. The only file that opens peers' sockets or reads clocks.

use super::wire::PeerChannels;
use super::{Addressee, Addresses, Boxed, Call, CallError, World};
use crate::consensus::log_store::LogStore;
use ha_core::check::{CheckClose, CheckResult, Kind, Probe};
use ha_core::id::NodeId;
use ha_core::time::{Instant, Timestamp};
use ha_trust::store::TrustStore;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// Time since boot, suspended time included.
pub fn boot_now() -> Instant {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a valid timespec for the length of the call.
    // CLOCK_BOOTTIME exists on every Linux that this runs on, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut t) };
    Instant(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}

/// Unix time.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock that everybody else is told to ask"
)]
pub fn wall_now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// See the module.
pub struct RealWorld {
    peers: Arc<PeerChannels>,
    store: Arc<dyn LogStore>,
    addresses: Arc<dyn Addresses>,
}

impl RealWorld {
    /// Of node `me`.
    pub fn new(
        me: NodeId,
        trust: Arc<TrustStore>,
        store: Arc<dyn LogStore>,
        addresses: Arc<dyn Addresses>,
    ) -> Self {
        RealWorld {
            peers: Arc::new(PeerChannels::new(me, trust)),
            store,
            addresses,
        }
    }
}

impl World for RealWorld {
    type Runtime = openraft_rt_tokio::TokioRuntime;

    fn now(&self) -> Instant {
        boot_now()
    }

    fn wall(&self) -> Timestamp {
        wall_now()
    }

    fn random(&self) -> u64 {
        rand::random()
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this is the spawn that everybody else is told to use"
    )]
    fn spawn(&self, name: &'static str, task: Boxed<()>) {
        use tracing::Instrument;
        tokio::spawn(task.instrument(tracing::debug_span!("task", name)));
    }

    fn sleep(&self, duration: Duration) -> Boxed<()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn call(
        &self,
        to: Addressee,
        call: Call,
        body: Vec<u8>,
        within: Duration,
    ) -> Boxed<Result<Vec<u8>, CallError>> {
        let peers = self.peers.clone();
        Box::pin(async move { peers.call(to, call, body, within).await })
    }

    fn probe(&self, probe: Probe) -> Boxed<CheckResult> {
        Box::pin(async move {
            match tokio::time::timeout(probe.within, connect(probe.to())).await {
                Err(_) => CheckResult::TimedOut,
                Ok(Err(e)) if e.kind() == io::ErrorKind::TimedOut => CheckResult::TimedOut,
                Ok(Err(_)) => CheckResult::Refused,
                Ok(Ok(stream)) => {
                    if matches!(
                        probe.kind,
                        Kind::Tcp {
                            close: CheckClose::Rst,
                            ..
                        }
                    ) {
                        socket2::SockRef::from(&stream)
                            .set_linger(Some(Duration::ZERO))
                            .ok();
                    }
                    CheckResult::Passed
                }
            }
        })
    }

    fn store(&self) -> Arc<dyn LogStore> {
        self.store.clone()
    }

    fn addresses(&self) -> Arc<dyn Addresses> {
        self.addresses.clone()
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.connect(to).await
}
