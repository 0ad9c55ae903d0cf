//! Two of three are lost for good: the third goes on alone with everything that was acknowledged, and nobody beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use ha_tests::client::Session;
use ha_tests::cluster::{Cluster, Plan, cli_program};
use ha_tests::observer::Observer;
use ha_tests::process::Process;
use ha_tests::require_root;
use ha_tests::scenario::SOON;
use ha_tests::system::System;
use ha_tests::wait;

const BOUND: Duration = Duration::from_secs(30);
const NAMED: [&str; 6] = [
    "recover",
    "--alone",
    "--switched-off",
    "node-1",
    "--switched-off",
    "node-2",
];

/// What a client is bound to, and since when.
pub(crate) fn binding(cluster: &Cluster, node: u8) -> Result<(String, u64), String> {
    let client = cluster.topology().client(1).ip().to_string();
    let said = cluster
        .cli_at(node, &["whereis", &client], Duration::from_secs(3))
        .ok()?;
    let said: serde_json::Value = serde_json::from_str(&said).map_err(|e| e.to_string())?;
    let binding = &said["bindings"][0];
    let server = binding["server"].as_str().ok_or_else(|| said.to_string())?;
    let since = binding["bound_at_ms"].as_u64().ok_or("no time")?;
    Ok((server.to_owned(), since))
}

/// The client is bound to the server of node 3, server-2 is drained, alice may look; every node knows it.
pub(crate) fn something_of_everything(cluster: &Cluster) -> ((String, u64), String) {
    let cli = |words: &[&str]| {
        cluster
            .cli(words)
            .unwrap_or_else(|why| panic!("{words:?}: {why}"))
    };
    let context = cluster.topology().dir().join("alice.json");
    let context = context.to_string_lossy().into_owned();
    cli(&[
        "user", "add", "alice", "--role", "viewer", "--file", &context,
    ]);
    for server in ["server-1", "server-2"] {
        let target = format!("terminal-servers/{server}");
        cli(&["drain", &target, "--force", "--yes", "--reason", "its disk"]);
    }
    let mut session = Session::open(cluster.topology().client(1), cluster.address(), SOON)
        .expect("the client is served");
    assert_eq!(session.server, "server-3");
    session.ping().expect("an echo");
    cli(&["ready", "terminal-servers/server-1"]);
    let bound = wait::until("the binding", SOON, || {
        binding(cluster, cluster.wait_for_agreed_holder(SOON))
    });
    for node in 1..=3 {
        wait::until("every node to know the last change", SOON, || {
            let words = ["events", "--grep", "server-1 is set to ready"];
            match cluster.cli_at(node, &words, BOUND).ok()? {
                text if text.contains("set to ready") => Ok(()),
                text => Err(text),
            }
        });
    }
    (bound, context)
}

/// All plain files of a node's data but its socket and what reading changes, with their sizes.
fn looks(cluster: &Cluster, node: u8) -> BTreeMap<String, u64> {
    let entries = std::fs::read_dir(cluster.data(node)).expect("its data");
    let all = entries.map(|e| e.expect("an entry"));
    let plain = all.filter(|e| e.file_type().is_ok_and(|t| t.is_file()));
    plain
        .map(|e| {
            let size = e.metadata().map_or(0, |m| m.len());
            (e.file_name().to_string_lossy().into_owned(), size)
        })
        .collect()
}

fn refused(cluster: &Cluster, node: u8, words: &[&str]) -> String {
    let before = (looks(cluster, node), cluster.identity(node));
    let said = cluster.ha_agent(node, words);
    assert_ne!(said.code, Some(0), "{words:?}: {}", said.text());
    let after = (looks(cluster, node), cluster.identity(node));
    assert_eq!(before, after, "{words:?} changed something");
    said.stderr
}

#[test]
fn the_last_of_three_goes_on_alone_and_an_old_majority_that_returns_is_refused() {
    require_root!();
    let mut cluster = Cluster::start(Plan::beside_others());
    let (bound, context) = something_of_everything(&cluster);
    let token = cluster.token(1, &[]).expect("a token, for later");

    // What it refuses.
    let said = refused(&cluster, 3, &NAMED);
    assert!(said.contains("in use by another process"), "{said}");
    cluster.stop_agent(3);
    let said = refused(&cluster, 3, &NAMED);
    assert!(
        said.contains("is not lost") && said.contains("generation 1"),
        "{said}"
    );
    for node in [1, 2] {
        cluster.kill_machine(node);
    }
    let said = refused(&cluster, 3, &["recover"]);
    assert!(said.contains("--alone"), "{said}");
    let said = refused(&cluster, 3, &["recover", "--alone"]);
    assert!(
        said.contains("--switched-off NAME") && said.contains("node-1, node-2"),
        "{said}"
    );
    assert!(
        said.contains("after index") && said.contains(": unknown"),
        "{said}"
    );
    let said = refused(&cluster, 3, &NAMED[..4]);
    assert!(said.contains("node-2 was not named"), "{said}");
    let wrong = [&NAMED[..], &["--switched-off", "node-7"]].concat();
    let said = refused(&cluster, 3, &wrong);
    assert!(said.contains("node-7 is no other member"), "{said}");
    assert!(cluster.kept(3).is_empty());

    // It goes on, with all that was acknowledged.
    let before = cluster.identity(3);
    let done = cluster.ha_agent(3, &NAMED).ok().expect("it goes on");
    println!("{done}");
    assert!(
        done.contains("generation 2") && done.contains("after index"),
        "{done}"
    );
    let after = cluster.identity(3);
    assert_eq!(after["cluster_id"], before["cluster_id"]);
    assert_ne!(after["node_id"], before["node_id"]);
    assert_eq!(after["generation"], 2);
    let kept = cluster.kept(3);
    assert!(
        matches!(kept.as_slice(), [dir] if dir.join("log/db").is_file()),
        "{kept:?}"
    );
    cluster.start_agent(3);
    cluster.wait_for_agreed_holder(SOON);
    let observer = Observer::start(cluster.topology(), &[cluster.plan.vip()]);
    let status = cluster.status().expect("a status");
    assert_eq!(status.names(), ["node-3"]);
    assert!(status.server("server-2").starts_with("DRAIN"), "{status:?}");
    assert_eq!(binding(&cluster, 3), Ok(bound.clone()));
    let client = cluster.topology().client(1);
    let program = cli_program();
    let looks = || client.run(&[&program, "--context", &context, "status"], BOUND);
    looks().ok().expect("alice may still look");
    let mut session = Session::open(client, cluster.address(), SOON).expect("it serves");
    session.ping().expect("an echo");
    assert_eq!(session.server, "server-3");

    // Both others come back with their old data, and would be a majority.
    for node in [1, 2] {
        cluster.machine(node).power_on();
        cluster.start_agent(node);
    }
    for node in [1, 2] {
        wait::until("the old one to end by itself", SOON, || {
            match cluster.agent_ended(node) {
                true => Ok(()),
                false => Err("it runs".to_owned()),
            }
        });
        let said = cluster.agent(node).tail();
        assert!(
            said.contains("recovered as generation 2 by node-3")
                && said.contains("ha-agent rejoin"),
            "{said}"
        );
        assert!(cluster.identity(node)["outdated"].is_string());
    }
    assert_eq!(
        cluster.topology().who_has(cluster.plan.vip()),
        [3],
        "nobody beside it"
    );
    // They know it from now on, whoever answers.
    cluster.stop_agent(3);
    cluster.start_agent(1);
    wait::until("it to end again", SOON, || match cluster.agent_ended(1) {
        true => Ok(()),
        false => Err("it runs".to_owned()),
    });
    cluster.start_agent(3);
    cluster.wait_for_holder(SOON);

    // They come back: one with a token of before, one with a new one.
    cluster
        .rejoin_with(1, 3, &token)
        .expect("a token of before");
    for node in [1, 2] {
        cluster.start_server(node);
    }
    cluster.start_agent(1);
    cluster.wait_for_member(1);
    cluster.rejoin(2, 3);
    wait::until("three voters", SOON, || {
        let status = cluster.status()?;
        let all = (1..=3).all(|n| status.votes(&format!("node-{n}")));
        if all && status.nodes.len() == 3 {
            Ok(())
        } else {
            Err(format!("{:?}", status.nodes))
        }
    });
    assert_eq!(binding(&cluster, 3), Ok(bound));
    observer.finish().assert_single_holder();
    // Their votes are worth something.
    cluster.kill_machine(3);
    cluster.wait_for_other_holder(3, SOON);
}

/// Only switching them off is safe: while both sides are cut off from each other both serve. Then the old one ends.
#[test]
fn an_old_majority_that_was_cut_off_ends_when_it_is_reached_again() {
    require_root!();
    let mut cluster = Cluster::start(Plan::beside_others());
    let old = cluster.wait_for_agreed_holder(SOON);
    let alone = cluster.other_than(old);
    let named: Vec<String> = (1..=3)
        .filter(|n| *n != alone)
        .flat_map(|n| ["--switched-off".to_owned(), format!("node-{n}")])
        .collect();
    cluster.stop_agent(alone);
    cluster.topology().cut_from_peers(alone);
    let mut words = vec!["recover", "--alone", "--skip-preflight"];
    words.extend(named.iter().map(String::as_str));
    cluster
        .ha_agent(alone, &words)
        .ok()
        .expect("a lie, and nobody answers");
    cluster.start_agent(alone);
    wait::until("the recovered one to lead", SOON, || {
        match cluster.status_at(alone)?.leader {
            Some(name) if name == format!("node-{alone}") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    cluster.topology().heal();
    for node in (1..=3).filter(|n| *n != alone) {
        wait::until("the old one to end by itself", SOON, || {
            match cluster.agent_ended(node) {
                true => Ok(()),
                false => Err("it runs".to_owned()),
            }
        });
        let said = cluster.agent(node).tail();
        assert!(said.contains("recovered as generation 2"), "{said}");
    }
    assert_eq!(cluster.wait_for_holder(SOON), alone);
}

/// All three are stopped: what one of them knows founds the cluster anew on a fourth machine, bindings too.
#[test]
fn an_export_without_a_majority_is_restored_with_its_bindings() {
    require_root!();
    let mut cluster = Cluster::start(Plan {
        nodes: 4,
        ..Plan::beside_others()
    });
    let (bound, _) = something_of_everything(&cluster);
    let path = |name: &str| {
        let path = cluster.topology().dir().join(name);
        path.to_string_lossy().into_owned()
    };
    let (file, phrase) = (path("export"), path("phrase"));
    std::fs::write(&phrase, "correct horse").expect("a passphrase");
    let words = ["export", &file, "--passphrase-file", &phrase];
    let said = refused(&cluster, 3, &words);
    assert!(said.contains("in use by another process"), "{said}");
    for node in [1, 2] {
        cluster.kill_machine(node);
    }
    cluster.stop_agent(3);
    let done = cluster.ha_agent(3, &words).ok().expect("an export");
    println!("{done}");
    assert!(done.contains("with 1 bindings"), "{done}");
    let said = refused(&cluster, 3, &words);
    assert!(said.contains("is there already"), "{said}");

    // With other timers: this is the way to change them.
    let words = [
        "restore",
        &file,
        "--passphrase-file",
        &phrase,
        "--timing",
        "fast",
    ];
    cluster.ha_agent(4, &words).ok().expect("restored");
    let timers = |node| {
        let identity = cluster.identity(node);
        let promise = identity["promise_ms"].as_u64();
        (identity["timing"].as_str().map(str::to_owned), promise)
    };
    assert_eq!(timers(4), (Some("fast".to_owned()), Some(160)));
    cluster.start_agent(4);
    cluster.wait_for_holder(SOON);
    assert_eq!(binding(&cluster, 4), Ok(bound));
    let status = cluster.status().expect("a status");
    assert!(status.server("server-2").starts_with("DRAIN"), "{status:?}");
    // What was a member of before comes back under its name, its data kept.
    cluster.rejoin(3, 4);
    assert_eq!(cluster.kept(3).len(), 1);
    assert_eq!(cluster.identity(3)["timing"], "fast");
    let status = cluster.status().expect("a status");
    assert_eq!(status.names(), ["node-3", "node-4"]);
}

/// Killed at many moments: the node is what it was, or the next run ends what was begun; in the end nothing is lost.
#[test]
fn a_recovery_that_is_killed_at_any_moment_is_ended_by_the_next_run() {
    require_root!();
    let mut cluster = Cluster::start(Plan::beside_others());
    let (bound, _) = something_of_everything(&cluster);
    for node in [1, 2] {
        cluster.kill_machine(node);
    }
    cluster.stop_agent(3);
    let before = cluster.identity(3)["node_id"].clone();
    let words = [&NAMED[..], &["--skip-preflight"]].concat();
    let agent = cluster.write_agent(3);
    let log = cluster.machine(3).dir().join("recover.log");
    let (mut killed, mut after) = (0, Duration::from_millis(100));
    loop {
        let mut command = cluster
            .machine(3)
            .command(ha_tests::cluster::agent_program());
        command.args(&words).args(["--config", &agent]);
        let mut recovering = Process::start("ha-agent recover", command, &log);
        // The moment of the kill is what is tried, and no condition.
        std::thread::sleep(after);
        let ended = recovering.ended();
        recovering.kill();
        let switching = cluster.data(3).join("switch.json").exists();
        match ended {
            Some(how) => {
                assert!(how.success(), "{how}: {}", recovering.tail());
                break;
            }
            None if switching => println!("killed while contents were exchanged, after {after:?}"),
            // Before the decision all is as it was; after it the node is the new one.
            None if cluster.kept(3).is_empty() => {
                assert_eq!(cluster.identity(3)["node_id"], before)
            }
            None => break,
        }
        killed += 1;
        after += Duration::from_millis(15);
    }
    println!("{killed} times killed");
    assert!(killed > 5, "it was hardly tried: {killed}");
    assert_eq!(cluster.identity(3)["generation"], 2);
    assert_eq!(cluster.kept(3).len(), 1, "{:?}", cluster.kept(3));
    cluster.start_agent(3);
    cluster.wait_for_holder(SOON);
    assert_eq!(binding(&cluster, 3), Ok(bound));
}
