//! The life of one agent: puts the parts together, starts them in order, stops them in order.
//!
//! ```text
//!   start: leftovers removed (kernel) > log opened > proxy, self-checked > consensus > server
//!   stop:  leadership handed over > server > driver > addresses > proxy > consensus
//! ```

mod binder;
mod renewal;
mod report;

use crate::config::AgentConfig;
use crate::entrance::{self, Entrance, Presented};
use crate::grpc;
use crate::hands::Hands;
use crate::identity::Identity;
use crate::operate::Operations;
use crate::outside::{self, Consensus};
use crate::permissions::{Caller, who};
use crate::preflight::{self, Inspection, Moment, Verdict};
use crate::store::SledStore;
use crate::sys::{boot_now, platform, wall_now};
use crate::wire::channels;
use crate::written;
use binder::ProxyBinder;
use ha_address::VipEvent;
use ha_core::check::Kind;
use ha_core::controller::{ControllerSettings, Event, HandoverReason, NodeReport, RaftRole};
use ha_core::model::Member;
use ha_core::trust::Credentials;
use ha_core::version::CURRENT;
use ha_node::binder::LogBinder;
use ha_node::consensus::log_store::LogStore;
use ha_node::consensus::{ConsensusSettings, SNAPSHOT_EVERY};
use ha_node::driver::{Driver, DriverHandle};
use ha_node::outside::{Addresses, Boxed, Outside};
use ha_proxy::{Clock, Proxy, ProxyEvent, ProxySettings, Reach, WatchedGate};
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
    let gate = WatchedGate::new();
    let (hands, kernel_news) = Hands::start(&config, gate.clone(), promise, controller.lease)?;
    let addresses: Arc<dyn Addresses> = Arc::new(hands.clone());
    let store: Arc<dyn LogStore> = Arc::new(SledStore::open(&config.data_dir)?);
    written::note(&config.data_dir)?;
    let trust = Arc::new(TrustStore::open(&config.data_dir)?);
    let outside = outside::of(identity.node_id, trust.clone(), store, addresses.clone());
    let (driver, inbox) = DriverHandle::channel();
    let listener = driver.clone();
    let settings = ConsensusSettings {
        me: identity.node_id,
        role: config.role,
        timing,
        promise,
        founding: false,
        snapshot_every: SNAPSHOT_EVERY,
    };
    let consensus = Consensus::start(
        outside.clone(),
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
        outside.clone(),
        consensus.clone(),
        controller,
        driver.clone(),
        inbox,
    );

    let binder = Arc::new(LogBinder::new(boot_now));
    let for_proxy = Arc::new(ProxyBinder(binder.clone()));
    let (proxy_events, proxy_news) = mpsc::channel(1024);
    let clock = Clock {
        now: boot_now,
        wall: wall_now,
    };
    let proxy = Arc::new(Proxy::start(
        proxy_settings(&config),
        view,
        gate,
        for_proxy,
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
        outside: outside.clone(),
        trust: trust.clone(),
        stop: stop.clone(),
    };
    reporter.look().await;

    let ended = CancellationToken::new();
    let essential = |name: &'static str, task: Boxed<()>| {
        let ended = ended.clone();
        outside.tasks.spawn(
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
        Box::pin(binder.clone().run(consensus.clone(), outside.clock.clone())),
    );
    essential("report", Box::pin(reporter.run()));
    outside.tasks.spawn(
        "proxy-news",
        Box::pin(hear_proxy(proxy_news, driver.clone())),
    );
    if let Some(news) = kernel_news {
        let heard = hear_kernel(news, addresses.clone(), driver.clone());
        outside.tasks.spawn("kernel-news", Box::pin(heard));
    }

    let node = Operations::new(
        member,
        consensus.clone(),
        driver.clone(),
        proxy,
        outside.clone(),
        trust.clone(),
    );
    let shown = trust.clone();
    let entrance = bind(&config, trust, consensus.clone()).await?;
    let renewal = renewal::Renewal { node: node.clone() };
    outside.tasks.spawn("renewal", Box::pin(renewal.run()));
    let stop_server = stop_loops.clone();
    let server = channels::server()
        .layer(grpc::guard::Guard(node.clone()))
        .add_service(grpc::peers::PeerService::server(
            consensus.clone(),
            driver.clone(),
        ))
        .add_service(grpc::control::Api::server(node));
    let incoming = entrance.open(&outside);
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
    tell_manager(&outside, &driver);
    outside.tasks.spawn(
        "look-at-members",
        Box::pin(look_at_members(
            config.clone(),
            consensus.clone(),
            outside.clone(),
        )),
    );
    tracing::info!(node = %config.name, id = %identity.node_id, listen = %config.listen, fence = %addresses.fence(), timing = timing.word(), ?promise, "ha-agent is running");

    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = ended.cancelled() => {
            hands.drop_now(STOP_WITHIN).await;
            return Err(consensus.failure().unwrap_or_else(|| "a part of the agent has ended; see the log above".to_owned()).into());
        }
    }
    tracing::info!("stopping: leadership is handed over first");
    platform::manager::stopping();
    hand_over(
        &driver,
        &consensus,
        &*outside.clock,
        shown.live().credentials(),
    )
    .await;
    hands.drop_now(STOP_WITHIN).await;
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
async fn bind(
    config: &AgentConfig,
    trust: Arc<TrustStore>,
    consensus: Consensus,
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
    let known = Arc::new(move |shows: &Presented| {
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
fn tell_manager(outside: &Outside, driver: &DriverHandle) {
    platform::manager::ready();
    let (clock, driver) = (outside.clock.clone(), driver.clone());
    let telling = async move { platform::manager::keep_telling(&*clock, driver).await };
    outside.tasks.spawn("manager", Box::pin(telling));
}

/// Says what has changed for the worse since this node was let in.
async fn look_at_machine(config: &AgentConfig) {
    tell_findings(preflight::look(&starting(config, None)).await);
}

/// After a start, when the others have had the time to start too: what may have changed between them and this node.
async fn look_at_members(config: AgentConfig, consensus: Consensus, outside: Outside) {
    outside.clock.sleep(MEMBERS_AFTER).await;
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

fn starting<'a>(config: &'a AgentConfig, member: Option<&'a str>) -> Inspection<'a> {
    Inspection {
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

async fn hand_over(
    driver: &DriverHandle,
    consensus: &Consensus,
    clock: &dyn ha_node::outside::Clock,
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
    let deadline = clock.now() + HANDOVER_WITHIN;
    while clock.now() < deadline && consensus.news().leader == Some(consensus.me()) {
        clock.sleep(Duration::from_millis(5)).await;
    }
    // Neighbours learn of the new holder in a moment; until then their first packets are passed on.
    clock.sleep(PASS_ON).await;
}
