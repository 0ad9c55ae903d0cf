//! Another authority and short-lived certificates, while clients are served.

use std::collections::BTreeSet;
use std::time::Duration;

use ha_tests::cluster::Plan;
use ha_tests::require_root;
use ha_tests::scenario::Watched;
use ha_tests::system::System;
use ha_tests::wait;

use crate::operator::{by, context};

#[test]
fn authority_and_certificates_change_under_load_and_no_request_fails() {
    require_root!();
    let run = Watched::start(Plan::beside_others());
    let holder = run.holder();
    let context = context(&run.cluster, "alice", "viewer");
    let client = run.cluster.topology().client(1);
    let fingerprints = || -> BTreeSet<String> {
        let shown: serde_json::Value =
            serde_json::from_str(&run.cluster.cli(&["ca", "show"]).expect("ca show"))
                .expect("JSON");
        shown["authorities"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|a| a["fingerprint"].as_str().expect("text").to_owned())
            .collect()
    };
    let first = fingerprints();
    let rotated = run
        .cluster
        .cli_at(holder, &["ca", "rotate", "--yes"], Duration::from_secs(60));
    rotated.ok().expect("rotated");
    // The context of before still works, and is another one afterwards.
    let before = std::fs::read(&context).expect("the context");
    by(client, &context, &["status"])
        .ok()
        .expect("both are believed in between");
    assert_ne!(
        std::fs::read(&context).expect("the context"),
        before,
        "it was renewed by being used"
    );
    run.cluster
        .cli(&["ca", "retire", "--yes"])
        .expect("retired");
    by(client, &context, &["status"])
        .ok()
        .expect("with the new one");
    let second = fingerprints();
    assert!(
        first.len() == 1 && second.len() == 1 && first != second,
        "{first:?} {second:?}"
    );

    // Certificates that live for ten seconds, for twenty.
    let short = run
        .cluster
        .write_config(&run.cluster.plan.config)
        .replace("cluster.toml", "short.toml");
    let text = run.cluster.plan.config.to_toml().replacen(
        "[cluster]\n",
        "[cluster]\ncertificate_lifetime = \"10s\"\n",
        1,
    );
    assert!(text.contains("certificate_lifetime"));
    std::fs::write(&short, text).expect("short.toml");
    run.cluster
        .cli(&["apply", "--yes", &short])
        .expect("applied");
    // The next renewals are of ten seconds; this one is forced by another change of authority.
    run.cluster
        .cli_at(holder, &["ca", "rotate", "--yes"], Duration::from_secs(60))
        .ok()
        .expect("rotated again");
    let renewals = |n: u8| {
        std::fs::read_to_string(run.cluster.machine(n).dir().join("agent.log"))
            .unwrap_or_default()
            .matches("has a new certificate")
            .count()
    };
    wait::until(
        "each node to renew its certificate again and again",
        Duration::from_secs(60),
        || {
            let counts: Vec<usize> = (1..=3).map(renewals).collect();
            if counts.iter().all(|c| *c >= 5) {
                Ok(())
            } else {
                Err(format!("{counts:?}"))
            }
        },
    );
    run.cluster.wait_for_all_serving();
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}
