//! What keeps the lease waits for none of the threads that others can occupy.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ha_agent::sys::boot_now;
use ha_agent::threads::control;
use ha_agent::wire::channels::{Idle, PeerChannels};
use ha_agent::wire::kept::KeptChannels;
use ha_core::controller::ControllerSettings;
use ha_core::model::{Role, Timing};
use ha_core::time::Instant;
use ha_node::outside::{Addressee, Call};
use ha_proto::control::StatusRequest;
use ha_proto::control::control_client::ControlClient;
use ha_trust::store::TrustStore;
use tokio::runtime::Handle;
use tonic::{Code, Request};

use crate::lab::{Cluster, id};
use crate::nodes::{Asked, SOON, cluster, holder, until};

/// More than ten leases.
const OCCUPIED: Duration = Duration::from_secs(3);
/// More than may be under way by members' connections.
const QUESTIONS: usize = 300;

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
    let nodes = cluster(&Cluster::new());
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
    let refused = async {
        while let Some(answer) = asking.join_next().await {
            if answer.expect("no panic").err() == Some(Code::ResourceExhausted) {
                return;
            }
        }
        panic!("nobody was told that there are too many");
    };
    tokio::time::timeout(SOON, refused).await.expect("in time");
    // They go on waiting; who asked has gone.
    asking.detach_all();
}

/// Each hold was renewed before it was over, and nothing was released.
pub fn kept_throughout(asked: &[(Instant, Asked)], from: Instant, to: Instant) {
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
