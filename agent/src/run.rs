//! The life of one agent: puts the parts together, starts them in order, stops them in order.
//!
//! ```text
//!   start: leftovers removed (kernel) > log opened > proxy > node (consensus, first look, driver) > servers
//!   stop:  leadership handed over > addresses > driver, servers > consensus
//! ```

pub mod belonging;
mod binder;
mod kernel_news;
mod news;
#[cfg(feature = "next")]
mod rehearsal;
mod renewal;
mod self_check;
pub mod serve;
mod stalls;

use crate::config::AgentConfig;
use crate::error::Failure;
use crate::found::on_disk::OnDisk;
use crate::found::switch;
use crate::hands::Hands;
use crate::identity::Identity;
use crate::operate::Operations;
use crate::outside::{self, Consensus, Node};
use crate::preflight::{self, Inspection, Moment, Verdict};
use crate::store::SledStore;
use crate::sys::{boot_now, platform, wall_now};
use crate::threads::{Handles, Threads};
use crate::written;
use belonging::SomebodyMustAct;
use binder::ProxyBinder;
use ha_core::check::Kind;
use ha_core::controller::ControllerSettings;
use ha_core::id::NodeId;
use ha_core::model::Member;
use ha_core::version::CURRENT;
use ha_node::consensus::{ConsensusSettings, SNAPSHOT_EVERY};
use ha_node::driver::DriverHandle;
use ha_node::knock::KNOCK_EVERY;
use ha_node::log_store::LogStore;
use ha_node::node::{NodeSettings, Parts, StartError};
use ha_node::outside::{Addresses, Outside};
use ha_proxy::{Clock, Proxy, ProxyEvent, ProxySettings, Reach, WatchedGate};
use ha_trust::store::TrustStore;
use kernel_news::KernelNews;
use openraft_rt_tokio::TokioRuntime;
use self_check::ThisMachine;
use stalls::SeenStalls;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long a holder that stops passes clients' first packets on to the next.
const PASS_ON: Duration = Duration::from_millis(300);
/// After a start, the members that are known are looked at.
const MEMBERS_AFTER: Duration = Duration::from_secs(10);
/// News of the data plane that may wait.
const PROXY_NEWS_MAX: usize = 1024;
/// What is left for everything else when the agent stops.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// Runs the agent until `stop`, or until something essential fails.
///
/// # Errors
/// What it was, in words that say what to do.
pub async fn run(config: AgentConfig, stop: CancellationToken) -> Result<(), Failure> {
    if let Some(kept) = switch::finish(&config.data_dir)? {
        tracing::info!(kept = %kept.display(), "what `recover` or `rejoin` began is ended: the data of before are kept");
    }
    let identity = Identity::load(&config.data_dir)?;
    if let Some(why) = &identity.outdated {
        return Err(SomebodyMustAct(why.clone()).into());
    }
    written::check(&config.data_dir)?;
    look_at_machine(&config).await;
    let own = Threads::start()
        .map_err(|e| format!("no threads for what keeps the lease: {e}: look at `ulimit -u`"))?;
    let result = run_on(own.handles(), config, identity, stop).await;
    own.end().await;
    result
}

async fn run_on(
    threads: &Handles,
    config: AgentConfig,
    identity: Identity,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let settings = settings(&config, &identity);
    let (promise, lease) = (settings.controller.promise, settings.controller.lease);
    let gate = WatchedGate::new();
    let (for_hands, opens) = (config.clone(), gate.clone());
    // Threads of the fence are preferred as those are that start them.
    let start_hands = move || Hands::start(&for_hands, opens, promise, lease);
    let (hands, kernel_news) = threads.lease.spawn_blocking(start_hands).await??;
    let addresses: Arc<dyn Addresses> = Arc::new(hands.clone());
    let store: Arc<dyn LogStore> =
        Arc::new(SledStore::open_known(&config.data_dir, identity.store)?);
    written::note(&config.data_dir)?;
    let trust = Arc::new(TrustStore::open(&config.data_dir)?);
    let me = identity.node_id;
    let disk = OnDisk::read(&*store)?;
    belonging::check(&config, &identity, &trust, &disk).await?;
    drop(disk);
    let kept = outside::on(threads, me, trust.clone(), store, addresses.clone());
    let outside = outside::with_tasks_on(&threads.others, &kept);

    let parts = Parts::new(boot_now);
    let (proxy, proxy_news) = start_proxy(&config, gate, &parts)?;
    let stalls = SeenStalls::watch()?;
    let this_machine = Arc::new(ThisMachine {
        stalls,
        proxy: proxy.clone(),
        hands: hands.clone(),
        trust: trust.clone(),
    });
    // Whatever the consensus library spawns is on its own threads, because it is started there.
    let starting = Node::start(parts, kept.clone(), settings, this_machine);
    let node = threads.consensus.spawn(starting).await?;
    let node = node.map_err(|e| not_started(e, &config, &identity))?;
    #[cfg(feature = "next")]
    outside.tasks.spawn(
        "rehearsal",
        Box::pin(rehearsal::keep(
            node.consensus.clone(),
            outside.clock.clone(),
        )),
    );
    let hearing = KernelNews {
        outside: kept.clone(),
        consensus: node.consensus.clone(),
        driver: node.driver.clone(),
        on_claim: config.on_claim,
    };
    let noting = stalls::note(outside.clone(), node.consensus.clone(), node.driver.clone());
    outside.tasks.spawn("stalls", Box::pin(noting));
    news::hear(&kept, &outside, proxy_news, hearing, kernel_news);

    let operations = Operations::new(
        member(&config, me),
        node.consensus.clone(),
        node.driver.clone(),
        proxy,
        outside.clone(),
        trust.clone(),
        identity.generation,
    );
    let entrance = serve::bind(&config, trust, node.consensus.clone()).await?;
    let renewal = renewal::Renewal {
        node: operations.clone(),
    };
    outside.tasks.spawn("renewal", Box::pin(renewal.run()));
    let (telling, moving) = (
        belonging::tell_former(operations.clone()),
        belonging::say_where(config.clone(), operations.clone()),
    );
    outside.tasks.spawn("former", Box::pin(telling));
    outside.tasks.spawn("moved", Box::pin(moving));
    let told = operations.clone();
    serve::serve(entrance, threads, &kept, &outside, &node, operations)?;
    tell_manager(&kept, &node.driver);
    let looking = look_at_members(config.clone(), node.consensus.clone(), outside.clone());
    outside.tasks.spawn("look-at-members", Box::pin(looking));
    tracing::info!(node = %config.name, id = %me, listen = %config.listen, fence = %addresses.fence(), timing = identity.timing().word(), ?promise, "ha-agent is running");

    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = node.ended() => {
            hands.drop_now(STOP_WITHIN).await;
            return Err(why_ended(&node).into());
        }
        why = told.told.heard() => {
            tracing::error!("{why}");
            hands.drop_now(STOP_WITHIN).await;
            return Err(belonging::note(&config, &identity, &why));
        }
    }
    tracing::info!("stopping: leadership is handed over first");
    platform::manager::stopping();
    if node.hand_over().await {
        // Neighbours learn of the new holder in a moment; until then their first packets are passed on.
        outside.clock.sleep(PASS_ON).await;
    }
    hands.drop_now(STOP_WITHIN).await;
    node.stop();
    std::fs::remove_file(serve::socket_path(&config)).ok();
    tokio::time::timeout(STOP_WITHIN, node.consensus.shutdown())
        .await
        .ok();
    tracing::info!(longest_turn = ?node.driver.longest_turn(), "stopped");
    Ok(())
}

fn settings(config: &AgentConfig, identity: &Identity) -> NodeSettings {
    let (me, promise) = (identity.node_id, identity.promise());
    NodeSettings {
        consensus: ConsensusSettings {
            me,
            role: config.role,
            timing: identity.timing(),
            promise,
            founding: false,
            speaks: CURRENT,
            snapshot_every: SNAPSHOT_EVERY,
        },
        controller: ControllerSettings::of(me, config.role, promise),
        cluster: Some(identity.cluster_id),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        knock_every: KNOCK_EVERY,
    }
}

fn not_started(error: StartError, config: &AgentConfig, identity: &Identity) -> Failure {
    match error {
        StartError::OtherCluster(found) => format!(
            "{} holds the log of another cluster ({found}) than its identity ({})",
            config.data_dir.display(),
            identity.cluster_id
        )
        .into(),
        other => other.into(),
    }
}

fn why_ended(node: &Node) -> String {
    match node.consensus.failure() {
        Some(why) => {
            tracing::error!(
                why,
                "consensus has failed on this node; the agent ends, so that nothing is answered that is not stored"
            );
            why
        }
        None => "a part of the agent has ended; see the log above".to_owned(),
    }
}

/// The data plane, which forwards nothing yet, and its news.
fn start_proxy(
    config: &AgentConfig,
    gate: Arc<WatchedGate>,
    parts: &Parts<TokioRuntime>,
) -> Result<(Arc<Proxy>, mpsc::Receiver<ProxyEvent>), Failure> {
    let (events, news) = mpsc::channel(PROXY_NEWS_MAX);
    let clock = Clock {
        now: boot_now,
        wall: wall_now,
    };
    let binder = Arc::new(ProxyBinder(parts.binder()));
    let proxy = Proxy::start(
        proxy_settings(config),
        parts.view(),
        gate,
        binder,
        clock,
        events,
    )?;
    Ok((Arc::new(proxy), news))
}

fn member(config: &AgentConfig, me: NodeId) -> Member {
    Member {
        id: me,
        name: config.name.clone(),
        listen: config.listen,
        address: config.address,
        role: config.role,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        speaks: CURRENT,
        checks: Kind::known_set(),
    }
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
        cluster: None,
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
