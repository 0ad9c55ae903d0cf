//! Two servers without a witness: what one death does, the way out, and a witness that is added later.

use std::time::{Duration, Instant};

use ha_tests::client::Session;
use ha_tests::cluster::{Cluster, Config, Plan};
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched, assert_gap};
use ha_tests::system::System;
use ha_tests::wait;

const UNNOTICED: Duration = Duration::from_millis(100);

fn two() -> Plan {
    Plan {
        nodes: 3,
        first_members: 2,
        witnesses: vec![3],
        config: Config::print(&[1, 2]),
        ..Plan::default()
    }
}

fn served(cluster: &Cluster) -> Result<String, String> {
    let client = cluster.topology().client(1);
    let quickly = Duration::from_millis(500);
    let mut session =
        Session::open(client, cluster.address(), quickly).map_err(|e| e.to_string())?;
    session.ping().map_err(|e| e.to_string())?;
    Ok(session.server)
}

/// Either of both: with the holder the address is gone, and without the other one the holder has no majority.
#[test]
fn when_one_of_two_dies_the_service_stops_until_a_person_says_that_it_is_gone() {
    require_root!();
    let mut cluster = Cluster::start(Plan {
        turn: Plan::beside_others().turn,
        ..two()
    });
    let holder = cluster.wait_for_agreed_holder(SOON);
    let other = 3 - holder;
    let status = cluster.cli(&["status"]).expect("a status");
    let says = format!("when one of node-{holder}, node-{other} dies the service stops");
    let either = format!("when one of node-{other}, node-{holder} dies the service stops");
    assert!(
        status.contains(&says) || status.contains(&either),
        "it is said beforehand: {status}"
    );
    let at = Instant::now();
    cluster.kill_machine(other);
    wait::until("the service to stop", SOON, || match served(&cluster) {
        Err(_) => Ok(()),
        Ok(server) => Err(format!("served by {server}")),
    });
    println!(
        "stopped {:?} after the death of the other one",
        at.elapsed()
    );
    wait::throughout(
        "nobody to be served",
        Duration::from_secs(3),
        || match served(&cluster) {
            Err(_) => Ok(()),
            Ok(server) => Err(format!("served by {server}")),
        },
    );

    // The way out, rehearsed.
    let at = Instant::now();
    cluster.stop_agent(holder);
    let gone = format!("node-{other}");
    cluster
        .ha_agent(holder, &["recover", "--alone", "--switched-off", &gone])
        .ok()
        .expect("it goes on alone");
    cluster.start_agent(holder);
    wait::until("a client to be served", SOON, || served(&cluster));
    println!("served {:?} after the way out was begun", at.elapsed());
    cluster.machine(other).power_on();
    cluster.start_server(other);
    cluster.rejoin(other, holder);
    cluster.wait_for_all_serving();
}

#[test]
fn a_witness_that_is_added_later_needs_no_stop_and_then_either_may_die() {
    require_root!();
    let mut run = Watched::start(two());
    let holder = run.holder();
    let at = Instant::now();
    run.cluster.join(3, holder);
    let gap = run.noticed_since(at);
    assert_gap(&gap, UNNOTICED, &run.client.history());
    run.phase("the holder dies");
    let at = run.cluster.kill_machine(holder);
    let (new, gap) = run.taken_over(holder, at);
    assert_eq!(new, 3 - holder);
    assert_gap(&gap, Duration::from_secs(2), &run.client.history());
    run.finish().assert_changes_of_hand(1);
}
