//! Floods inside TLS, by who has a certificate that counts: a viewer, and a member. HTTP/2 as nobody should speak it.
//! `HA_FULL=1`: for half an hour.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ha_tests::cluster::{AGENT_PORT, Plan};
use ha_tests::h2::{Caller, Flood, Papers};
use ha_tests::netns::Machine;
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched};
use ha_tests::system::System;
use ha_tests::wait;

use crate::flood::{BETWEEN, MEMORY_MAX, length, needs};

const PATIENCE: Duration = Duration::from_secs(1);
/// A viewer's question, and a member's.
const STATUS: &str = "/ha.control.v1.Control/Status";
const LEASE: &str = "/ha.consensus.v1.Consensus/Lease";
/// A connection goes on for so many batches, unless the other side ends it; then there is a new one.
const BATCHES: usize = 100;

/// How much of each flood there was: connections and frames.
type Sent = Mutex<BTreeMap<String, (u64, u64)>>;

/// One flood after the other from `machine` to `at` until `stop`.
fn flood(machine: &Machine, at: SocketAddr, who: (&str, &Papers), stop: &AtomicBool, sent: &Sent) {
    let (word, papers) = who;
    let path = if word == "viewer" { STATUS } else { LEASE };
    for of in Flood::ALL.into_iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let connected = machine.connect(at, PATIENCE);
        let Ok(mut caller) = connected.and_then(|s| Caller::begin(s, papers, path)) else {
            // No room for one more at the moment.
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        for _ in 0..BATCHES {
            if stop.load(Ordering::Relaxed) || caller.batch(of).is_err() {
                break;
            }
            std::thread::sleep(BETWEEN);
        }
        let mut sent = sent.lock().expect("no panic");
        let (connections, all) = sent.entry(format!("{word} {of:?}")).or_default();
        (*connections, *all) = (*connections + 1, *all + caller.frames());
    }
}

#[test]
fn floods_inside_tls_by_a_viewer_and_by_a_member_do_not_move_the_address() {
    require_root!();
    let run = Watched::start(Plan::default());
    let holder = run.holder();
    let topology = run.cluster.topology();
    let elsewhere = topology.clients().last().expect("a client machine");
    let file = topology.dir().join("viewer.json");
    let name = file.to_string_lossy();
    run.cluster
        .cli(&["user", "add", "viewer", "--role", "viewer", "--file", &name])
        .expect("a viewer");
    let viewer = Papers::of(&file);
    let evil = run.cluster.other_than(holder);
    let member = Papers::of(&run.cluster.machine(evil).dir().join("data/keyring.json"));
    let (stop, sent) = (AtomicBool::new(false), Sent::default());
    let from = Instant::now();
    std::thread::scope(|attackers| {
        let (stop, sent, run, viewer, member) = (&stop, &sent, &run, &viewer, &member);
        for n in 1..=3 {
            let at = SocketAddr::new(run.cluster.machine(n).ip4(), AGENT_PORT);
            attackers.spawn(move || flood(elsewhere, at, ("viewer", viewer), stop, sent));
            if n != evil {
                let machine = run.cluster.machine(evil);
                attackers.spawn(move || flood(machine, at, ("member", member), stop, sent));
            }
        }
        let stayed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait::throughout("the address to stay", length(), || {
                match run.cluster.holder() {
                    Some(still) if still == holder => Ok(()),
                    other => Err(format!("{other:?} has it, not node-{holder}")),
                }
            });
        }));
        stop.store(true, Ordering::Relaxed);
        stayed.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    let gap = run.noticed_since(from);
    let memory = (1..=3).map(|n| needs(run.cluster.agent(n).pid()).0).max();
    let (memory, sent) = (memory.unwrap_or(0), sent.into_inner().expect("no panic"));
    println!(
        "{:?}: the client noticed {gap:?}; at most {memory} KiB; connections and frames: {sent:#?}",
        length()
    );
    for word in ["viewer", "member"] {
        for of in Flood::ALL {
            let (connections, frames) = sent
                .get(&format!("{word} {of:?}"))
                .copied()
                .unwrap_or_default();
            assert!(
                connections > 0 && frames > 0,
                "{word} {of:?}: {connections}, {frames}"
            );
        }
    }
    assert!(memory < MEMORY_MAX, "{memory} KiB");
    // The one whose papers were used is heard as before.
    run.cluster
        .cli_at(evil, &["status"], SOON)
        .ok()
        .expect("it answers");
    run.served_again();
    run.finish().assert_changes_of_hand(0);
}
