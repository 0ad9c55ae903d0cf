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

/// One of them votes, and it is said which: the other one's death is survived, that one's needs a person.
#[test]
fn of_two_the_one_that_votes_must_not_die_and_a_person_gets_the_service_back() {
    require_root!();
    let mut cluster = Cluster::start(Plan {
        turn: Plan::beside_others().turn,
        ..two()
    });
    let votes = cluster.wait_for_agreed_holder(SOON);
    let other = 3 - votes;
    let said = wait::until("status to say who must not die", SOON, || {
        let text = cluster.cli(&["status"])?;
        let says = format!("node-{votes} votes alone: when it dies the service stops");
        match text.contains(&says) {
            true => Ok(cluster.status()?),
            false => Err(text),
        }
    });
    assert_eq!(said.must_not_die(), [format!("node-{votes}")]);
    cluster.kill_machine(other);
    wait::throughout(
        "its clients to be served",
        Duration::from_secs(3),
        || match cluster.holder() {
            Some(holder) if holder == votes => Ok(()),
            holder => Err(format!("{holder:?} holds")),
        },
    );
    wait::until("a client to be served", SOON, || served(&cluster));
    cluster.restore(other);

    let at = Instant::now();
    cluster.kill_machine(votes);
    wait::until("the service to stop", SOON, || match served(&cluster) {
        Err(_) => Ok(()),
        Ok(server) => Err(format!("served by {server}")),
    });
    wait::throughout(
        "nobody to be served",
        Duration::from_secs(3),
        || match served(&cluster) {
            Err(_) => Ok(()),
            Ok(server) => Err(format!("served by {server}")),
        },
    );
    println!("nobody was served {:?} after its death", at.elapsed());

    // The way out, rehearsed.
    let at = Instant::now();
    cluster.stop_agent(other);
    let gone = format!("node-{votes}");
    cluster
        .ha_agent(other, &["recover", "--alone", "--switched-off", &gone])
        .ok()
        .expect("it goes on alone");
    cluster.start_agent(other);
    wait::until("a client to be served", SOON, || served(&cluster));
    println!("served {:?} after the way out was begun", at.elapsed());
    cluster.machine(votes).power_on();
    cluster.start_server(votes);
    cluster.rejoin(votes, other);
    cluster.wait_for_all_serving();
}

#[test]
fn a_witness_that_is_added_later_needs_no_stop_and_then_either_may_die() {
    require_root!();
    let mut run = Watched::start(two());
    let holder = run.holder();
    let at = Instant::now();
    run.cluster.join(3, holder);
    run.cluster.wait_for_all_serving();
    let gap = run.noticed_since(at);
    assert_gap(&gap, UNNOTICED, &run.client.history());
    run.phase("the holder dies");
    let at = run.cluster.kill_machine(holder);
    let (new, gap) = run.taken_over(holder, at);
    assert_eq!(new, 3 - holder);
    assert_gap(&gap, Duration::from_secs(2), &run.client.history());
    run.finish().assert_changes_of_hand(1);
}
