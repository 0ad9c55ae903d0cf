//! The harness tested by itself: cuts cut, power off is off, and the observer
//! catches what it is there to catch.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ha_tests::client::{GapClient, Outcome, Session, many};
use ha_tests::netns::{Machine, Topology, VIP4, VIP6};
use ha_tests::observer::Observer;
use ha_tests::servers::{self, PRINT_PORTS, cups, nginx};
use ha_tests::turn::Turn;
use ha_tests::{require_root, sys, wait};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_cut_drops_frames_in_exactly_the_directions_asked_for() {
    require_root!();
    let topology = Topology::new(3, 1, Turn::Alone);
    let (one, two, three) = (topology.node(1), topology.node(2), topology.node(3));
    assert!(
        hears(one, two) && hears(two, one) && hears(one, three),
        "all hear each other at first"
    );

    topology.cut_one_way(&[one], &[two]);
    assert!(!hears(two, one), "node-2 hears nothing of node-1");
    assert!(hears(one, two), "node-1 still hears node-2");
    assert!(hears(three, one), "node-3 is not concerned");

    topology.heal();
    assert!(hears(two, one), "healed");

    topology.cut_from_peers(3);
    assert!(
        !hears(one, three) && !hears(three, one) && !hears(two, three),
        "node-3 is alone"
    );
    assert!(
        hears(one, two) && hears(topology.client(1), three),
        "others and clients are not concerned"
    );
}

#[test]
fn power_off_ends_every_process_without_a_closing_packet_and_power_on_brings_the_machine_back() {
    require_root!();
    let topology = Topology::new(2, 1, Turn::Alone);
    let (node, client) = (topology.node(1), topology.client(1));
    let mut server = servers::sample(node, "a", "0.0.0.0", &[5022]);
    let to = SocketAddr::new(node.ip4(), 5022);
    let mut session = Session::open(client, to, Duration::from_millis(500)).expect("a connection");
    session.ping().expect("an echo");

    node.power_off();
    wait::until("the server to be gone", SOON, || {
        server.ended().map(drop).ok_or("runs".into())
    });
    assert!(!node.is_on());
    let error = session
        .ping()
        .expect_err("a machine without power does not answer");
    assert_eq!(
        error.kind(),
        std::io::ErrorKind::WouldBlock,
        "silence, not a reset or an end: {error}"
    );

    node.power_on();
    let _server = servers::sample(node, "a", "0.0.0.0", &[5022]);
    Session::open(client, to, SOON).expect("the machine is back");
}

#[test]
fn a_pulled_cable_takes_the_carrier_and_keeps_processes() {
    require_root!();
    let topology = Topology::new(2, 1, Turn::Alone);
    let node = topology.node(1);
    let mut server = servers::sample(node, "a", "0.0.0.0", &[5022]);
    node.unplug();
    assert!(!hears(topology.node(2), node));
    let carrier = || {
        node.run(&["cat", "/sys/class/net/eth0/carrier"], SOON)
            .text()
    };
    assert_eq!(
        carrier().trim(),
        "0",
        "the node sees that it has no carrier"
    );
    assert!(server.ended().is_none());
    node.plug();
    assert!(hears(topology.node(2), node));
    assert_eq!(carrier().trim(), "1");
}

#[test]
fn the_observer_sees_one_change_of_hand() {
    require_root!();
    let topology = Topology::new(2, 1, Turn::Alone);
    let vip: IpAddr = VIP4.parse().unwrap();
    let observer = Observer::start(&topology, &[vip]);
    give(topology.node(1), VIP4);
    assert!(answers(topology.client(1), VIP4));
    take(topology.node(1), VIP4);
    give(topology.node(2), VIP4);
    assert!(answers(topology.client(1), VIP4));
    let report = observer.finish();
    report.assert_changes_of_hand(vip, 1);
    assert_eq!(
        report.last_holder(vip).as_deref(),
        Some("node-2"),
        "{report}"
    );
}

#[test]
fn the_observer_catches_two_machines_that_both_answer() {
    require_root!();
    for vip in [VIP4, VIP6] {
        let topology = Topology::new(2, 2, Turn::Alone);
        let observer = Observer::start(&topology, &[vip.parse().unwrap()]);
        for node in topology.nodes() {
            give(node, vip);
        }
        // Each client asks for itself until both machines have answered one after the other and again.
        wait::until("both to answer, and the first one again", SOON, || {
            for client in topology.clients() {
                answers(client, vip);
            }
            let report = observer.report();
            if report.violations().is_empty() {
                Err(report.to_string())
            } else {
                Ok(())
            }
        });
        let report = observer.finish();
        let verdict = std::panic::catch_unwind(|| report.assert_single_holder());
        assert!(
            verdict.is_err(),
            "{vip}: the planted violation must fail a test\n{report}"
        );
    }
}

#[test]
fn the_gap_client_measures_an_outage_as_long_as_it_was() {
    require_root!();
    let topology = Topology::new(1, 1, Turn::Alone);
    let node = topology.node(1);
    let _server = servers::sample(node, "a", "0.0.0.0", &[5022]);
    let client = GapClient::start(topology.client(1), SocketAddr::new(node.ip4(), 5022));
    client.wait_for_service(20, SOON);
    let from = node.unplug();
    // The outage is what is measured here, so its length is given and not a condition.
    std::thread::sleep(Duration::from_millis(300));
    node.plug();
    let outage = from.elapsed();
    client.wait_for_service(20, SOON);
    let history = client.finish();
    let gap = history.gap().gap;
    let slack = Duration::from_millis(60) + history.own_pause;
    assert!(
        gap >= outage - Duration::from_millis(15),
        "gap {gap:?} of an outage of {outage:?}; {history}"
    );
    assert!(
        gap <= outage + slack,
        "gap {gap:?} of an outage of {outage:?}; {history}"
    );
    assert!(
        history.failures().contains_key(&Outcome::TimedOut),
        "{history}"
    );
}

#[test]
fn ten_thousand_clients_have_an_address_each() {
    require_root!();
    let topology = Topology::new(1, 1, Turn::Alone);
    let node = topology.node(1);
    let _server = servers::sample(node, "a", "0.0.0.0", &PRINT_PORTS);
    let began = Instant::now();
    let to = SocketAddr::new(node.ip4(), 5014);
    let map = many::ask(topology.client(1), 10_000, to, SOON);
    assert_eq!(
        many::count(&map),
        [(&Outcome::Answered("a".into()), 10_000)].into(),
        "after {:?}",
        began.elapsed()
    );
    println!("10000 clients in {:?}", began.elapsed());
}

#[test]
fn real_programs_serve_before_anything_is_between() {
    require_root!("nginx", "openssl", "curl", "cupsd");
    let topology = Topology::new(1, 1, Turn::Alone);
    let (node, client) = (topology.node(1), topology.client(1));
    let nginx = nginx::start(node, 8443, 1 << 20);
    let to = SocketAddr::new(node.ip4(), 8443);
    assert_eq!(
        nginx::met_certificate(client, to).as_deref(),
        Ok(nginx.fingerprint.as_str())
    );
    let download = nginx::download(
        client,
        "print.test",
        to,
        "/big",
        &nginx::certificate_file(node),
    );
    nginx::assert_same_bytes(&download, &nginx.big);
    let _cups = cups::start(node);
    cups::assert_ipp_answer(&cups::get_printers(
        client,
        SocketAddr::new(node.ip4(), cups::PORT),
    ));
}

#[test]
fn a_topology_leaves_nothing_behind_also_after_a_panic() {
    require_root!();
    let made = Mutex::new(None);
    let panicked = std::panic::catch_unwind(|| {
        let topology = Topology::new(1, 0, Turn::Alone);
        let server = servers::sample(topology.node(1), "a", "0.0.0.0", &[5022]);
        let namespaces = [topology.switch(), topology.node(1).namespace()].map(str::to_owned);
        *made.lock().unwrap() = Some((namespaces, server.pid(), topology.dir().to_owned()));
        panic!("planted");
    });
    assert!(panicked.is_err());
    let (namespaces, pid, dir) = made
        .into_inner()
        .unwrap()
        .expect("the planted panic comes last");
    for name in namespaces {
        assert!(
            !Path::new("/run/netns").join(&name).exists(),
            "{name} is left"
        );
    }
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "the server {pid} is left"
    );
    std::fs::remove_dir_all(dir).expect("logs and data of a failed test are kept, and only they");
}

/// A frame from `speaker` arrives at `listener`. Neighbours are given, so that nothing has to come back.
fn hears(listener: &Machine, speaker: &Machine) -> bool {
    for (at, other) in [(speaker, listener), (listener, speaker)] {
        let mac = other.mac().map(|byte| format!("{byte:02x}")).join(":");
        let ip = other.ip4().to_string();
        let words = [
            "ip",
            "neigh",
            "replace",
            &ip,
            "lladdr",
            &mac,
            "dev",
            "eth0",
            "nud",
            "permanent",
        ];
        assert_eq!(at.run(&words, SOON).code, Some(0));
    }
    let ear = sys::in_netns(listener.namespace(), || UdpSocket::bind("0.0.0.0:0"))
        .unwrap()
        .unwrap();
    let mouth = sys::in_netns(speaker.namespace(), || UdpSocket::bind("0.0.0.0:0"))
        .unwrap()
        .unwrap();
    ear.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let to = SocketAddr::new(listener.ip4(), ear.local_addr().unwrap().port());
    // Unreachable is one way of not being heard.
    let _ = mouth.send_to(b"hear me", to);
    ear.recv_from(&mut [0; 16]).is_ok()
}

/// Somebody answers for an address: nothing listens there, so the answer is a refusal.
fn answers(client: &Machine, address: &str) -> bool {
    client.run(&["ip", "neigh", "flush", "all"], SOON);
    let to = SocketAddr::new(address.parse().unwrap(), 9);
    let connected = client.connect(to, Duration::from_millis(500));
    connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}

fn give(node: &Machine, address: &str) {
    let added = node.run(
        &["ip", "addr", "add", &whole(address), "dev", "eth0", "nodad"],
        SOON,
    );
    assert_eq!(added.code, Some(0), "{}", added.stderr);
}

fn take(node: &Machine, address: &str) {
    let removed = node.run(&["ip", "addr", "del", &whole(address), "dev", "eth0"], SOON);
    assert_eq!(removed.code, Some(0), "{}", removed.stderr);
}

fn whole(address: &str) -> String {
    format!("{address}/{}", if address.contains(':') { 128 } else { 32 })
}
