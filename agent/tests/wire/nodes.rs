//! Whole nodes over real sockets, each with the program's own threads, consensus, servers and channels; only what
//! holds addresses is written down instead.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ha_agent::entrance::Entrance;
use ha_agent::operate::Operations;
use ha_agent::outside::{self, Node};
use ha_agent::run::serve::serve;
use ha_agent::store::SledStore;
use ha_agent::sys::{boot_now, wall_now};
use ha_agent::threads::{Handles, Threads, control};
use ha_core::check::Kind;
use ha_core::command::Command;
use ha_core::controller::ControllerSettings;
use ha_core::dispatch::{Remembered, UnderWay};
use ha_core::id::ServerId;
use ha_core::model::{ClusterConfig, Member, Role, Timing, VirtualIp};
use ha_core::stick::{StickEntry, StickKey};
use ha_core::time::Instant;
use ha_core::trust::Credentials;
use ha_core::version::CURRENT;
use ha_node::consensus::{ConsensusSettings, SNAPSHOT_EVERY};
use ha_node::founding::write_first;
use ha_node::knock::KNOCK_EVERY;
use ha_node::node::{NodeSettings, Parts};
use ha_node::outside::{Addresses, Boxed, Intercepted, Release, SelfCheck};
use ha_proxy::{Binder, Binding, Clock, Proxy, ProxySettings, Reach, WatchedGate};
use ha_trust::store::TrustStore;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::lab::{Cluster, id};

const NODES: u128 = 3;
/// For what takes a second or two.
pub const SOON: Duration = Duration::from_secs(20);
/// What was asked of a node's addresses, and when.
#[derive(Default)]
pub struct Recorded(Mutex<Vec<(Instant, Asked)>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Hold { until: Instant },
    Release,
}

impl Recorded {
    fn note(&self, asked: Asked) {
        self.0.lock().expect("no panic").push((boot_now(), asked));
    }

    pub fn since(&self, from: Instant) -> Vec<(Instant, Asked)> {
        let all = self.0.lock().expect("no panic");
        all.iter().filter(|(at, _)| *at >= from).copied().collect()
    }

    fn holds(&self) -> bool {
        matches!(self.0.lock().expect("no panic").last(), Some((_, Asked::Hold { until })) if *until > boot_now())
    }
}

impl Addresses for Recorded {
    fn configure(&self, _: &[VirtualIp], _: &[Intercepted]) {}
    fn hold(&self, until: Instant, _: bool) {
        self.note(Asked::Hold { until });
    }
    fn release(&self, _: Release, done: Box<dyn FnOnce() + Send>) {
        self.note(Asked::Release);
        done();
    }
    fn announce(&self) {}
    fn fence(&self) -> String {
        String::new()
    }
}

struct Well;

impl SelfCheck for Well {
    fn data_plane(&self) -> Boxed<Option<String>> {
        Box::pin(std::future::ready(None))
    }
    fn obstacle(&self) -> Option<String> {
        None
    }
    fn sessions(&self) -> std::collections::BTreeMap<ServerId, u32> {
        std::collections::BTreeMap::new()
    }
    fn credentials(&self) -> Credentials {
        Credentials::default()
    }
}

/// There are no clients.
struct NoBindings;

impl UnderWay for NoBindings {
    fn is_under_way(&self, _: &StickKey) -> bool {
        false
    }
}

impl Binder for NoBindings {
    fn bind(&self, _: StickKey, entry: StickEntry, _: Remembered) -> Binding {
        let (_, committed) = tokio::sync::oneshot::channel();
        Binding { entry, committed }
    }
    fn refresh(&self, key: StickKey, entry: StickEntry) -> Binding {
        self.bind(key, entry, Remembered::Counts)
    }
}

/// A node and its threads. What it runs on comes last, so that it ends last.
pub struct Running {
    pub node: Node,
    pub at: SocketAddr,
    pub addresses: Arc<Recorded>,
    pub trust: Arc<TrustStore>,
    own: Option<Threads>,
    pub others: Runtime,
}

fn member(node: u128, listen: SocketAddr) -> Member {
    Member {
        id: id(node),
        name: format!("node-{node}"),
        listen,
        address: listen.ip(),
        role: Role::Server,
        version: String::new(),
        speaks: CURRENT,
        checks: Kind::known_set(),
    }
}

fn proxy(parts: &Parts<openraft_rt_tokio::TokioRuntime>) -> Arc<Proxy> {
    let settings = ProxySettings {
        workers: 1,
        reach: Reach::Bind,
        sessions_max: 1,
    };
    let clock = Clock {
        now: boot_now,
        wall: wall_now,
    };
    let (events, _) = tokio::sync::mpsc::channel(1);
    let (view, gate, binder) = (parts.view(), WatchedGate::new(), Arc::new(NoBindings));
    Arc::new(Proxy::start(settings, view, gate, binder, clock, events).expect("a proxy"))
}

fn settings(node: u128) -> NodeSettings {
    let (me, role, promise) = (id(node), Role::Server, Timing::Lan.promise());
    NodeSettings {
        consensus: ConsensusSettings {
            me,
            role,
            timing: Timing::Lan,
            promise,
            founding: node == 1,
            speaks: CURRENT,
            snapshot_every: SNAPSHOT_EVERY,
        },
        controller: ControllerSettings::of(me, role, promise),
        cluster: None,
        agent_version: String::new(),
        knock_every: KNOCK_EVERY,
    }
}

/// Starts a node as `run` does.
async fn start(
    node: u128,
    threads: &Handles,
    listener: TcpListener,
    trust: Arc<TrustStore>,
    addresses: Arc<Recorded>,
    dir: &std::path::Path,
) -> Node {
    let listen = listener.local_addr().expect("its address");
    let store = Arc::new(SledStore::open(dir).expect("a disk"));
    let kept = outside::on(threads, id(node), trust.clone(), store, addresses);
    let others = outside::with_tasks_on(&threads.others, &kept);
    let parts = Parts::new(boot_now);
    let proxy = proxy(&parts);
    let starting = Node::start(parts, kept.clone(), settings(node), Arc::new(Well));
    let started = threads.consensus.spawn(starting).await.expect("no panic");
    let started = started.expect("it starts");
    let operations = Operations::new(
        member(node, listen),
        started.consensus.clone(),
        started.driver.clone(),
        proxy,
        others.clone(),
        trust.clone(),
        1,
    );
    let entrance = Entrance {
        listener,
        local: None,
        trust,
        familiar: Arc::new(|_| true),
        known: Arc::new(|shows| matches!(shows, ha_agent::entrance::Presented::Certificate(_))),
    };
    serve(entrance, threads, &kept, &others, &started, operations).expect("it serves");
    started
}

impl Running {
    fn start(node: u128, issuer: &Cluster) -> Running {
        let dir = issuer.directory("store");
        let trust = issuer.trust(node);
        let addresses = Arc::<Recorded>::default();
        let others = control().expect("threads");
        let (own, at, started) = others.block_on(async {
            let own = Threads::start().expect("threads");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let at = listener.local_addr().expect("its address");
            let (trust, addresses) = (trust.clone(), addresses.clone());
            let node = start(node, own.handles(), listener, trust, addresses, &dir).await;
            (own, at, node)
        });
        Running {
            node: started,
            at,
            addresses,
            trust,
            own: Some(own),
            others,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.node.stop();
        if let Some(own) = self.own.take() {
            self.others.block_on(own.end());
        }
    }
}

/// Three nodes that vote, the first of which founded the cluster.
pub fn cluster(issuer: &Cluster) -> Vec<Running> {
    let nodes: Vec<Running> = (1..=NODES).map(|n| Running::start(n, issuer)).collect();
    let config = ClusterConfig {
        bindings_max: 10,
        ..ClusterConfig::default()
    };
    let mut first = vec![Command::Found {
        cluster_id: id(9),
        timing: Timing::Lan,
        version: CURRENT.max,
    }];
    first.extend((1..=NODES).map(|n| Command::AddMember(member(n, nodes[n as usize - 1].at))));
    first.push(Command::Configure {
        config,
        text: String::new(),
        expect: None,
    });
    let consensus = &nodes[0].node.consensus;
    nodes[0].others.block_on(async {
        write_first(
            &outside::SystemClock,
            consensus,
            nodes[0].at.to_string(),
            "a test",
            first,
        )
        .await
        .expect("written");
        for n in 2..=NODES {
            let at = nodes[n as usize - 1].at.to_string();
            consensus.add_learner(id(n), at).await.expect("a learner");
        }
    });
    until("all to vote and one to hold", || {
        let news = consensus.news();
        let vote = (1..=NODES).all(|n| news.votes_throughout(id(n)));
        vote && news.voters.len() == 1 && holder(&nodes).is_some()
    });
    nodes
}

pub fn holder(nodes: &[Running]) -> Option<usize> {
    nodes.iter().position(|n| n.addresses.holds())
}

pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = boot_now();
    while !is() {
        assert!(
            boot_now().saturating_since(began) < SOON,
            "waited {SOON:?} for {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
