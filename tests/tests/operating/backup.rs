//! A cluster that is gone comes back from its backup as the same one; not while it is there.

use std::time::Duration;

use ha_tests::client::Session;
use ha_tests::cluster::{Cluster, Plan, agent_program, cli_program};
use ha_tests::require_root;
use ha_tests::scenario::SOON;
use ha_tests::system::System;
use ha_tests::wait;

const BOUND: Duration = Duration::from_secs(30);

fn cluster_id(cluster: &Cluster, node: u8) -> String {
    let text = std::fs::read_to_string(cluster.machine(node).dir().join("data/identity.json"))
        .expect("an identity");
    let identity: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    identity["cluster_id"].as_str().expect("text").to_owned()
}

fn restore(cluster: &Cluster, node: u8, words: &[&str]) -> Result<String, String> {
    let (agent, program) = (cluster.write_agent(node), agent_program());
    cluster
        .machine(node)
        .run(
            &[&[program.as_str(), "restore", "--config", &agent], words].concat(),
            BOUND,
        )
        .ok()
}

#[test]
fn a_cluster_that_is_gone_comes_back_from_its_backup_with_the_same_identity() {
    require_root!();
    let mut cluster = Cluster::start(Plan {
        nodes: 4,
        ..Plan::beside_others()
    });
    let path = |name: &str| {
        cluster
            .topology()
            .dir()
            .join(name)
            .to_string_lossy()
            .into_owned()
    };
    let (file, phrase, context) = (path("backup"), path("phrase"), path("alice.json"));
    std::fs::write(&phrase, "correct horse").expect("a passphrase");
    cluster
        .cli(&[
            "user", "add", "alice", "--role", "viewer", "--file", &context,
        ])
        .expect("alice");
    cluster
        .cli(&[
            "maintenance",
            "terminal-servers/server-2",
            "--reason",
            "its disk",
        ])
        .expect("maintenance");
    cluster
        .cli(&["backup", &file, "--passphrase-file", &phrase])
        .expect("a backup");
    let was = cluster_id(&cluster, 1);

    // While the cluster answers for its address, no other takes its place.
    let refused = restore(&cluster, 4, &[&file, "--passphrase-file", &phrase])
        .expect_err("the address is in use");
    assert!(
        refused.contains("10.77.0.100") && refused.contains("not ready"),
        "{refused}"
    );
    let wrong = cluster.machine(4).dir().join("wrong");
    std::fs::write(&wrong, "correct horsf").expect("another passphrase");
    let refused = restore(
        &cluster,
        4,
        &[&file, "--passphrase-file", &wrong.to_string_lossy()],
    )
    .expect_err("another passphrase");
    assert!(refused.contains("passphrase is another one"), "{refused}");

    for node in 1..=3 {
        cluster.stop_agent(node);
    }
    // One disk outlives the fire: what is on it is not heard any more.
    for node in 1..=2 {
        std::fs::remove_dir_all(cluster.machine(node).dir().join("data"))
            .expect("its disk is gone");
    }
    restore(&cluster, 1, &[&file, "--passphrase-file", &phrase]).expect("restored");
    assert_eq!(cluster_id(&cluster, 1), was);
    cluster.start_agent(1);
    cluster.join(2, 1);
    cluster.start_agent(3);
    // It stays without a leader: nobody hears it, and it says so when it is asked.
    wait::throughout("the old node to be alone", Duration::from_secs(3), || {
        let status = cluster.status_at(1)?;
        if status.names().contains(&"node-3") {
            return Err(format!("{:?}", status.names()));
        }
        match cluster.status_at(3) {
            Ok(own) if own.leader.as_ref().is_some_and(|l| !l.is_empty()) => {
                Err(format!("it follows {:?}", own.leader))
            }
            _ => Ok(()),
        }
    });
    cluster.stop_agent(3);
    std::fs::remove_dir_all(cluster.machine(3).dir().join("data")).expect("it comes back new");
    cluster.join(3, 1);
    cluster.wait_for_holder(SOON);

    let status = cluster.status().expect("a status");
    assert_eq!(
        (status.server("server-2"), status.server("server-1")),
        ("MAINT", "UP"),
        "{status:?}"
    );
    let (program, client) = (cli_program(), cluster.topology().client(1));
    client
        .run(&[&program, "--context", &context, "status"], BOUND)
        .ok()
        .expect("alice may still look");
    Session::open(client, cluster.address(), SOON)
        .and_then(|mut s| s.ping())
        .expect("clients are served");
    let events = cluster.cli(&["events"]).expect("events");
    assert!(
        events.contains("a backup was taken") && events.contains("restored from a backup"),
        "{events}"
    );
}
