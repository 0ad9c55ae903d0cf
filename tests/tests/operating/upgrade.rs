//! From one version of ha-agent to the next, node by node, under load: with a way back until the new version is
//! active, and none after that.

use std::time::Duration;

use ha_tests::client::many;
use ha_tests::cluster::{Cluster, Plan, agent_program, next_agent_program};
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched};
use ha_tests::system::System;
use ha_tests::wait;

/// Clients with a binding.
const CLIENTS: u32 = 200;
/// Building the other agent is not part of it.
const ACTIVE_WITHIN: Duration = Duration::from_secs(30);

/// Replaces the agent of a node by another program, in order, and waits until the cluster knows what it speaks.
fn replace(cluster: &mut Cluster, node: u8, program: &str, speaks: &str) {
    let described = format!("node-{node} runs ha-agent");
    let before = told(cluster, &[&described]);
    cluster.stop_agent(node);
    cluster.start_agent_of(node, program);
    cluster.wait_for_all_serving();
    wait::until(&format!("node-{node} to be described"), SOON, || {
        let now = told(cluster, &[&described]);
        match now.last() {
            Some(line) if now.len() > before.len() && line.contains(speaks) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

/// The lines of the event log that have all of these words.
fn told(cluster: &Cluster, words: &[&str]) -> Vec<String> {
    let printed = cluster.cli(&["events"]).unwrap_or_default();
    let text = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(event["text"].as_str()?.to_owned())
    };
    printed
        .lines()
        .filter_map(text)
        .filter(|line| words.iter().all(|w| line.contains(w)))
        .collect()
}

/// What `status` says of the active version.
fn upgrade(cluster: &Cluster) -> (u64, String) {
    let printed = cluster.cli(&["status"]).expect("the status");
    let status: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    let upgrade = status["upgrade"].as_str().expect("a text");
    (
        status["active_version"].as_u64().expect("a number"),
        upgrade.to_owned(),
    )
}

#[track_caller]
fn wait_for(cluster: &Cluster, words: &[&str], bound: Duration) {
    wait::until(&format!("an event with {words:?}"), bound, || {
        if told(cluster, words).is_empty() {
            Err(format!("{:?}", told(cluster, &[])))
        } else {
            Ok(())
        }
    });
}

/// What `version.json` of a node says.
fn active(cluster: &Cluster, node: u8) -> Option<u64> {
    let path = cluster.machine(node).dir().join("data/version.json");
    let text = std::fs::read_to_string(path).expect("version.json");
    let written: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    written["active"].as_u64()
}

fn log_of(cluster: &Cluster, node: u8) -> String {
    std::fs::read_to_string(cluster.machine(node).dir().join("agent.log")).expect("its log")
}

#[test]
fn three_nodes_go_to_the_next_version_one_by_one_and_not_back_once_it_is_active() {
    require_root!();
    let (old, next) = (agent_program(), next_agent_program());
    let mut run = Watched::start(Plan {
        nodes: 4,
        agent_env: vec![("HA_REHEARSE".into(), "{dir}".into())],
        ..Plan::beside_others()
    });
    let ask = |cluster: &Cluster| {
        many::ask(
            cluster.topology().client(1),
            CLIENTS,
            cluster.address(),
            SOON,
        )
    };
    let bound = ask(&run.cluster);
    let first = run.holder();
    let standby: Vec<u8> = (1..=3).filter(|n| *n != first).collect();

    assert_eq!(upgrade(&run.cluster), (1, String::new()));
    // Two nodes up, one of them leads: what the next version has is refused, and all of it can be undone.
    for node in &standby {
        replace(&mut run.cluster, *node, &next, "speaks versions 1 to 2");
    }
    let (active_version, waits_for) = upgrade(&run.cluster);
    let last = format!("2 follows when node-{first} too runs");
    assert!(
        active_version == 1 && waits_for.contains(&last),
        "{waits_for}"
    );
    run.phase("the next version leads");
    run.cluster
        .move_leader(Some(standby[0]))
        .expect("the next version leads");
    wait::until("a leader of the next version to be refused", SOON, || {
        let log = log_of(&run.cluster, standby[0]);
        let refused = "Rehearse needs version 2, and this cluster writes version 1";
        log.contains(refused).then_some(()).ok_or(log)
    });
    many::assert_nobody_moved(&bound, &ask(&run.cluster));
    // The address may go away and come back: each of these is a phase of its own to who watches.
    for node in &standby {
        run.phase(&format!("node-{node} back to the old one"));
        replace(&mut run.cluster, *node, &old, "speaks version 1");
    }
    many::assert_nobody_moved(&bound, &ask(&run.cluster));
    assert_eq!(
        (1..=3).map(|n| active(&run.cluster, n)).collect::<Vec<_>>(),
        [Some(1); 3]
    );
    assert!(told(&run.cluster, &["is active from now on"]).is_empty());

    // All of them up, the holder last.
    run.phase("all to the next version");
    let holder = run.holder();
    for node in (1..=3).filter(|n| *n != holder).chain([holder]) {
        run.phase(&format!("node-{node} to the next version"));
        replace(&mut run.cluster, node, &next, "speaks versions 1 to 2");
    }
    wait_for(
        &run.cluster,
        &["version 2 is active from now on (1 before)"],
        ACTIVE_WITHIN,
    );
    wait::until("every node to have noted it", SOON, || {
        let noted: Vec<_> = (1..=3).map(|n| active(&run.cluster, n)).collect();
        (noted == [Some(2); 3])
            .then_some(())
            .ok_or(format!("{noted:?}"))
    });

    // Its command works, and its field is there for the next leader.
    let leader = run.holder();
    let text = |n: u8| run.cluster.machine(n).dir().to_string_lossy().into_owned();
    wait_for(
        &run.cluster,
        &[&format!("{} ( before)", text(leader))],
        SOON,
    );
    let other = run.cluster.other_than(leader);
    run.phase("another leader");
    run.cluster.move_leader(Some(other)).expect("it moves");
    wait_for(
        &run.cluster,
        &[&format!("{} ({} before)", text(other), text(leader))],
        SOON,
    );

    // Who is too old now does not start, and does not join.
    run.phase("too old");
    run.cluster.stop_agent(leader);
    run.cluster.start_agent_of(leader, &old);
    wait::until("the old agent to end", SOON, || {
        run.cluster
            .agent_ended(leader)
            .then_some(())
            .ok_or("it runs".into())
    });
    let log = log_of(&run.cluster, leader);
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.contains("writes version 2") && last.contains("speaks version 1"),
        "{last}"
    );
    let refused = run.cluster.try_join(4, other).expect_err("it is too old");
    assert!(
        refused.contains("install an ha-agent there that speaks version 2"),
        "{refused}"
    );
    run.cluster.start_agent_of(leader, &next);
    run.cluster.wait_for_all_serving();
    many::assert_nobody_moved(&bound, &ask(&run.cluster));
    // One node answered at any time; how long a move takes, other tests measure.
    run.served_again();
    run.finish();
}
