//! Power fails everywhere and comes back: nodes start in any order, and nobody touches them.

use std::time::{Duration, Instant};

use ha_tests::client::Session;
use ha_tests::cluster::{Cluster, Plan};
use ha_tests::require_root;
use ha_tests::scenario::SOON;
use ha_tests::system::System;
use ha_tests::wait;

/// From the start of the second of three agents to a client that is served.
const PROMISED: Duration = Duration::from_secs(5);

#[test]
fn when_power_is_back_the_second_of_three_that_starts_brings_service_in_every_order() {
    require_root!();
    let full = std::env::var("HA_FULL").is_ok();
    let apart = Duration::from_secs(if full { 60 } else { 3 });
    let mut cluster = Cluster::start(Plan {
        turn: Plan::default().turn,
        ..Plan::beside_others()
    });
    for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1], [3, 2, 1]] {
        let [first, second, third] = order;
        let before = cluster.wait_for_agreed_holder(SOON);
        for node in 1..=3 {
            cluster.kill_machine(node);
        }
        let start = |cluster: &mut Cluster, node: u8| {
            cluster.machine(node).power_on();
            cluster.start_server(node);
            let at = Instant::now();
            cluster.start_agent(node);
            at
        };
        start(&mut cluster, first);
        let vip = cluster.plan.vip();
        wait::throughout("one of three to serve nobody", apart, || {
            match cluster.topology().who_has(vip).as_slice() {
                [] => Ok(()),
                some => Err(format!("{some:?} have the address")),
            }
        });
        let at = start(&mut cluster, second);
        let client = cluster.topology().client(1);
        let address = cluster.address();
        let server = wait::until("a client to be served", SOON, || {
            let quickly = Duration::from_millis(300);
            let mut session = Session::open(client, address, quickly).map_err(|e| e.to_string())?;
            session.ping().map_err(|e| e.to_string())?;
            Ok(session.server)
        });
        let took = at.elapsed();
        println!(
            "{order:?}, node-{before} held before: served by {server} {took:?} after the second start"
        );
        assert!(took <= PROMISED, "{took:?}");
        start(&mut cluster, third);
        cluster.wait_for_all_serving();
    }
}
