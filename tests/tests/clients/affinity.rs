//! A client meets one server: on every port, in spite of the application that
//! listens on the same port of the holder, after leader kills and restarts.

use std::collections::BTreeSet;

use ha_tests::client::{Outcome, Session, many};
use ha_tests::cluster::{Cluster, Plan};
use ha_tests::observer::Observer;
use ha_tests::require_root;
use ha_tests::scenario::SOON;
use ha_tests::servers::PRINT_PORTS;
use ha_tests::system::System;

#[test]
fn every_port_of_the_print_system_leads_one_client_to_one_server() {
    require_root!();
    let cluster = Cluster::start(Plan::beside_others());
    let maps: Vec<_> = PRINT_PORTS
        .iter()
        .map(|&port| {
            many::ask(
                cluster.topology().client(1),
                60,
                cluster.address_on(port),
                SOON,
            )
        })
        .collect();
    for (port, map) in PRINT_PORTS.iter().zip(&maps) {
        println!("port {port}: {:?}", many::count(map));
        many::assert_nobody_moved(&maps[0], map);
    }
    let servers = many::count(&maps[0]);
    assert_eq!(
        servers
            .keys()
            .filter(|met| matches!(met, Outcome::Answered(_)))
            .count(),
        3,
        "all three serve: {servers:?}"
    );
}

#[test]
fn the_application_on_the_same_port_of_the_holder_does_not_answer_for_the_virtual_ip() {
    require_root!();
    // The sample servers listen on 0.0.0.0 with the very ports of the frontends, on the holder too.
    let cluster = Cluster::start(Plan::beside_others());
    let holder = cluster.wait_for_agreed_holder(SOON);
    let client = cluster.topology().client(1);
    let map = many::ask(client, 90, cluster.address(), SOON);
    let met: BTreeSet<_> = map.values().cloned().collect();
    let all: BTreeSet<_> = (1..=3)
        .map(|node| Outcome::Answered(format!("server-{node}")))
        .collect();
    assert_eq!(
        met, all,
        "not intercepted, all would have met server-{holder}"
    );

    let own = std::net::SocketAddr::new(cluster.machine(holder).ip4(), 5022);
    let session = Session::open(client, own, SOON)
        .expect("the application stays reachable at the node's own address");
    assert_eq!(session.server, format!("server-{holder}"));
}

#[test]
fn bindings_survive_kills_of_the_leader() {
    require_root!();
    let (clients, kills) = if std::env::var("HA_FULL").is_ok() {
        (10_000, 10)
    } else {
        (1_000, 2)
    };
    let mut cluster = Cluster::start(Plan::default());
    let observer = Observer::start(cluster.topology(), &[cluster.address().ip()]);
    let before = many::ask(
        cluster.topology().client(1),
        clients,
        cluster.address(),
        SOON,
    );
    println!("{clients} clients: {:?}", many::count(&before));
    for number in 1..=kills {
        observer.phase(&format!("kill {number}"));
        let old = cluster.wait_for_agreed_holder(SOON);
        cluster.kill_process(old);
        cluster.wait_for_other_holder(old, SOON);
        let after = many::ask(
            cluster.topology().client(1),
            clients,
            cluster.address(),
            SOON,
        );
        many::assert_nobody_moved(&before, &after);
        cluster.restore(old);
        println!("kill {number}/{kills}: nobody changed server");
    }
    observer.finish().assert_single_holder();
}

#[test]
fn everything_is_still_there_after_all_three_were_switched_off() {
    require_root!();
    let mut cluster = Cluster::start(Plan::beside_others());
    cluster
        .cli(&["maintenance", "terminal-servers/server-2"])
        .expect("maintenance");
    cluster.wait_for_server("server-2", "MAINT");
    let before = many::ask(cluster.topology().client(1), 200, cluster.address(), SOON);
    let members = cluster.status().expect("a status").names().join(" ");
    for node in 1..=3 {
        cluster.kill_machine(node);
    }
    for node in 1..=3 {
        cluster.machine(node).power_on();
        cluster.start_server(node);
        cluster.start_agent(node);
    }
    for node in 1..=3 {
        cluster.wait_for_member(node);
    }
    cluster.wait_for_agreed_holder(SOON);
    cluster.wait_for_server("server-2", "MAINT");
    cluster.wait_for_server("server-1", "UP");
    cluster.wait_for_server("server-3", "UP");
    let after = many::ask(cluster.topology().client(1), 200, cluster.address(), SOON);
    many::assert_nobody_moved(&before, &after);
    assert_eq!(
        cluster.status().expect("a status").names().join(" "),
        members
    );
}
