//! What is in the way of an agent is told before anything is made, with a remedy; a machine that is ready is told so.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ha_tests::cluster::{AGENT_PORT, Agent, Cluster, Config, Plan, agent_program};
use ha_tests::netns::{Machine, Topology};
use ha_tests::process::Finished;
use ha_tests::turn::Turn;
use ha_tests::{require_root, wait};
use serde_json::Value;

const BOUND: Duration = Duration::from_secs(20);

/// A machine with its two files, and nothing made yet.
struct Bare {
    topology: Topology,
    agent: String,
    cluster: String,
    vip: String,
}

impl Bare {
    fn new() -> Bare {
        let (plan, topology) = (
            Plan {
                config: Config::print(&[1]),
                ..Plan::beside_others()
            },
            Topology::new(1, 1, Turn::BesideOthers),
        );
        let (agent, cluster) = (
            topology.node(1).dir().join("agent.toml"),
            topology.dir().join("cluster.toml"),
        );
        std::fs::write(&agent, Agent::of(topology.node(1), &plan).to_toml()).expect("agent.toml");
        std::fs::write(&cluster, plan.config.to_toml()).expect("cluster.toml");
        Bare {
            vip: plan.vip().to_string(),
            agent: text(&agent),
            cluster: text(&cluster),
            topology,
        }
    }

    fn init(&self) -> Finished {
        ha_agent(
            self.topology.node(1),
            &["init", "--config", &self.agent, "--cluster", &self.cluster],
        )
    }

    fn preflight(&self) -> Findings {
        Findings::of(&ha_agent(
            self.topology.node(1),
            &[
                "preflight",
                "--config",
                &self.agent,
                "--cluster",
                &self.cluster,
                "--output",
                "json",
            ],
        ))
    }
}

/// What `preflight --output json` said.
struct Findings {
    all: Value,
    code: Option<i32>,
}

impl Findings {
    fn of(finished: &Finished) -> Findings {
        let all = serde_json::from_slice(&finished.stdout)
            .unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        Findings {
            all,
            code: finished.code,
        }
    }

    /// Verdict and words of a check.
    fn of_check(&self, check: &str) -> (&str, &str) {
        let findings = self.all["findings"].as_array().expect("findings");
        let one = findings
            .iter()
            .find(|f| f["check"] == check)
            .unwrap_or_else(|| panic!("{check} was not looked at: {findings:?}"));
        (
            one["verdict"].as_str().expect("a verdict"),
            one["found"].as_str().expect("words"),
        )
    }
}

fn ha_agent(machine: &Machine, words: &[&str]) -> Finished {
    let program = agent_program();
    let words: Vec<&str> = std::iter::once(program.as_str())
        .chain(words.iter().copied())
        .collect();
    machine.run(&words, BOUND)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn a_machine_that_is_ready_is_told_so() {
    require_root!();
    let bare = Bare::new();
    let findings = bare.preflight();
    assert_eq!(
        (findings.code, &findings.all["failed"]),
        (Some(0), &Value::from(0)),
        "{}",
        findings.all
    );
    for check in [
        "kernel",
        "privileges",
        "listen",
        "proxy port",
        "interface",
        "nftables",
        "addresses",
    ] {
        assert_eq!(
            findings.of_check(check).0,
            "ok",
            "{check}: {}",
            findings.all
        );
    }
    // It leaves nothing behind: no tables, no data.
    let tables = bare.topology.node(1).run(&["nft", "list", "tables"], BOUND);
    assert!(tables.stdout.is_empty(), "{tables:?}");
    assert!(!Path::new(&bare.agent).with_file_name("data").exists());
}

#[test]
fn an_address_that_another_machine_has_stops_init_before_anything_is_made() {
    require_root!();
    let bare = Bare::new();
    let client = bare.topology.client(1);
    let with_prefix = format!("{}/32", bare.vip);
    client
        .run(
            &["ip", "address", "add", &with_prefix, "dev", "eth0"],
            BOUND,
        )
        .ok()
        .expect("the address on the client");
    let refused = bare.init();
    let mac: Vec<String> = client.mac().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains(&format!(
            "{} is answered for by {}",
            bare.vip,
            mac.join(":")
        )),
        "{refused:?}"
    );

    client
        .run(
            &["ip", "address", "del", &with_prefix, "dev", "eth0"],
            BOUND,
        )
        .ok()
        .expect("the address away again");
    bare.init()
        .ok()
        .unwrap_or_else(|why| panic!("a refused init left something behind: {why}"));
}

#[test]
fn an_address_of_this_machine_stops_init_with_words() {
    require_root!();
    let bare = Bare::new();
    let node = bare.topology.node(1);
    let with_prefix = format!("{}/24", bare.vip);
    let address = |word| {
        let words = ["ip", "address", word, &with_prefix, "dev", "eth0"];
        node.run(&words, BOUND).ok().expect("ip address");
    };
    // As keepalived leaves it behind.
    address("add");
    let findings = bare.preflight();
    assert_eq!(findings.of_check("addresses").0, "failed");
    let refused = bare.init();
    let words = format!("{} is a static address of this machine", bare.vip);
    let remedy = format!("ip addr del {with_prefix} dev eth0");
    assert!(
        refused.code == Some(1)
            && refused.stderr.contains(&words)
            && refused.stderr.contains(&remedy),
        "{refused:?}"
    );
    address("del");

    let good = std::fs::read_to_string(&bare.cluster).expect("cluster.toml");
    let own = node.ip4().to_string();
    std::fs::write(&bare.cluster, good.replace(&bare.vip, &own)).expect("cluster.toml");
    let files = ["--config", &bare.agent, "--cluster", &bare.cluster];
    for command in [&["check"][..], &["init"], &["init", "--skip-preflight"]] {
        let refused = ha_agent(node, &[command, &files].concat());
        assert!(
            !refused.stderr.is_empty()
                && refused.code != Some(0)
                && refused
                    .stderr
                    .contains(&format!("{own} is node-1's own address")),
            "{command:?}: {refused:?}"
        );
    }
    assert!(!Path::new(&bare.agent).with_file_name("data").exists());
}

#[test]
fn a_firewall_that_drops_the_clients_is_told_with_what_to_add() {
    require_root!();
    let bare = Bare::new();
    assert_eq!(bare.preflight().of_check("firewall").0, "ok");
    let script = "table inet mine { chain in { type filter hook input priority 0; policy drop; tcp dport { 22, 7400, 5022 } accept; }; }";
    let closed = bare.topology.node(1).run(&["nft", script], BOUND);
    closed.ok().expect("a firewall");
    let findings = bare.preflight();
    let (verdict, found) = findings.of_check("firewall");
    assert_eq!(verdict, "warning");
    for ports in ["5012", "5014-5019", "50808-50809"] {
        assert!(found.contains(ports), "{found}");
    }
    assert!(!found.contains("5022"), "that one is open: {found}");
}

#[test]
fn what_is_missing_is_named() {
    require_root!("setpriv");
    let bare = Bare::new();
    let node = bare.topology.node(1);
    node.unplug();
    let down = bare.preflight();
    assert_eq!(
        down.of_check("interface"),
        ("warning", "eth0 has no carrier")
    );
    node.plug();
    // Without privileges, as a service that lost them.
    let program = agent_program();
    let lost = [
        "setpriv",
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
    ];
    let words: Vec<&str> = lost
        .into_iter()
        .chain([
            program.as_str(),
            "init",
            "--config",
            &bare.agent,
            "--cluster",
            &bare.cluster,
        ])
        .collect();
    let refused = node.run(&words, BOUND);
    assert!(
        refused.code == Some(1) && refused.stderr.contains("CAP_NET_ADMIN missing"),
        "{refused:?}"
    );
}

#[test]
fn a_member_that_cannot_reach_back_stops_join_before_anything_is_made() {
    require_root!();
    let mut cluster = Cluster::start(Plan {
        nodes: 2,
        first_members: 1,
        config: Config::print(&[1]),
        ..Plan::beside_others()
    });
    block(cluster.machine(2));
    let refused = cluster.try_join(2, 1).expect_err("nobody reaches node-2");
    assert!(refused.contains("does not reach"), "{refused}");
    let member = SocketAddr::new(cluster.machine(1).ip4(), AGENT_PORT).to_string();
    let agent = text(&cluster.machine(2).dir().join("agent.toml"));
    let look = |cluster: &Cluster| {
        Findings::of(&ha_agent(
            cluster.machine(2),
            &[
                "preflight",
                "--config",
                &agent,
                "--member",
                &member,
                "--output",
                "json",
            ],
        ))
    };
    let looked = look(&cluster);
    assert_eq!(
        (
            looked.code,
            looked.of_check("way back").0,
            looked.of_check("member").0,
            looked.of_check("version").0
        ),
        (Some(1), "failed", "ok", "ok"),
        "{}",
        looked.all
    );

    cluster
        .machine(2)
        .run(&["nft", "delete", "table", "inet", "block"], BOUND)
        .ok()
        .expect("the way is free");
    cluster.join(2, 1);
    let again = look(&cluster);
    assert_eq!(
        (again.code, again.of_check("way back").0),
        (Some(0), "ok"),
        "beside the running agent: {}",
        again.all
    );

    // What has come in between since is told after a start.
    block(cluster.machine(2));
    cluster.stop_agent(2);
    cluster.start_agent(2);
    wait::until("its log to say so", BOUND, || {
        let log =
            std::fs::read_to_string(cluster.machine(2).dir().join("agent.log")).expect("its log");
        if log
            .lines()
            .any(|l| l.contains("preflight") && l.contains("does not reach 10.77.0.2:7400"))
        {
            Ok(())
        } else {
            Err(log)
        }
    });
}

/// Nobody reaches the agent of a machine; it reaches others.
fn block(machine: &Machine) {
    let script = format!(
        "table inet block {{ chain in {{ type filter hook input priority 0; tcp dport {AGENT_PORT} tcp flags syn / syn,ack drop; }}; }}"
    );
    machine
        .run(&["nft", &script], BOUND)
        .ok()
        .expect("a rule that blocks");
}
