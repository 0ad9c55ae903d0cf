//! What operators hear of a node that hears no majority, and of frontends behind which nobody serves.

use std::time::Duration;

use ha_tests::cluster::{CUT_OFF, Cluster, Plan};
use ha_tests::process::Finished;
use ha_tests::require_root;
use ha_tests::scenario::SOON;
use ha_tests::system::System;
use ha_tests::wait;

const WORDS: &str = "a majority of the 3 voters must be running and reach each other";

#[test]
fn a_node_that_is_cut_off_says_so_whatever_it_is_asked() {
    require_root!();
    let cluster = Cluster::start(Plan::beside_others());
    let holder = cluster.wait_for_agreed_holder(SOON);
    let lonely = cluster.other_than(holder);
    cluster.topology().cut_from_peers(lonely);
    says_so(&cluster, lonely, "hears no leader");
    // The others go on, and say so.
    let other = (1..=3).find(|n| ![lonely, holder].contains(n));
    for node in [holder, other.expect("a third")] {
        let said = cluster.cli_at(node, &["status"], SOON);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
    }
    // Without any majority he who led says so as well.
    cluster.topology().cut_from_peers(holder);
    says_so(&cluster, holder, "");
    cluster.topology().heal();
    wait::until("the cut to be forgotten", SOON, || {
        let said = cluster.cli_at(lonely, &["status"], SOON);
        match said.code {
            Some(0) => Ok(()),
            _ => Err(said.text()),
        }
    });
}

fn says_so(cluster: &Cluster, node: u8, what: &str) {
    let ask = |words: &[&str]| cluster.cli_at(node, words, SOON);
    wait::until("it to notice", SOON, || {
        let said = ask(&["status"]);
        let lasts = ask(&["drain", "node-1"]);
        match (said.code, lasts.code) {
            (Some(CUT_OFF), Some(CUT_OFF)) if said.text().contains(what) => Ok(()),
            _ => Err(format!("{}{}", said.text(), lasts.stderr)),
        }
    });
    let said = ask(&["status"]);
    let status: serde_json::Value = serde_json::from_str(&said.text()).expect("JSON");
    let why = status["cut_off"].as_str().expect("words");
    assert!(why.contains(WORDS), "{why}");
    assert!(status["cut_off_since_ms"].as_u64().is_some_and(|at| at > 0));
    for words in [
        &["drain", "node-1"][..],
        &["ready", "node-1"],
        &["move-leader"],
        &["sessions"],
        &["token", "create", "--timeout", "1s"],
        &["config", "show"],
    ] {
        let said: Finished = cluster.cli_at(node, words, Duration::from_secs(40));
        assert_eq!(said.code, Some(CUT_OFF), "{words:?}: {}", said.stderr);
        assert!(
            said.stderr.contains("there is no majority") && said.stderr.contains(WORDS),
            "{words:?}: {}",
            said.stderr
        );
        assert!(
            !said.stderr.contains("is moving") && !said.stderr.contains("is ha-agent running"),
            "{words:?}: {}",
            said.stderr
        );
    }
    let said = ask(&["explain", "vip"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.text().contains(WORDS), "{}", said.text());
}

#[test]
fn a_frontend_without_a_server_is_not_open() {
    require_root!();
    let mut cluster = Cluster::start(Plan::beside_others());
    let node = cluster.wait_for_agreed_holder(SOON);
    let check = |cluster: &Cluster| cluster.cli_at(node, &["status", "--check"], SOON);
    let said = check(&cluster);
    assert_eq!(said.code, Some(0), "{}", said.text());
    let seen = |cluster: &Cluster, code: i32, words: &str| {
        wait::until(words, SOON, || {
            let said = check(cluster);
            if said.code == Some(code) && said.text().contains(words) {
                Ok(())
            } else {
                Err(format!("{:?} {}", said.code, said.text()))
            }
        });
    };
    cluster.kill_server(1);
    seen(&cluster, 1, "server-1 is DOWN");
    cluster.kill_server(2);
    cluster.kill_server(3);
    seen(&cluster, 2, "NO SERVER");
    let status = cluster.cli_at(node, &["status"], SOON);
    assert!(
        status.text().contains("no server can serve"),
        "{}",
        status.text()
    );
}
