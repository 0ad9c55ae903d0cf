//! One frontend with an address of each family: one node holds both, and they move together.

use ha_tests::client::GapClient;
use ha_tests::cluster::{Cluster, Plan};
use ha_tests::netns::{Family, VIP4, VIP6};
use ha_tests::observer::Observer;
use ha_tests::require_root;
use ha_tests::scenario::SOON;
use ha_tests::system::System;
use ha_tests::wait;
use std::net::{IpAddr, SocketAddr};

#[test]
fn clients_of_both_families_are_served_by_the_same_servers_and_their_addresses_move_together() {
    require_root!();
    let mut cluster = Cluster::start(Plan::beside_others());
    let file = cluster.topology().dir().join("both.toml");
    std::fs::write(&file, with_both(&cluster)).expect("a file");
    let file = file.to_string_lossy().into_owned();
    cluster.cli(&["apply", "--yes", &file]).expect("applied");
    let vips: [IpAddr; 2] = [VIP4, VIP6].map(|a| a.parse().expect("an address"));
    let observer = Observer::start(cluster.topology(), &vips);
    let machine = cluster.topology().client(1);
    let clients =
        vips.map(|vip| GapClient::start(machine, SocketAddr::new(vip, cluster.plan.ports[0])));
    let together = |cluster: &Cluster| {
        for client in &clients {
            client.wait_for_service(50, SOON);
        }
        wait::until("one node to hold both", SOON, || {
            let held = vips.map(|vip| cluster.topology().who_has(vip));
            match (&held[0][..], &held[1][..]) {
                ([a], [b]) if a == b => Ok(*a),
                _ => Err(format!("{held:?}")),
            }
        })
    };
    let old = together(&cluster);
    status_shows_both(&cluster, old);
    bound_by_address(&cluster, [machine.ip4(), machine.ip6()]);

    cluster.move_leader(None).expect("move-leader");
    cluster.wait_for_other_holder(old, SOON);
    let new = together(&cluster);
    assert_ne!(new, old);
    observer.phase("who holds loses power");
    cluster.kill_machine(new);
    cluster.wait_for_other_holder(new, SOON);
    let last = together(&cluster);
    status_shows_both(&cluster, last);

    let report = observer.finish();
    println!("{report}");
    report.assert_single_holder();
    for (vip, client) in vips.into_iter().zip(clients) {
        assert_eq!(report.changes_of_hand(vip), 2, "{vip}\n{report}");
        println!("{vip}: {}", client.finish());
    }
}

/// A node without IPv6 says so before anything is changed, and an address of it is not taken on.
#[test]
fn a_node_without_ipv6_says_so() {
    require_root!();
    let mut cluster = Cluster::start(Plan::beside_others());
    let holder = cluster.wait_for_agreed_holder(SOON);
    let node = cluster.machine(holder);
    node.sysctl("net/ipv6/conf/eth0/disable_ipv6", "1");
    let file = cluster.topology().dir().join("both.toml");
    std::fs::write(&file, with_both(&cluster)).expect("a file");
    let file = file.to_string_lossy().into_owned();
    let refused = cluster.cli_at(holder, &["apply", "--yes", &file], SOON);
    let words = format!("{}{}", refused.stderr, refused.text());
    assert_ne!(refused.code, Some(0), "{words}");
    for word in ["IPv6 is disabled on eth0", VIP6, "disable_ipv6=0"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    assert_eq!(cluster.holder(), Some(holder), "nothing was changed");
    // A follower in want of it cannot take over, and says why.
    node.sysctl("net/ipv6/conf/eth0/disable_ipv6", "0");
    let other = cluster.other_than(holder);
    cluster
        .machine(other)
        .sysctl("net/ipv6/conf/eth0/disable_ipv6", "1");
    cluster
        .cli_at(holder, &["apply", "--yes", &file], SOON)
        .ok()
        .expect("applied");
    wait::until("the follower to say why it cannot take over", SOON, || {
        let said = cluster.cli_at(holder, &["explain", "vip"], SOON).text();
        match said.contains("IPv6 is disabled on eth0") {
            true => Ok(()),
            false => Err(said),
        }
    });
    cluster
        .machine(other)
        .sysctl("net/ipv6/conf/eth0/disable_ipv6", "0");
    wait::until("it to be fit again", SOON, || {
        let said = cluster.cli_at(holder, &["explain", "vip"], SOON).text();
        match said.contains("IPv6 is disabled") {
            false => Ok(()),
            true => Err(said),
        }
    });
    cluster.stop_agent(holder);
    cluster.wait_for_holder(SOON);
}

/// The plan's frontends on an address of each family.
fn with_both(cluster: &Cluster) -> String {
    let mut config = cluster.plan.config.clone();
    config.virtual_ips = [Family::Four, Family::Six].map(Family::vip).to_vec();
    let both = "virtual_ip = [\"print\", \"print-2\"]";
    config.to_toml().replace("virtual_ip = \"print\"", both)
}

fn status_shows_both(cluster: &Cluster, holder: u8) {
    let status = cluster.cli(&["status"]).expect("a status");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let shown: Vec<_> = status["virtual_ips"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|v| {
            (
                v["address"].as_str().unwrap_or_default(),
                v["holder"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    let (holder, vips) = (
        format!("node-{holder}"),
        [Family::Four, Family::Six].map(Family::vip),
    );
    assert_eq!(
        shown,
        vips.each_ref().map(|v| (v.as_str(), holder.as_str()))
    );
    assert_eq!(status["frontends"][0]["virtual_ip"], "print,print-2");
}

/// A machine with two addresses is two clients.
fn bound_by_address(cluster: &Cluster, clients: [IpAddr; 2]) {
    for client in clients {
        let found = cluster
            .cli(&["whereis", &client.to_string()])
            .expect("bound");
        assert!(
            found.contains(&client.to_string()) && found.contains("server-"),
            "{found}"
        );
    }
}
