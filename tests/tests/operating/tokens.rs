//! A node joins with a good token and with nothing else.

use std::collections::BTreeSet;

use ha_tests::cluster::{Cluster, Config, Plan};
use ha_tests::require_root;
use ha_tests::scenario::SOON;
use ha_tests::wait;

#[test]
fn who_has_no_good_token_is_refused_each_with_a_message_of_its_own() {
    require_root!();
    let mut cluster = founded(3);
    let said = [
        refused(&cluster, 2, &[]),
        refused(&cluster, 2, &["--token", "ha1-nonsense"]),
        {
            let short = cluster.token(1, &["--ttl", "1s"]).expect("a token");
            wait_for_token_state(&cluster, "expired");
            refused(&cluster, 2, &["--token", &short])
        },
        {
            let token = revoked_token(&cluster);
            refused(&cluster, 2, &["--token", &token])
        },
        refused(
            &cluster,
            2,
            &[
                "--token",
                &cluster.token(1, &["--role", "witness"]).expect("a token"),
            ],
        ),
        {
            let token = cluster.token(1, &[]).expect("a token");
            cluster
                .join_with(2, 1, &["--token", &token])
                .expect("the first time it works");
            cluster.start_agent(2);
            cluster.wait_for_member(2);
            refused(&cluster, 3, &["--token", &token])
        },
        {
            let foreign = token_of_another_cluster(&mut cluster);
            refused(&cluster, 3, &["--token", &foreign])
        },
    ];
    let expected = [
        "joins with a token",
        "is no join token",
        "expired",
        "was revoked",
        "is for a witness",
        "was used already, by node-2",
        "another cluster",
    ];
    for (said, part) in said.iter().zip(expected) {
        assert!(said.contains(part), "{part}: {said}");
    }
    let different: BTreeSet<&String> = said.iter().collect();
    assert_eq!(different.len(), said.len());

    // Guessing is made slow, for the one that guesses only.
    let token = revoked_token(&cluster);
    wait::until("guesses to be slowed down", SOON, || {
        let said = refused(&cluster, 3, &["--token", &token]);
        if said.contains("try again in a minute") {
            Ok(())
        } else {
            Err(said)
        }
    });
    cluster.status_at(2).expect("the others are heard");
}

fn one_of(nodes: u8) -> Plan {
    Plan {
        nodes,
        first_members: 1,
        config: Config::print(&[1]),
        sample_servers: false,
        ..Plan::beside_others()
    }
}

/// A cluster of one node that leads.
fn founded(nodes: u8) -> Cluster {
    Cluster::form(one_of(nodes))
}

/// `join` that must be refused; what was said.
fn refused(cluster: &Cluster, node: u8, words: &[&str]) -> String {
    let words = [&["--skip-preflight"], words].concat();
    let said = cluster
        .join_with(node, 1, &words)
        .expect_err("the join is refused");
    assert!(
        !cluster
            .machine(node)
            .dir()
            .join("data/identity.json")
            .exists(),
        "nothing was made: {said}"
    );
    said
}

fn revoked_token(cluster: &Cluster) -> String {
    let before = tokens(cluster);
    let token = cluster.token(1, &[]).expect("a token");
    let made = tokens(cluster)
        .into_iter()
        .find(|t| !before.contains(t))
        .expect("it is listed")
        .0;
    cluster.cli(&["token", "revoke", &made]).expect("revoked");
    token
}

fn tokens(cluster: &Cluster) -> Vec<(String, String)> {
    let listed: serde_json::Value =
        serde_json::from_str(&cluster.cli(&["token", "list"]).expect("token list")).expect("JSON");
    let text = |v: &serde_json::Value| v.as_str().expect("text").to_owned();
    listed["tokens"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|t| (text(&t["id"]), text(&t["state"])))
        .collect()
}

fn wait_for_token_state(cluster: &Cluster, state: &str) {
    wait::until("the token to be over", SOON, || {
        let tokens = tokens(cluster);
        if tokens.iter().any(|(_, s)| s == state) {
            Ok(())
        } else {
            Err(format!("{tokens:?}"))
        }
    });
}

/// A cluster beside, of node-3 alone, which is gone afterwards.
fn token_of_another_cluster(cluster: &mut Cluster) -> String {
    let config = Config {
        virtual_ips: vec!["10.77.0.101/24".into()],
        ..Config::print(&[3])
    };
    let file = cluster.write_config(&config);
    let data = cluster.machine(3).dir().join("data");
    cluster.init_with(3, &file);
    let token = cluster.token(3, &[]).expect("a token of the other cluster");
    cluster.stop_agent(3);
    std::fs::remove_dir_all(data).expect("the other cluster is gone");
    token
}
