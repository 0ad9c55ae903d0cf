//! Who may enter: tokens, certificates, roles, a change of authority, and what is seen of it on the wire.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ha_tests::capture::{Capture, not_tls};
use ha_tests::cluster::{AGENT_PORT, Cluster, Config, Plan, agent_program, cli_program};
use ha_tests::netns::Machine;
use ha_tests::process::Finished;
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched};
use ha_tests::servers::PRINT_PORTS;
use ha_tests::system::System;
use ha_tests::wait;

const README: &str = include_str!("../../../README.md");

fn one_of(nodes: u8) -> Plan {
    Plan {
        nodes,
        first_members: 1,
        config: Config::print(&[1]),
        sample_servers: false,
        ..Plan::default()
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

/// The README's commands, each on the machine that it names.
#[test]
fn from_nothing_to_three_secured_nodes_in_the_readmes_commands() {
    require_root!();
    let mut cluster = Cluster::machines_only(Plan {
        sample_servers: false,
        ..Plan::default()
    });
    let block = README
        .split("```")
        .find(|b| b.contains("node-1$ ha-agent init"))
        .expect("the README has the commands");
    let commands: Vec<&str> = block.lines().filter(|l| l.contains("$ ")).collect();
    assert!(commands.len() <= 12 && commands.len() > 5, "{commands:?}");
    let mut token = String::new();
    for line in commands {
        let (node, command) = line.split_once("$ ").expect("node-N$ command");
        let number = Cluster::number(node);
        let (agent, config) = (
            cluster.write_agent(number),
            cluster.write_config(&cluster.plan.config),
        );
        if command.starts_with("ha-agent run") {
            assert!(command.trim_end().ends_with('&'), "{command}");
            cluster.start_agent(number);
            continue;
        }
        let words: Vec<String> = command
            .split_whitespace()
            .map(|word| match word {
                "ha-agent" => agent_program(),
                "ha-cli" => cli_program(),
                "agent.toml" => agent.clone(),
                "cluster.toml" => config.clone(),
                "TOKEN" => token.clone(),
                "10.0.0.1:7400" => format!("{}:{AGENT_PORT}", cluster.machine(1).ip4()),
                other => other.to_owned(),
            })
            .collect();
        let socket = format!(
            "HA_ADDRESS=unix:{}",
            cluster
                .machine(number)
                .dir()
                .join("data/control.sock")
                .display()
        );
        let words: Vec<&str> = ["env", &socket]
            .into_iter()
            .chain(words.iter().map(String::as_str))
            .collect();
        let printed = cluster
            .machine(number)
            .run(&words, Duration::from_secs(30))
            .ok()
            .unwrap_or_else(|why| panic!("{line}: {why}"));
        if command.starts_with("ha-cli token create") {
            token = printed.trim().to_owned();
        }
    }
    cluster.wait_for_member(2);
    cluster.wait_for_member(3);
    cluster.wait_for_holder(SOON);
}

/// Everything on the wire of every node, from before its `init` or `join`: TLS between agents, clients' traffic, nothing else.
#[test]
fn nothing_but_tls_leaves_a_node() {
    require_root!();
    let mut cluster = Cluster::machines_only(Plan::default());
    let captures: Vec<Capture> = (1..=3)
        .map(|n| Capture::start(cluster.machine(n)))
        .collect();
    for n in 1..=3 {
        cluster.start_server(n);
    }
    cluster.init(1);
    cluster.join(2, 1);
    cluster.join(3, 1);
    cluster.wait_for_all_serving();
    let context = context(&cluster, "alice", "operator");
    let client = cluster.topology().client(1);
    by(client, &context, &["status"])
        .ok()
        .expect("status over the network");
    cluster
        .cli(&[
            "drain",
            "node-3",
            "--reason",
            "a-reason-that-must-not-be-read",
        ])
        .expect("drain");
    cluster.cli(&["ready", "node-3"]).expect("ready");
    let holder = cluster.wait_for_agreed_holder(SOON);
    cluster.kill_process(holder);
    cluster.wait_for_other_holder(holder, SOON);

    let secrets: Vec<Vec<u8>> = [
        "node-1",
        "node-2",
        "node-3",
        "alice",
        "a-reason-that-must-not-be-read",
        "server-1",
        "print",
        "PRI * HTTP/2.0",
        "ha.control",
        "ha.consensus",
        "ha1-",
    ]
    .iter()
    .map(|s| s.as_bytes().to_vec())
    .collect();
    let mut streams = 0;
    for capture in captures {
        let captured = capture.finish();
        assert!(captured.frames > 100, "{}", captured.frames);
        assert!(
            captured.udp.keys().all(|(_, to)| to.ip().is_multicast()),
            "no datagram of ours: {:?}",
            captured.udp
        );
        for ((from, to), bytes) in &captured.tcp {
            let agents = [from.port(), to.port()].contains(&AGENT_PORT);
            let service = [from.port(), to.port()]
                .iter()
                .any(|p| PRINT_PORTS.contains(p));
            assert!(
                agents || service,
                "who speaks here? {from} > {to}: {:?}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(64)])
            );
            if agents {
                streams += 1;
                assert_eq!(not_tls(bytes), None, "{from} > {to}");
                for secret in &secrets {
                    assert!(
                        !bytes.windows(secret.len()).any(|w| w == secret),
                        "{from} > {to} says {:?}",
                        String::from_utf8_lossy(secret)
                    );
                }
            }
        }
    }
    assert!(
        streams >= 12,
        "joins, peers and an operator were captured: {streams}"
    );
}

/// A context file for an operator, made on a node.
fn context(cluster: &Cluster, name: &str, role: &str) -> String {
    let file = cluster
        .topology()
        .dir()
        .join(format!("{name}.json"))
        .to_string_lossy()
        .into_owned();
    cluster
        .cli(&["user", "add", name, "--role", role, "--file", &file])
        .unwrap_or_else(|why| panic!("user add: {why}"));
    file
}

/// `ha-cli` as that operator, over the network.
fn by(from: &Machine, context: &str, words: &[&str]) -> Finished {
    let program = cli_program();
    from.run(
        &[
            &[program.as_str(), "--context", context, "--output", "json"],
            words,
        ]
        .concat(),
        Duration::from_secs(20),
    )
}

#[test]
fn operators_may_do_what_their_role_says_and_the_log_says_who_did_it() {
    require_root!();
    let cluster = Cluster::start(Plan::default());
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
    denied(run(&operator, &["member", "remove", "node-2"]), "admin");
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
        .cli(&["user", "remove", "the-operator"])
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
    let mut cluster = Cluster::start(Plan::default());
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
        .cli_at(stays, &["member", "remove", &format!("node-{gone}")], SOON)
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

#[test]
fn authority_and_certificates_change_under_load_and_no_request_fails() {
    require_root!();
    let run = Watched::start(Plan::default());
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
        .cli_at(holder, &["ca", "rotate"], Duration::from_secs(60));
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
    run.cluster.cli(&["ca", "retire"]).expect("retired");
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
        .cli_at(holder, &["ca", "rotate"], Duration::from_secs(60))
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
