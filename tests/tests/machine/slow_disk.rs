//! A slow disk, on one node and on all: leadership and the address do not hang
//! on it, and clients notice nothing but a late binding.

use std::time::{Duration, Instant};

use ha_tests::cluster::Plan;
use ha_tests::netns::Topology;
use ha_tests::scenario::{SOON, Watched, assert_gap};
use ha_tests::system::System;
use ha_tests::turn::Turn;
use ha_tests::{disk, require_root, wait};

const DELAY: Duration = Duration::from_secs(3);

#[test]
fn a_program_with_the_library_is_slow_exactly_while_it_should_be() {
    require_root!("cc", "python3");
    let topology = Topology::new(1, 0, Turn::Alone);
    let machine = topology.node(1);
    let library = disk::library(topology.dir()).expect("the guard looked for cc");
    let flush = || {
        let file = machine
            .dir()
            .join("slow-disk")
            .to_string_lossy()
            .into_owned();
        let (preload, slow) = (
            format!("LD_PRELOAD={}", library.display()),
            format!("HA_SLOW_DISK={file}"),
        );
        let script = "import os,time; f=os.open(os.environ['HA_SLOW_DISK']+'.x', os.O_CREAT|os.O_WRONLY); t=time.time(); os.fsync(f); print(time.time()-t)";
        let printed = machine
            .run(&["env", &preload, &slow, "python3", "-c", script], SOON)
            .ok()
            .expect("python runs");
        printed.trim().parse::<f64>().expect("seconds")
    };
    assert!(flush() < 0.3, "no file, no delay");
    disk::delay(machine, Duration::from_millis(500));
    assert!(flush() >= 0.5);
    assert!(disk::was_hit(machine));
    disk::delay(machine, Duration::ZERO);
    assert!(flush() < 0.3);
}

#[test]
fn a_slow_disk_on_the_holder_moves_nothing() {
    require_root!("cc");
    slow(|run| vec![run.holder()]);
}

#[test]
fn a_slow_disk_on_a_follower_moves_nothing() {
    require_root!("cc");
    slow(|run| vec![run.cluster.other_than(run.holder())]);
}

#[test]
fn slow_disks_on_all_nodes_move_nothing() {
    require_root!("cc");
    slow(|_| vec![1, 2, 3]);
}

fn slow(which: impl Fn(&Watched) -> Vec<u8>) {
    let span = Duration::from_secs(if std::env::var("HA_FULL").is_ok() {
        180
    } else {
        15
    });
    let library = tempfile::tempdir().expect("directory");
    let library = disk::library(library.path())
        .map(|path| (library, path))
        .expect("the guard looked for cc");
    let run = Watched::start(Plan {
        agent_env: disk::environment(&library.1),
        ..Plan::beside_others()
    });
    let (holder, nodes) = (run.holder(), which(&run));
    for &node in &nodes {
        disk::delay(run.cluster.machine(node), DELAY);
    }
    let from = Instant::now();
    // Something has to be written, or a slow disk is no fault: events of the operator.
    run.cluster
        .cli(&["drain", "terminal-servers/server-1"])
        .map(drop)
        .unwrap_or_else(|why| println!("drain on a slow disk: {why}"));
    wait::throughout("the address to stay", span, || match run.cluster.holder() {
        Some(still) if still == holder => Ok(()),
        other => Err(format!("{other:?} has it, not node-{holder}")),
    });
    for &node in &nodes {
        assert!(
            disk::was_hit(run.cluster.machine(node)),
            "node-{node} never flushed, so nothing was tested"
        );
        disk::delay(run.cluster.machine(node), Duration::ZERO);
    }
    let gap = run.noticed_since(from);
    assert_gap(&gap, Duration::from_millis(500), &run.client.history());
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}
