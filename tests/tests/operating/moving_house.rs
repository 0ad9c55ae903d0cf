//! Every node gets another address, one after the other, and no client loses the service for longer than by a move.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ha_tests::cluster::{Cluster, Plan};
use ha_tests::process::must;
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched, assert_gap};
use ha_tests::system::System;
use ha_tests::wait;

const MOVED: Duration = Duration::from_millis(300);

fn ip(run: &Watched, node: u8, words: &[&str]) {
    let namespace = run.cluster.machine(node).namespace().to_owned();
    must(&[&["ip", "-n", &namespace], words].concat(), "");
}

#[test]
fn every_node_moves_to_another_network_and_clients_notice_a_move_at_most() {
    require_root!();
    let mut run = Watched::start(Plan::default());
    let new = |node: u8| IpAddr::from([10, 79, 0, node]);
    // Both networks are there while nodes move.
    for node in 1..=3 {
        let address = format!("{}/24", new(node));
        ip(&run, node, &["addr", "add", &address, "dev", "eth0"]);
    }
    for node in 1..=3 {
        run.phase(&format!("node-{node} moves"));
        let at = Instant::now();
        run.cluster.stop_agent(node);
        run.cluster.moved.insert(node, new(node));
        run.cluster.start_agent(node);
        run.cluster.wait_for_member(node);
        wait::until("the cluster to know where it is", SOON, || {
            let text = run.cluster.cli(&["member", "list"])?;
            if text.contains(&format!("{}:7400", new(node))) {
                Ok(())
            } else {
                Err(text)
            }
        });
        run.cluster.wait_for_all_serving();
        let gap = run.noticed_since(at);
        println!("node-{node} moved in {:?}: gap {:?}", at.elapsed(), gap.gap);
        assert_gap(&gap, MOVED, &run.client.history());
    }
    // Nobody needs the old addresses any more: not peers, not checks, not clients.
    for node in 1..=3 {
        let old = format!("{}/24", run.cluster.machine(node).ip());
        ip(
            &run,
            node,
            &[
                "route",
                "add",
                "10.77.0.0/24",
                "dev",
                "eth0",
                "metric",
                "50",
            ],
        );
        ip(&run, node, &["addr", "del", &old, "dev", "eth0"]);
    }
    run.served_again();
    run.cluster.wait_for_all_serving();
    run.phase("and the holder dies");
    let holder = run.holder();
    let at = run.cluster.kill_machine(holder);
    let (_, gap) = run.taken_over(holder, at);
    assert_gap(&gap, Duration::from_secs(1), &run.client.history());
    run.finish();
}

/// What cannot be changed, and where nobody can go, is said before anything is tried; put back, it starts.
#[test]
fn a_node_that_cannot_be_what_its_file_says_does_not_start_and_says_so() {
    require_root!();
    let mut cluster = Cluster::start(Plan::beside_others());
    let holder = cluster.wait_for_agreed_holder(SOON);
    let node = cluster.other_than(holder);
    cluster.stop_agent(node);
    let path = cluster.write_agent(node);
    let right = std::fs::read_to_string(&path).expect("agent.toml");
    let program = ha_tests::cluster::agent_program();
    let listen = |ip: IpAddr| format!("listen = \"{ip}:7400\"");
    let here = cluster.machine(node).ip();
    for (from, to, says) in [
        (
            format!("name = \"node-{node}\""),
            "name = \"node-9\"".to_owned(),
            "cannot be changed",
        ),
        (
            "role = \"server\"".to_owned(),
            "role = \"witness\"".to_owned(),
            "cannot be changed",
        ),
        (
            listen(here),
            listen(cluster.machine(holder).ip()),
            "is taken by node",
        ),
        (
            listen(here),
            listen(cluster.plan.vip()),
            "is that of virtual_ip",
        ),
    ] {
        let wrong = right.replace(&from, &to);
        assert_ne!(wrong, right, "{from}");
        std::fs::write(&path, wrong).expect("agent.toml");
        let words = [program.as_str(), "run", "--config", &path];
        let said = cluster.machine(node).run(&words, SOON);
        assert_eq!(said.code, Some(8), "{to}: {}", said.stderr);
        assert!(said.stderr.contains(says), "{to}: {}", said.stderr);
    }
    cluster.start_agent(node);
    cluster.wait_for_member(node);
}
