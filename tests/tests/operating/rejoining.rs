//! A node whose log was deleted comes back under its name, and clients notice nothing.

use std::time::{Duration, Instant};

use ha_tests::cluster::{Cluster, Plan};
use ha_tests::process::tail;
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched, assert_gap};
use ha_tests::system::System;
use ha_tests::wait;

const UNNOTICED: Duration = Duration::from_millis(100);

#[test]
fn a_node_that_lost_its_log_comes_back_under_its_name_and_nobody_notices() {
    require_root!();
    let mut run = Watched::start(Plan::default());
    let holder = run.holder();
    let node = run.cluster.other_than(holder);
    let name = format!("node-{node}");
    let at = Instant::now();
    let token = run.cluster.token(holder, &[]).expect("a token");
    let refused = run
        .cluster
        .rejoin_with(node, holder, &token)
        .expect_err("its agent runs");
    assert!(refused.contains("in use by another process"), "{refused}");
    run.cluster
        .cli(&["drain", &name, "--reason", "its disk"])
        .expect("a drain");
    let before = run.cluster.identity(node);
    run.cluster.stop_agent(node);
    std::fs::remove_dir_all(run.cluster.data(node).join("log")).expect("its log is deleted");
    std::fs::remove_file(run.cluster.data(node).join("mark")).expect("and its mark");
    run.cluster.start_agent(node);
    wait::until("it to refuse", SOON, || {
        match run.cluster.agent_ended(node) {
            true => Ok(()),
            false => Err("it runs".to_owned()),
        }
    });
    let said = tail(&run.cluster.agent(node).log, 20);
    assert!(
        said.contains("the log of this node is gone") && said.contains("ha-agent rejoin"),
        "{said}"
    );

    // Another machine under that name does not take the place of one that answers.
    let other = (1..=3)
        .find(|n| *n != holder && *n != node)
        .expect("three nodes");
    let path = run.cluster.write_agent(node);
    let text = std::fs::read_to_string(&path).expect("agent.toml");
    let taken = text.replace(
        &format!("name = \"{name}\""),
        &format!("name = \"node-{other}\""),
    );
    std::fs::write(&path, taken).expect("agent.toml");
    let member = format!("{}:7400", run.cluster.machine(holder).ip());
    let program = ha_tests::cluster::agent_program();
    let words = [
        &program, "rejoin", &member, "--token", &token, "--config", &path,
    ];
    let refused = run
        .cluster
        .machine(node)
        .run(&words, Duration::from_secs(60))
        .ok()
        .expect_err("that one answers");
    assert!(
        refused.contains(&format!("node-{other} answers")),
        "{refused}"
    );

    run.cluster
        .rejoin_with(node, holder, &token)
        .expect("rejoin");
    run.cluster.start_agent(node);
    run.cluster.wait_for_member(node);
    let after = run.cluster.identity(node);
    assert_eq!(after["cluster_id"], before["cluster_id"]);
    assert_ne!(after["node_id"], before["node_id"]);
    assert_eq!(run.cluster.kept(node).len(), 1);
    let status = run.cluster.status().expect("a status");
    assert_eq!(status.names(), ["node-1", "node-2", "node-3"]);
    let now = status.nodes.iter().find(|n| n.name == name);
    assert_eq!(
        now.map(|n| n.id.as_str()),
        after["node_id"].as_str(),
        "{status:?}"
    );
    assert_eq!(
        status.server(&format!("server-{node}")),
        "DRAIN",
        "it is wanted as before: {status:?}"
    );
    let gap = run.noticed_since(at);
    assert_gap(&gap, UNNOTICED, &run.client.history());
    assert_eq!(run.holder(), holder);
    run.cluster.cli(&["ready", &name]).expect("ready");
    run.phase("its vote is worth something");
    let at = run.cluster.kill_machine(other);
    run.noticed_since(at);
    run.finish().assert_changes_of_hand(0);
}

/// Its disk is another one: nothing is there but the file that says what it is called.
#[test]
fn a_node_with_an_empty_disk_comes_back_under_its_name() {
    require_root!();
    let mut cluster = Cluster::start(Plan::beside_others());
    let holder = cluster.wait_for_agreed_holder(SOON);
    let node = cluster.other_than(holder);
    cluster.kill_machine(node);
    std::fs::remove_dir_all(cluster.data(node)).expect("its disk is emptied");
    cluster.machine(node).power_on();
    cluster.start_server(node);
    let refused = cluster
        .try_join(node, holder)
        .expect_err("the name is taken");
    assert!(refused.contains("ha-agent rejoin"), "{refused}");
    cluster.rejoin(node, holder);
    assert!(cluster.kept(node).is_empty(), "there was nothing to keep");
    let status = cluster.status().expect("a status");
    assert_eq!(status.names(), ["node-1", "node-2", "node-3"]);
    cluster.wait_for_all_serving();
}
