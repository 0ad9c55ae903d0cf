//! What keeps the lease waits for none of the threads that others can occupy: three nodes over real sockets, each with
//! the program's own threads, consensus, servers and channels; only what holds addresses is written down instead.

#![allow(
    clippy::disallowed_methods,
    reason = "a test over real sockets, in real time"
)]

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ha_agent::entrance::Entrance;
use ha_agent::operate::Operations;
use ha_agent::outside::{self, Node};
use ha_agent::run::serve::serve;
use ha_agent::store::SledStore;
use ha_agent::sys::{boot_now, wall_now};
use ha_agent::threads::{Handles, Threads, control};
use ha_agent::wire::channels::{Idle, PeerChannels};
use ha_agent::wire::kept::KeptChannels;
use ha_core::check::Kind;
use ha_core::command::Command;
use ha_core::controller::ControllerSettings;
use ha_core::dispatch::Remembered;
use ha_core::id::{NodeId, ServerId};
use ha_core::model::{CERTIFICATE_LIFETIME, ClusterConfig, Member, Role, Timing, VirtualIp};
use ha_core::stick::{StickEntry, StickKey};
use ha_core::time::Instant;
use ha_core::trust::Credentials;
use ha_core::version::CURRENT;
use ha_node::consensus::{ConsensusSettings, SNAPSHOT_EVERY};
use ha_node::founding::write_first;
use ha_node::node::{NodeSettings, Parts};
use ha_node::outside::{Addressee, Addresses, Boxed, Call, Intercepted, Release, SelfCheck};
use ha_proto::control::StatusRequest;
use ha_proto::control::control_client::ControlClient;
use ha_proxy::{Binder, Binding, Clock, Proxy, ProxySettings, Reach, WatchedGate};
use ha_trust::authority::{Authority, Seal, request};
use ha_trust::identity::Subject;
use ha_trust::keyring::Keyring;
use ha_trust::store::TrustStore;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tonic::{Code, Request};

const NODES: u128 = 3;
const SOON: Duration = Duration::from_secs(20);
/// More than ten leases.
const OCCUPIED: Duration = Duration::from_secs(3);
/// More than may be under way by members' connections.
const QUESTIONS: usize = 300;

fn id(node: u128) -> NodeId {
    NodeId::from_random(node)
}

/// What was asked of a node's addresses, and when.
#[derive(Default)]
struct Recorded(Mutex<Vec<(Instant, Asked)>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Hold { until: Instant },
    Release,
}

impl Recorded {
    fn note(&self, asked: Asked) {
        self.0.lock().expect("no panic").push((boot_now(), asked));
    }

    fn since(&self, from: Instant) -> Vec<(Instant, Asked)> {
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

impl Binder for NoBindings {
    fn bind(&self, _: StickKey, entry: StickEntry, _: Remembered) -> Binding {
        let (_, committed) = tokio::sync::oneshot::channel();
        Binding { entry, committed }
    }
    fn refresh(&self, _: StickKey, _: StickEntry) {}
}

/// A node and its threads. What it runs on comes last, so that it ends last.
struct Running {
    node: Node,
    at: SocketAddr,
    addresses: Arc<Recorded>,
    trust: Arc<TrustStore>,
    own: Option<Threads>,
    others: Runtime,
    _dir: tempfile::TempDir,
}

/// Certificates of one cluster.
struct Issuer(Authority, Seal);

impl Issuer {
    fn trust(&self, node: u128, dir: &std::path::Path) -> Arc<TrustStore> {
        let (key, asked) = request().expect("a request");
        let subject = Subject::Node(id(node));
        let certificate = self
            .0
            .sign(&asked, &subject, id(9), wall_now(), CERTIFICATE_LIFETIME)
            .expect("a certificate");
        Keyring {
            generation: 1,
            authorities: vec![self.0.certificate().to_vec()],
            crosses: Vec::new(),
            certificate,
            key: key.serialize_der(),
            seal: self.1.clone(),
        }
        .save(dir)
        .expect("saved");
        Arc::new(TrustStore::open(dir).expect("a store"))
    }
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
            snapshot_every: SNAPSHOT_EVERY,
        },
        controller: ControllerSettings::of(me, role, promise),
        cluster: None,
        agent_version: String::new(),
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
    fn start(node: u128, issuer: &Issuer) -> Running {
        let dir = tempfile::tempdir().expect("a directory");
        let trust = issuer.trust(node, dir.path());
        let addresses = Arc::<Recorded>::default();
        let others = control().expect("threads");
        let (own, at, started) = others.block_on(async {
            let own = Threads::start().expect("threads");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let at = listener.local_addr().expect("its address");
            let (trust, addresses) = (trust.clone(), addresses.clone());
            let node = start(node, own.handles(), listener, trust, addresses, dir.path()).await;
            (own, at, node)
        });
        Running {
            node: started,
            at,
            addresses,
            trust,
            own: Some(own),
            others,
            _dir: dir,
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
fn cluster() -> Vec<Running> {
    let authority = Authority::generate(id(9), wall_now()).expect("an authority");
    let issuer = Issuer(authority, Seal::generate().expect("a seal"));
    let nodes: Vec<Running> = (1..=NODES).map(|n| Running::start(n, &issuer)).collect();
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

fn holder(nodes: &[Running]) -> Option<usize> {
    nodes.iter().position(|n| n.addresses.holds())
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = boot_now();
    while !is() {
        assert!(
            boot_now().saturating_since(began) < SOON,
            "waited {SOON:?} for {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Threads that do nothing else any more until this is dropped.
#[derive(Clone, Default)]
struct Occupied(Arc<(Mutex<Occupation>, Condvar)>);

#[derive(Default)]
struct Occupation {
    threads: usize,
    over: bool,
}

impl Occupied {
    /// Every thread of these; returns when not one is left.
    fn all(runtimes: &[&Handle]) -> Occupied {
        let occupied = Occupied::default();
        let mut wanted = 0;
        for runtime in runtimes {
            for _ in 0..runtime.metrics().num_workers() {
                wanted += 1;
                let occupied = occupied.clone();
                runtime.spawn(async move {
                    let (lock, over) = &*occupied.0;
                    let mut now = lock.lock().expect("no panic");
                    now.threads += 1;
                    let _over = over.wait_while(now, |o| !o.over).expect("no panic");
                });
            }
        }
        until("all threads to be occupied", || {
            occupied.0.0.lock().expect("no panic").threads == wanted
        });
        println!("{wanted} threads are occupied");
        occupied
    }

    fn end(&self) {
        self.0.0.lock().expect("no panic").over = true;
        self.0.1.notify_all();
    }
}

/// The threads are let go of whatever comes.
struct Ends(Occupied);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[test]
fn the_lease_is_kept_while_every_other_thread_of_every_node_is_occupied() {
    let nodes = cluster();
    let holds = holder(&nodes).expect("one holds");
    let at = Addressee {
        node: id(holds as u128 + 1),
        at: nodes[holds].at.to_string(),
    };
    let as_member = nodes[(holds + 1) % nodes.len()].trust.clone();
    let others: Vec<&Handle> = nodes.iter().map(|n| n.others.handle()).collect();

    let from = boot_now();
    let occupied = Ends(Occupied::all(&others));
    let test = control().expect("threads");
    test.block_on(async {
        ask_what_waits(&as_member, &at).await;
        // A member that comes anew is let in and answered; what it says means nothing.
        let peers = PeerChannels::new(id(2), as_member.clone());
        let answer = peers
            .call(at.clone(), Call::Lease, b"?".to_vec(), SOON)
            .await;
        let answer = format!("{answer:?}");
        assert!(answer.contains("InvalidArgument"), "{answer}");
    });
    while boot_now().saturating_since(from) < OCCUPIED {
        std::thread::sleep(Duration::from_millis(20));
    }
    let to = boot_now();
    drop(occupied);

    for (n, node) in nodes.iter().enumerate().filter(|(n, _)| *n != holds) {
        assert_eq!(node.addresses.since(from), [], "node {}", n + 1);
    }
    kept_throughout(&nodes[holds].addresses.since(from), from, to);
}

/// Asks what operators ask by a member's connection, more often than may be under way: the rest is refused at once,
/// by threads that keep the lease.
async fn ask_what_waits(as_member: &Arc<TrustStore>, at: &Addressee) {
    let mut asking = tokio::task::JoinSet::new();
    // One connection carries 64 questions at a time.
    for _ in 0..QUESTIONS.div_ceil(60) {
        let channels = KeptChannels::new(as_member.clone(), Handle::current(), Idle::Closed);
        let channel = channels.to(at.node, &at.at).expect("an address");
        for _ in 0..60 {
            let mut client = ControlClient::new(channel.clone());
            let mut question = Request::new(StatusRequest {});
            let access = "viewer".parse().expect("letters");
            question.metadata_mut().insert("ha-access", access);
            asking.spawn(async move { client.status(question).await.map_err(|s| s.code()) });
        }
    }
    let first = tokio::time::timeout(SOON, asking.join_next()).await;
    let first = first.expect("in time").expect("one").expect("no panic");
    assert_eq!(first.err(), Some(Code::ResourceExhausted));
    // They go on waiting; who asked has gone.
    asking.detach_all();
}

/// Each hold was renewed before it was over, and nothing was released.
fn kept_throughout(asked: &[(Instant, Asked)], from: Instant, to: Instant) {
    let lease = ControllerSettings::of(id(1), Role::Server, Timing::Lan.promise()).lease;
    let (mut before, mut until, mut longest) = (from, None, Duration::ZERO);
    for &(at, asked) in asked.iter().take_while(|(at, _)| *at <= to) {
        let Asked::Hold { until: next } = asked else {
            panic!("released at {at:?}: {asked:?}");
        };
        longest = longest.max(at.saturating_since(before));
        assert!(
            until.is_none_or(|until| at < until),
            "a gap: renewed {:?} after the last renewal",
            at.saturating_since(before)
        );
        (before, until) = (at, Some(next));
    }
    longest = longest.max(to.saturating_since(before));
    println!("the longest time between two renewals was {longest:?}, a lease is {lease:?}");
    assert!(
        until.is_some_and(|until| until > to),
        "not renewed at the end"
    );
    assert!(longest < lease, "{longest:?}");
}
