//! Nodes taken out one after the other, under load: nobody notices, and nobody else takes one out meanwhile.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use ha_tests::cluster::{Cluster, Config, Plan, cli_program};
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched};
use ha_tests::system::System;
use ha_tests::wait;

/// More than one handover was ever seen to take in a test, and less than a loss of the holder.
const MOVE_GAP: Duration = Duration::from_millis(250);

#[test]
fn three_nodes_are_restarted_in_turn_and_no_connect_fails() {
    require_root!("mkfifo");
    let mut run = Watched::start(Plan {
        config: Config::print(&[1, 2, 3]),
        ..Plan::default()
    });
    let leader = run.holder();
    let dir = run.cluster.topology().dir().to_owned();
    let (ask, done) = (dir.join("ask"), dir.join("done"));
    for fifo in [&ask, &done] {
        assert!(
            Command::new("mkfifo")
                .arg(fifo)
                .status()
                .expect("mkfifo")
                .success()
        );
    }
    // The command asks this test to restart the agent, and waits until that is done.
    let command = format!(
        "echo $HA_NODE > {} && read ok < {} && [ $ok = ok ]",
        ask.display(),
        done.display()
    );
    let socket = |n: u8| {
        format!(
            "unix:{}",
            run.cluster
                .machine(n)
                .dir()
                .join("data/control.sock")
                .display()
        )
    };
    let sockets: Vec<String> = (1..=3).map(socket).collect();
    let mut rolling = Command::new(cli_program());
    rolling.args([
        "--address",
        &sockets.join(","),
        "--output",
        "json",
        "rolling-restart",
        "--deadline",
        "5s",
        "--command",
        &command,
    ]);
    let rolling = rolling
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ha-cli");
    let (tell, asked) = mpsc::channel();
    let reader = std::thread::spawn({
        let ask = ask.clone();
        move || {
            let mut heard = 0;
            while heard < 3 {
                let mut line = String::new();
                let Ok(file) = std::fs::File::open(&ask) else {
                    return;
                };
                // A writer that is just going is no question.
                match BufReader::new(file).read_line(&mut line) {
                    Ok(0) => {}
                    Ok(_) if tell.send(line.trim().to_owned()).is_ok() => heard += 1,
                    _ => return,
                }
            }
        }
    });
    let mut order = Vec::new();
    for _ in 0..3 {
        let node = asked
            .recv_timeout(Duration::from_secs(60))
            .expect("the next node's turn");
        let number = Cluster::number(&node);
        // Nobody else takes one out: neither by a drain nor by a rolling restart of his own.
        let other = (1..=3).find(|n| *n != number).expect("another node");
        let refused = run
            .cluster
            .cli_at(other, &["drain", &format!("node-{other}")], SOON);
        assert!(
            refused.code == Some(4)
                && refused
                    .stderr
                    .contains("maintenance lock (rolling restart, now"),
            "{refused:?}"
        );
        assert_ne!(
            run.cluster.holder(),
            Some(number),
            "it does not hold while it is worked on"
        );
        run.phase(&format!("{node} is restarted"));
        run.cluster.stop_agent(number);
        run.cluster.start_agent(number);
        std::fs::OpenOptions::new()
            .write(true)
            .open(&done)
            .and_then(|mut f| f.write_all(b"ok\n"))
            .expect("the command goes on");
        order.push(node);
    }
    let ended = rolling.wait_with_output().expect("it ends");
    reader.join().expect("it reads");
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let printed: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(
        printed["nodes"].as_array().map(Vec::len),
        Some(3),
        "{printed}"
    );
    assert_eq!(
        order[2],
        format!("node-{leader}"),
        "the one that leads comes last"
    );
    // The lock is free again, and every node serves.
    run.cluster.wait_for_all_serving();
    let (first, second) = (run.cluster.other_than(leader), leader);
    run.cluster
        .cli(&["drain", &format!("node-{first}")])
        .expect("the lock was given back");
    // The first may just be handing leadership over.
    wait::until("the second to be refused", SOON, || {
        let refused = run
            .cluster
            .cli(&["drain", &format!("node-{second}")])
            .expect_err("one node at a time");
        if refused.contains(&format!("node-{first} is out already (by ")) {
            Ok(())
        } else {
            Err(refused)
        }
    });
    run.cluster
        .cli(&["ready", &format!("node-{first}")])
        .expect("ready");
    wait::until("the cluster to be whole", SOON, || {
        run.cluster.status().map(drop)
    });
    let seen = run.finish();
    let gap = seen.history.gap();
    println!(
        "longest gap {:?} over {} moves",
        gap.gap,
        seen.report.changes_of_hand(seen.vip)
    );
    assert!(
        gap.gap <= MOVE_GAP + seen.history.own_pause,
        "{:?}: {}",
        gap.gap,
        seen.history
    );
    seen.assert_no_connect_failed(2);
}
