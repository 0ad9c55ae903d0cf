//! What is seen on the wire.

use ha_tests::capture::{Capture, not_tls};
use ha_tests::cluster::{AGENT_PORT, Cluster, Plan};
use ha_tests::require_root;
use ha_tests::scenario::SOON;
use ha_tests::servers::PRINT_PORTS;
use ha_tests::system::System;

use crate::operator::{by, context};

/// Everything on the wire of every node, from before its `init` or `join`: TLS between agents, clients' traffic, nothing else.
#[test]
fn nothing_but_tls_leaves_a_node() {
    require_root!();
    let mut cluster = Cluster::machines_only(Plan::beside_others());
    let captures: Vec<Capture> = (1..=3)
        .map(|n| Capture::start(cluster.machine(n)))
        .collect();
    for n in 1..=3 {
        cluster.start_server(n);
    }
    cluster.init(1);
    cluster.join(2, 1);
    cluster.join(3, 1);
    cluster.wait_for_all_serving();
    let context = context(&cluster, "alice", "operator");
    let client = cluster.topology().client(1);
    by(client, &context, &["status"])
        .ok()
        .expect("status over the network");
    cluster
        .cli(&[
            "drain",
            "node-3",
            "--reason",
            "a-reason-that-must-not-be-read",
        ])
        .expect("drain");
    cluster.cli(&["ready", "node-3"]).expect("ready");
    let holder = cluster.wait_for_agreed_holder(SOON);
    cluster.kill_process(holder);
    cluster.wait_for_other_holder(holder, SOON);

    let secrets: Vec<Vec<u8>> = [
        "node-1",
        "node-2",
        "node-3",
        "alice",
        "a-reason-that-must-not-be-read",
        "server-1",
        "print",
        "PRI * HTTP/2.0",
        "ha.control",
        "ha.consensus",
        "ha1-",
    ]
    .iter()
    .map(|s| s.as_bytes().to_vec())
    .collect();
    let mut streams = 0;
    for capture in captures {
        let captured = capture.finish();
        assert!(captured.frames > 100, "{}", captured.frames);
        assert!(
            captured.udp.keys().all(|(_, to)| to.ip().is_multicast()),
            "no datagram of ours: {:?}",
            captured.udp
        );
        for ((from, to), bytes) in &captured.tcp {
            let agents = [from.port(), to.port()].contains(&AGENT_PORT);
            let service = [from.port(), to.port()]
                .iter()
                .any(|p| PRINT_PORTS.contains(p));
            assert!(
                agents || service,
                "who speaks here? {from} > {to}: {:?}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(64)])
            );
            if agents {
                streams += 1;
                assert_eq!(not_tls(bytes), None, "{from} > {to}");
                for secret in &secrets {
                    assert!(
                        !bytes.windows(secret.len()).any(|w| w == secret),
                        "{from} > {to} says {:?}",
                        String::from_utf8_lossy(secret)
                    );
                }
            }
        }
    }
    assert!(
        streams >= 12,
        "joins, peers and an operator were captured: {streams}"
    );
}
