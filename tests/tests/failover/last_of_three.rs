//! One machine dies after the other, slowly enough: the last one answers on. All at once: it stops, as it must.

use ha_tests::cluster::status::Node;
use ha_tests::cluster::{Cluster, Config, Plan};
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched, assert_gap};
use ha_tests::system::System;
use ha_tests::wait;
use std::time::{Duration, Instant};

/// The shortest that a configuration may have.
const TIMEOUT: &str = "10s";
/// That, the three knocks before it is believed, and an answer of `status`.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// Who comes back must be steady for 10 s.
const VOTES_AGAIN: Duration = Duration::from_secs(40);
/// A packet or two.
const NO_GAP: Duration = Duration::from_millis(100);

/// The client's server is on `node-1`, which founded the cluster and holds.
fn plan() -> Plan {
    Plan {
        config: Config {
            voter_timeout: Some(TIMEOUT),
            ..Config::print(&[1])
        },
        ..Plan::default()
    }
}

#[track_caller]
fn wait_for_the_only_voter(cluster: &Cluster, node: u8) {
    let name = format!("node-{node}");
    wait::until(&format!("{name} to vote alone"), GIVEN_UP, || {
        let status = cluster.status_at(node)?;
        if status.must_not_die() == [name.as_str()] {
            Ok(())
        } else {
            Err(format!("{:?} {:?}", status.endures, status.nodes))
        }
    });
}

#[test]
fn two_of_three_die_one_after_the_other_and_the_holder_answers_on_without_a_gap() {
    require_root!();
    let mut run = Watched::start(plan());
    let holder = run.holder();
    assert_eq!(holder, 1, "it founded the cluster");
    let began = Instant::now();
    assert_eq!(run.cluster.status().expect("a status").may_die(), Some(1));
    run.cluster.kill_machine(3);
    wait_for_the_only_voter(&run.cluster, 1);
    run.cluster.kill_machine(2);
    let alone = Instant::now();
    wait::until("node-2 to be noticed", SOON, || {
        let status = run.cluster.status_at(1)?;
        let silent = |n: &&Node| n.state == "unreachable";
        if status.nodes.iter().filter(silent).count() == 2 {
            Ok(())
        } else {
            Err(format!("{:?}", status.nodes))
        }
    });
    // What is decided now is decided by one, and stays.
    run.cluster
        .cli_at(1, &["drain", "node-2", "--force", "--yes"], SOON)
        .ok()
        .expect("an order is taken");
    assert_gap(&run.noticed_since(alone), NO_GAP, &run.client.history());

    run.cluster.restore(2);
    run.cluster.restore(3);
    wait::until("three voters again", VOTES_AGAIN, || {
        let status = run.cluster.status_at(1)?;
        if status.may_die() == Some(1) {
            Ok(())
        } else {
            Err(format!("{:?} {:?}", status.endures, status.nodes))
        }
    });
    assert_gap(&run.noticed_since(began), NO_GAP, &run.client.history());
    let admin = run.cluster.status_at(2).expect("a status of node-2").nodes;
    assert!(
        admin
            .iter()
            .any(|n| n.name == "node-2" && n.admin == "drain"),
        "{admin:?}"
    );
    assert_eq!(run.holder(), holder);
    run.finish().assert_changes_of_hand(0);
}

#[test]
fn the_vote_of_the_last_one_moves_with_the_address() {
    require_root!();
    let mut run = Watched::start(plan());
    assert_eq!(run.holder(), 1, "it founded the cluster");
    run.cluster.kill_machine(3);
    wait_for_the_only_voter(&run.cluster, 1);
    let at = Instant::now();
    run.cluster
        .cli_at(1, &["move-leader", "node-2"], SOON)
        .ok()
        .expect("it moves");
    let (new, gap) = run.taken_over(1, at);
    assert_eq!(new, 2);
    assert_gap(&gap, Duration::from_millis(500), &run.client.history());
    wait_for_the_only_voter(&run.cluster, 2);
    run.phase("the one that gave its vote away may die");
    let at = run.cluster.kill_process(1);
    std::thread::sleep(Duration::from_secs(1));
    assert_gap(&run.noticed_since(at), NO_GAP, &run.client.history());
    run.finish().assert_changes_of_hand(1);
}

#[test]
fn two_of_three_that_die_at_once_stop_the_service_and_it_says_so() {
    require_root!();
    let mut run = Watched::start(plan());
    assert_eq!(run.holder(), 1, "it founded the cluster");
    run.cluster.kill_machine(2);
    run.cluster.kill_machine(3);
    wait::until("nobody to hold", SOON, || {
        let said = run.cluster.cli_at(1, &["status"], SOON);
        let text = said.ok().unwrap_or_else(|why| why);
        if text.contains("there is no majority") {
            Ok(())
        } else {
            Err(text)
        }
    });
    std::thread::sleep(Duration::from_secs(15));
    let vip = run.cluster.address().ip();
    assert!(
        !run.cluster.machine(1).has_address(vip),
        "not even after its timeout"
    );
    run.phase("one comes back");
    run.cluster.restore(2);
    run.served_again();
    run.finish().assert_changes_of_hand_within(0..=1);
}
