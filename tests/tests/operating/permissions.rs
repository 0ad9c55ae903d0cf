//! Who may do what: roles of operators, and members that were removed.

use std::time::{Duration, Instant};

use ha_tests::cluster::{AGENT_PORT, Cluster, Config, Plan};
use ha_tests::process::Finished;
use ha_tests::require_root;
use ha_tests::scenario::SOON;
use ha_tests::system::System;
use ha_tests::wait;

use crate::operator::{by, context};

#[test]
fn operators_may_do_what_their_role_says_and_the_log_says_who_did_it() {
    require_root!();
    let cluster = Cluster::start(Plan::beside_others());
    let client = cluster.topology().client(1);
    let [viewer, operator, admin] =
        ["viewer", "operator", "admin"].map(|role| context(&cluster, &format!("the-{role}"), role));
    let run = |who: &str, words: &[&str]| by(client, who, words);
    let denied = |done: Finished, role: &str| {
        assert!(
            done.code == Some(4) && done.stderr.contains(role),
            "{done:?}"
        )
    };
    for who in [&viewer, &operator, &admin] {
        run(who, &["status"]).ok().expect("all may look");
    }
    denied(run(&viewer, &["drain", "node-2"]), "operator");
    denied(run(&viewer, &["move-leader"]), "operator");
    denied(run(&viewer, &["token", "create"]), "admin");
    run(&operator, &["drain", "node-2"])
        .ok()
        .expect("an operator drains");
    run(&operator, &["ready", "node-2"])
        .ok()
        .expect("and ends that");
    denied(
        run(&operator, &["member", "remove", "node-2", "--yes"]),
        "admin",
    );
    denied(
        run(
            &operator,
            &[
                "apply",
                "--yes",
                &cluster.write_config(&Config::print(&[1, 2])),
            ],
        ),
        "admin",
    );
    run(&admin, &["token", "create"])
        .ok()
        .expect("an admin lets nodes in");

    let events = cluster.cli(&["events"]).expect("events");
    let from = format!("the-operator from {}", client.ip4());
    assert!(events.contains(&from), "{from} in {events}");
    assert!(
        events.contains("root on node-"),
        "who sits at a node: {events}"
    );

    cluster
        .cli(&["user", "remove", "the-operator", "--yes"])
        .expect("removed");
    let shut_out = run(&operator, &["status"]);
    assert!(
        shut_out.code == Some(4) && shut_out.stderr.contains("may not enter any more"),
        "{shut_out:?}"
    );
    run(&viewer, &["status"])
        .ok()
        .expect("the others still look");
    // Somebody without any certificate, and somebody with one of his own making.
    let bare = format!("{}:{AGENT_PORT}", cluster.machine(1).ip4());
    let made = "cd /tmp && d=$(mktemp -d) && cd $d && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out c -days 2 -subj /CN=node -addext subjectAltName=DNS:member.ha-agent.internal 2>/dev/null";
    let script = format!(
        "{made} && (sleep 1; echo Q) | openssl s_client -connect {bare} -cert c -key k -alpn h2 2>&1; rm -rf $d"
    );
    let impostor = client
        .run(&["sh", "-c", &script], Duration::from_secs(20))
        .text();
    assert!(
        impostor.contains("unknown ca") || impostor.contains("alert"),
        "{impostor}"
    );
}

#[test]
fn a_removed_member_is_not_heard_from_the_moment_of_its_removal() {
    require_root!();
    let mut cluster = Cluster::start(Plan::beside_others());
    let holder = cluster.wait_for_agreed_holder(SOON);
    let gone = cluster.other_than(holder);
    cluster
        .cli_at(gone, &["status"], SOON)
        .ok()
        .expect("it is a member");
    let stays = (1..=3)
        .find(|n| *n != gone && *n != holder)
        .expect("three nodes");
    cluster
        .cli_at(
            stays,
            &["member", "remove", &format!("node-{gone}"), "--yes"],
            SOON,
        )
        .ok()
        .expect("removed");
    let asked = Instant::now();
    let said = cluster.cli_at(gone, &["status"], SOON);
    assert!(
        said.code == Some(4) && said.stderr.contains("was removed from the cluster"),
        "{said:?}"
    );
    println!("refused {:?} after the removal", asked.elapsed());
    wait::until("its agent to say so", SOON, || {
        let log = std::fs::read_to_string(cluster.machine(gone).dir().join("agent.log"))
            .unwrap_or_default();
        if log.contains("does not hear this node") {
            Ok(())
        } else {
            Err("not yet".into())
        }
    });
    // It comes back with all that it had: certificate, log, identity.
    cluster.stop_agent(gone);
    cluster.start_agent(gone);
    wait::throughout(
        "the removed node to stay out",
        Duration::from_secs(3),
        || {
            let status = cluster.status_at(holder)?;
            if status.names().contains(&format!("node-{gone}").as_str()) {
                Err(format!("{:?}", status.names()))
            } else {
                Ok(())
            }
        },
    );
    assert_eq!(cluster.wait_for_agreed_holder(SOON), holder);
}
