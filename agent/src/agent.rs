//! The life of one agent: puts the parts together, starts them in order, stops them in order.
//!
//! ```text
//!   start: leftovers removed (kernel) > log opened > proxy, self-checked > consensus > server
//!   stop:  leadership handed over > server > driver > addresses > proxy > consensus
//! ```

pub mod found;
mod manager;
mod renewal;
mod report;

pub use found::{found, join, restore};

use crate::addresses::BoundAddresses;
use crate::api::{Api, Node};
use crate::binder::LogBinder;
use crate::config::AgentConfig;
use crate::consensus::log_store::LogStore;
use crate::consensus::sled_store::SledStore;
use crate::consensus::{Consensus, SNAPSHOT_EVERY, Settings};
use crate::driver::{Driver, DriverHandle};
use crate::guard::{Caller, who};
use crate::identity::Identity;
use crate::peers::PeerService;
use crate::preflight::{self, Moment, Subject, Verdict};
use crate::proxy::{Clock, Gate, Proxy, ProxyEvent, ProxySettings, Reach};
use crate::world::entrance::{self, Entrance, Shows};
use crate::world::real::{RealWorld, boot_now, wall_now};
use crate::world::{Addresses, Release, World, wire};
use crate::written;
use ha_core::check::Kind;
use ha_core::controller::{
    Event, HandoverReason, NodeReport, RaftRole, Settings as ControllerSettings,
};
use ha_core::model::Member;
use ha_core::trust::Credentials;
use ha_core::version::CURRENT;
use ha_trust::store::TrustStore;
use report::Reporter;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What ends an agent.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long leadership may take to move when the agent stops.
const HANDOVER_WITHIN: Duration = Duration::from_secs(3);
/// How long a holder that stops passes clients' first packets on to the next.
const PASS_ON: Duration = Duration::from_millis(300);
/// After a start, the members that are known are looked at.
const MEMBERS_AFTER: Duration = Duration::from_secs(10);
/// Why a node that stops may not hold.
const STOPS: &str = "its agent stops";
/// What is left for everything else when the agent stops.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// What is left between lease and promise for drift, in parts of their difference: nine tenths may be used.
const OVERRUN_PARTS: (u32, u32) = (9, 10);

/// Runs the agent until `stop`, or until something essential fails.
///
/// # Errors
/// What it was, in words that say what to do.
pub async fn run(config: AgentConfig, stop: CancellationToken) -> Result<(), Failure> {
    let identity = Identity::load(&config.data_dir)?;
    written::check(&config.data_dir)?;
    look_at_machine(&config).await;
    let (timing, promise) = (identity.timing(), identity.promise());
    let controller = ControllerSettings::of(identity.node_id, config.role, promise);
    let gate = Gate::new();
    let hands = Hands::start(&config, gate.clone(), promise, controller.lease)?;
    let store: Arc<dyn LogStore> = Arc::new(SledStore::open(&config.data_dir)?);
    written::note(&config.data_dir)?;
    let trust = Arc::new(TrustStore::open(&config.data_dir)?);
    let world = Arc::new(RealWorld::new(
        identity.node_id,
        trust.clone(),
        store,
        hands.addresses.clone(),
    ));
    let (driver, inbox) = DriverHandle::channel();
    let listener = driver.clone();
    let settings = Settings {
        me: identity.node_id,
        role: config.role,
        timing,
        promise,
        founding: false,
        snapshot_every: SNAPSHOT_EVERY,
    };
    let consensus = Consensus::start(
        world.clone(),
        settings,
        Arc::new(move || listener.applied()),
    )
    .await?;
    let snap = consensus.read();
    if snap.applied_index > 0 && snap.facts.cluster_id != identity.cluster_id {
        return Err(format!(
            "{} holds the log of another cluster ({}) than its identity ({})",
            config.data_dir.display(),
            snap.facts.cluster_id,
            identity.cluster_id
        )
        .into());
    }
    let (loop_, view) = Driver::new(
        world.clone(),
        consensus.clone(),
        controller,
        driver.clone(),
        inbox,
    );

    let binder = Arc::new(LogBinder::new(boot_now));
    let (proxy_events, proxy_news) = mpsc::channel(1024);
    let clock = Clock {
        now: boot_now,
        wall: wall_now,
    };
    let proxy = Arc::new(Proxy::start(
        proxy_settings(&config),
        view,
        gate,
        binder.clone(),
        clock,
        proxy_events,
    )?);

    let member = Member {
        id: identity.node_id,
        name: config.name.clone(),
        listen: config.listen,
        address: config.address,
        role: config.role,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        speaks: CURRENT,
        checks: Kind::known_set(),
    };
    let reporter = Reporter {
        config: config.clone(),
        hands: hands.clone(),
        proxy: proxy.clone(),
        consensus: consensus.clone(),
        driver: driver.clone(),
        world: world.clone(),
        trust: trust.clone(),
        stop: stop.clone(),
    };
    reporter.look().await;

    let ended = CancellationToken::new();
    let essential = |name: &'static str, task: crate::world::Boxed<()>| {
        let ended = ended.clone();
        world.spawn(
            name,
            Box::pin(async move {
                task.await;
                ended.cancel();
            }),
        );
    };
    let stop_loops = CancellationToken::new();
    essential(
        "driver",
        Box::pin(loop_.run(Box::pin(stop_loops.clone().cancelled_owned()))),
    );
    essential(
        "binder",
        Box::pin(binder.run(consensus.clone(), world.clone())),
    );
    essential("report", Box::pin(reporter.run()));
    world.spawn(
        "proxy-news",
        Box::pin(hear_proxy(proxy_news, driver.clone())),
    );
    hands.listen(&world, driver.clone());

    let node = Node::new(
        member,
        consensus.clone(),
        driver.clone(),
        proxy,
        world.clone(),
        trust.clone(),
    );
    let shown = trust.clone();
    let entrance = bind(&config, trust, consensus.clone()).await?;
    let renewal = renewal::Renewal { node: node.clone() };
    world.spawn("renewal", Box::pin(renewal.run()));
    let stop_server = stop_loops.clone();
    let server = wire::server()
        .layer(node.guard())
        .add_service(PeerService::server(consensus.clone(), driver.clone()))
        .add_service(Api::server(node));
    let incoming = entrance.open(&world);
    essential(
        "server",
        Box::pin(async move {
            if let Err(error) = server
                .serve_with_incoming_shutdown(incoming, stop_server.cancelled_owned())
                .await
            {
                tracing::error!(%error, "the server for peers and operators has ended");
            }
        }),
    );
    tell_manager(&world, &driver);
    world.spawn(
        "look-at-members",
        Box::pin(look_at_members(
            config.clone(),
            consensus.clone(),
            world.clone(),
        )),
    );
    tracing::info!(node = %config.name, id = %identity.node_id, listen = %config.listen, fence = %hands.addresses.fence(), timing = timing.word(), ?promise, "ha-agent is running");

    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = ended.cancelled() => {
            hands.drop_now().await;
            return Err(consensus.failure().unwrap_or_else(|| "a part of the agent has ended; see the log above".to_owned()).into());
        }
    }
    tracing::info!("stopping: leadership is handed over first");
    #[cfg(target_os = "linux")]
    manager::stopping();
    hand_over(&driver, &consensus, &*world, shown.live().credentials()).await;
    hands.drop_now().await;
    stop_loops.cancel();
    std::fs::remove_file(socket_path(&config)).ok();
    tokio::time::timeout(STOP_WITHIN, consensus.shutdown())
        .await
        .ok();
    tracing::info!("stopped");
    Ok(())
}

fn socket_path(config: &AgentConfig) -> std::path::PathBuf {
    config.socket_path(std::env::var_os("RUNTIME_DIRECTORY").map(Into::into))
}

/// Where peers and operators come in.
async fn bind<W: World>(
    config: &AgentConfig,
    trust: Arc<TrustStore>,
    consensus: Consensus<W>,
) -> Result<Entrance, Failure> {
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(|e| format!("listen = {}: {e}: is another ha-agent running, or is this not an address of this machine?", config.listen))?;
    let path = socket_path(config);
    // Without it the agent does its work all the same, and operators come by the network.
    let local = entrance::local_socket(&path).inspect_err(|error| tracing::warn!(path = %path.display(), %error, "there is no local socket: set `socket` in agent.toml")).ok();
    let (log, live) = (consensus.clone(), trust.clone());
    let familiar = Arc::new(move |from: std::net::IpAddr| {
        consensus
            .read()
            .facts
            .members
            .values()
            .any(|m| m.listen.ip().to_canonical() == from)
    });
    let known = Arc::new(move |shows: &Shows| {
        who(shows, &live.live(), &log.read(), wall_now())
            .is_ok_and(|caller| caller != Caller::Stranger)
    });
    Ok(Entrance {
        listener,
        local,
        trust,
        familiar,
        known,
    })
}

/// From now on the service manager hears of this agent.
#[cfg(target_os = "linux")]
fn tell_manager(world: &Arc<RealWorld>, driver: &DriverHandle) {
    manager::ready();
    let (for_task, driver) = (world.clone(), driver.clone());
    world.spawn(
        "manager",
        Box::pin(async move { manager::keep_telling(&*for_task, driver).await }),
    );
}

#[cfg(not(target_os = "linux"))]
fn tell_manager(_: &Arc<RealWorld>, _: &DriverHandle) {}

/// Says what has changed for the worse since this node was let in.
async fn look_at_machine(config: &AgentConfig) {
    tell_findings(preflight::look(&starting(config, None)).await);
}

/// After a start, when the others have had the time to start too: what may have changed between them and this node.
async fn look_at_members(
    config: AgentConfig,
    consensus: Consensus<RealWorld>,
    world: Arc<RealWorld>,
) {
    world.sleep(MEMBERS_AFTER).await;
    let others: Vec<String> = consensus
        .read()
        .facts
        .members
        .values()
        .filter(|m| m.id != consensus.me())
        .map(|m| m.listen.to_string())
        .collect();
    for other in others {
        tell_findings(preflight::look_at_member(&starting(&config, Some(&other))).await);
    }
}

fn starting<'a>(config: &'a AgentConfig, member: Option<&'a str>) -> Subject<'a> {
    Subject {
        config,
        virtual_ips: &[],
        promise: None,
        member,
        authority: None,
        moment: Moment::Starting,
    }
}

fn tell_findings(findings: Vec<preflight::Finding>) {
    for f in findings
        .into_iter()
        .filter(|f| f.verdict >= Verdict::Warning)
    {
        tracing::warn!(check = f.check, found = %f.found, remedy = %f.remedy, "preflight");
    }
}

/// What holds addresses, and the kernel behind it.
#[derive(Clone)]
struct Hands {
    addresses: Arc<dyn Addresses>,
    #[cfg(target_os = "linux")]
    kernel: Option<KernelHands>,
}

#[cfg(target_os = "linux")]
#[derive(Clone)]
struct KernelHands {
    addresses: Arc<crate::addresses::KernelAddresses>,
    news: Arc<std::sync::Mutex<Option<mpsc::Receiver<crate::vip::VipEvent>>>>,
}

impl Hands {
    #[cfg(target_os = "linux")]
    fn start(
        config: &AgentConfig,
        gate: Arc<Gate>,
        promise: Duration,
        lease: Duration,
    ) -> Result<Hands, Failure> {
        use crate::config::agent_file::FenceMode;
        use crate::vip;
        // A witness never holds: it needs no privilege.
        if !config.holds_in_kernel() {
            return Ok(Hands {
                addresses: Arc::new(BoundAddresses::new(gate)),
                kernel: None,
            });
        }
        let mut settings = vip::VipSettings::new(config.address);
        settings.interface = config.interface.clone();
        // The program that runs, also after another version was put in its place.
        settings.warden = Some("/proc/self/exe".into());
        settings.overrun = (promise - lease) * OVERRUN_PARTS.0 / OVERRUN_PARTS.1;
        settings.fence = match config.fence {
            FenceMode::Auto => vip::FenceMode::Auto,
            FenceMode::Nftables => vip::FenceMode::Nftables,
            FenceMode::Lifetime => vip::FenceMode::Lifetime,
        };
        let (events, news) = mpsc::channel(256);
        let kernel = vip::Kernel::start(settings, events).map_err(|e| match e {
            vip::VipError::InUse(_) => e.to_string(),
            e => format!("{e}: the virtual IP needs root or CAP_NET_ADMIN and CAP_NET_RAW; without them set vip = \"bind\""),
        })?;
        if !kernel.fence().nftables() && promise < LIFETIME_PROMISE_MIN {
            return Err(format!(
                "the only fence here is the address's lifetime, which the kernel counts in seconds: the cluster's promise must be at least {LIFETIME_PROMISE_MIN:?}, it is {promise:?}. \
                 Install nftables on this node, or found the cluster with `promise = \"1600ms\"` in [cluster]"
            )
            .into());
        }
        let addresses = Arc::new(crate::addresses::KernelAddresses::new(
            gate,
            Arc::new(kernel),
            config.proxy_port,
        )?);
        Ok(Hands {
            addresses: addresses.clone(),
            kernel: Some(KernelHands {
                addresses,
                news: Arc::new(std::sync::Mutex::new(Some(news))),
            }),
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn start(
        config: &AgentConfig,
        gate: Arc<Gate>,
        _: Duration,
        _: Duration,
    ) -> Result<Hands, Failure> {
        if config.holds_in_kernel() {
            return Err(
                "vip = \"kernel\" is available on Linux only so far: set vip = \"bind\"".into(),
            );
        }
        Ok(Hands {
            addresses: Arc::new(BoundAddresses::new(gate)),
        })
    }

    /// Why this node cannot hold, if it cannot.
    fn obstacle(&self) -> Option<String> {
        #[cfg(target_os = "linux")]
        if let Some(kernel) = &self.kernel {
            return kernel.addresses.obstacle();
        }
        None
    }

    /// Passes news of the kernel on to the log of this agent.
    fn listen(&self, world: &Arc<RealWorld>, driver: DriverHandle) {
        #[cfg(target_os = "linux")]
        if let Some(mut news) = self
            .kernel
            .as_ref()
            .and_then(|k| k.news.lock().ok()?.take())
        {
            let addresses = self.addresses.clone();
            world.spawn(
                "vip-news",
                Box::pin(async move {
                    while let Some(event) = news.recv().await {
                        use crate::vip::VipEvent as E;
                        match event {
                            E::Carrier { interface, up } => {
                                tracing::info!(interface, up, "carrier");
                                if up {
                                    addresses.announce();
                                }
                                driver.tell(Event::Tick);
                            }
                            E::ForeignClaim { address, mac } => tracing::warn!(%address, ?mac, "another machine claims the virtual IP; announced again"),
                            E::AddressGone { address, interface } => tracing::warn!(%address, interface, "the virtual IP was removed by somebody else; put back"),
                            E::Mended { what } => tracing::info!(what, "mended"),
                            E::FenceLate { by } => tracing::warn!(?by, "a renewal of the fence came too late and was not sent"),
                            E::Failed { what } => tracing::warn!(what, "the kernel refused"),
                        }
                    }
                }),
            );
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (world, driver);
    }

    /// Drops the addresses and waits until they are away, within the bound.
    async fn drop_now(&self) {
        let (done, away) = tokio::sync::oneshot::channel();
        self.addresses.release(
            Release::Ended,
            Box::new(move || done.send(()).unwrap_or(())),
        );
        tokio::time::timeout(STOP_WITHIN, away).await.ok();
    }
}

/// The kernel counts lifetimes in whole seconds; less cannot be enforced by it.
#[cfg(target_os = "linux")]
pub(crate) const LIFETIME_PROMISE_MIN: Duration = Duration::from_millis(1600);

fn proxy_settings(config: &AgentConfig) -> ProxySettings {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    ProxySettings {
        workers: if config.workers == 0 {
            cores
        } else {
            config.workers
        },
        reach: if config.holds_in_kernel() {
            Reach::Transparent {
                port: config.proxy_port,
            }
        } else {
            Reach::Bind
        },
        sessions_max: config.sessions_max,
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

async fn hand_over<W: World>(
    driver: &DriverHandle,
    consensus: &Consensus<W>,
    world: &W,
    credentials: Credentials,
) {
    let to = driver
        .ask(|c| {
            c.last_successor()
                .filter(|_| c.raft().role == RaftRole::Leader)
        })
        .await
        .flatten();
    let Some(to) = to else { return };
    driver.tell(Event::MoveLeader {
        to: Some(to),
        reason: HandoverReason::Shutdown,
    });
    // Else a drained node to which it goes for want of another would hand it back at once.
    consensus.set_report(NodeReport {
        why_not: STOPS.to_owned(),
        credentials,
        ..NodeReport::default()
    });
    let deadline = world.now() + HANDOVER_WITHIN;
    while world.now() < deadline && consensus.news().leader == Some(consensus.me()) {
        world.sleep(Duration::from_millis(5)).await;
    }
    // Neighbours learn of the new holder in a moment; until then their first packets are passed on.
    world.sleep(PASS_ON).await;
}
