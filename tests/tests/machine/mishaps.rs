//! A second agent beside the first, and wall clocks that jump.

use std::time::Duration;

use ha_tests::client::{GapClient, Outcome};
use ha_tests::cluster::{Cluster, Plan, agent_program};
use ha_tests::scenario::{SOON, Watched};
use ha_tests::system::System as _;
use ha_tests::{clock, require_root, wait};

use crate::files::copy;

const BOUND: Duration = Duration::from_secs(20);

/// A machine that is none of the cluster claims the virtual IP, again and again.
#[test]
fn another_machine_that_claims_the_address_is_an_event_and_a_warning() {
    require_root!("arping");
    let cluster = Cluster::start(Plan::beside_others());
    let vip = cluster.plan.vip().to_string();
    let client = cluster.topology().client(1);
    let mac = client.mac().map(|b| format!("{b:02x}")).join(":");
    let with_prefix = format!("{vip}/32");
    let address = |word| {
        let words = ["ip", "address", word, &with_prefix, "dev", "eth0"];
        client.run(&words, BOUND).ok().expect("ip address");
    };
    address("add");
    for _ in 0..3 {
        // Nobody needs to answer.
        client.run(&["arping", "-c", "1", "-U", "-I", "eth0", &vip], BOUND);
    }
    address("del");
    let words = format!("another machine ({mac}) claims print ({vip}); announced again");
    wait::until("the claim to be told", BOUND, || {
        let status = cluster.cli(&["status"])?;
        let events = cluster.cli(&["events", "--grep", "claim"])?;
        if status.contains(&words) && events.matches(&words).count() == 1 {
            return Ok(());
        }
        Err(format!("{status}\n{events}"))
    });
    cluster.wait_for_all_serving();
}

/// The holder lives, and somebody starts a second agent beside it, cleans up, or starts one with other data.
#[test]
fn a_second_agent_takes_nothing_from_the_first() {
    require_root!();
    let run = Watched::start(Plan::beside_others());
    let holder = run.holder();
    let machine = run.cluster.machine(holder);
    let (own, other) = (
        machine.dir().join("agent.toml"),
        machine.dir().join("other.toml"),
    );
    let text = std::fs::read_to_string(&own).expect("its file");
    let data = machine.dir().join("data");
    assert!(text.contains(&*data.to_string_lossy()), "{text}");
    std::fs::write(
        &other,
        text.replace(
            &*data.to_string_lossy(),
            &machine.dir().join("other-data").to_string_lossy(),
        ),
    )
    .expect("a file");
    std::fs::create_dir(machine.dir().join("other-data")).expect("a directory");
    copy(&data, &machine.dir().join("other-data"), &["control.sock"]);
    let pid = run.cluster.agent(holder).pid();
    for words in [
        ["run", &*own.to_string_lossy()],
        ["run", &*other.to_string_lossy()],
        ["cleanup", &*own.to_string_lossy()],
    ] {
        let refused = machine.run(&[&agent_program(), words[0], "--config", words[1]], BOUND);
        assert!(
            refused.code == Some(1)
                && refused.stderr.contains(&format!(
                    "process {pid} (ha-agent, uid 0) manages the virtual IPs"
                )),
            "{words:?}: {refused:?}"
        );
    }
    run.served_again();
    let log = std::fs::read_to_string(machine.dir().join("agent.log")).expect("its log");
    assert!(
        !log.contains("mended") && !log.contains("removed by somebody else"),
        "something was taken from it:\n{log}"
    );
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}

/// The lease knows nothing of wall clocks; certificates and stamps do.
#[test]
fn wall_clocks_that_jump_by_hours_disturb_nobody() {
    require_root!("cc");
    let directory = tempfile::tempdir().expect("directory");
    let library = clock::library(directory.path()).expect("the guard looked for cc");
    let run = Watched::start(Plan {
        agent_env: clock::environment(&library),
        ..Plan::beside_others()
    });
    let holder = run.holder();
    let other = run.cluster.other_than(holder);
    const HOUR: i64 = 3600;
    for (node, hours) in [
        (holder, 5),
        (holder, -5),
        (other, 20),
        (other, -20),
        (holder, 0),
        (other, 0),
    ] {
        clock::step(run.cluster.machine(node), hours * HOUR);
        let server = not_of(&run.client);
        // Something is written, stamped by the stepped clock, and connections are made under it.
        run.cluster
            .cli_at(node, &["drain", &server], SOON)
            .ok()
            .unwrap_or_else(|why| panic!("{hours} h on node-{node}: {why}"));
        run.cluster
            .cli_at(node, &["ready", &server], SOON)
            .ok()
            .unwrap_or_else(|why| panic!("{hours} h on node-{node}: {why}"));
        run.served_again();
        assert_eq!(run.holder(), holder);
    }
    // Set right again, what was stamped by a fast clock holds nothing back: a drain ends when it should.
    // The end of a drain may reset a session that began in its last moment, so not of the server that is watched.
    let server = not_of(&run.client);
    let drained = run.cluster.cli_at(
        holder,
        &["drain", &server, "--deadline", "2s", "--wait=20s"],
        Duration::from_secs(25),
    );
    assert!(
        drained.text().contains("\"drained\"") || drained.text().contains("\"cut\""),
        "{drained:?}"
    );
    run.cluster
        .cli_at(holder, &["ready", &server], SOON)
        .ok()
        .expect("ready");
    // It reached the agents: the log has stamps of tomorrow.
    let events = run
        .cluster
        .cli_at(holder, &["events"], SOON)
        .ok()
        .expect("events");
    let events: Vec<serde_json::Value> = events
        .lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .collect();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as u64;
    assert!(
        events.iter().any(|e| e["at_ms"]
            .as_u64()
            .is_some_and(|at| at > now + 4 * 3_600_000)),
        "no event of the future: {events:?}"
    );
    // Whoever restarts meanwhile comes back.
    let mut run = run;
    clock::step(run.cluster.machine(other), -20 * HOUR);
    run.cluster.stop_agent(other);
    run.cluster.start_agent(other);
    run.cluster.wait_for_all_serving();
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}

/// A server to which the client was not sent last.
fn not_of(client: &GapClient) -> String {
    let history = client.history();
    let last = history
        .attempts
        .iter()
        .rev()
        .find_map(|a| match &a.outcome {
            Outcome::Answered(server) => Some(server.as_str()),
            _ => None,
        });
    let other = if last == Some("server-1") { 2 } else { 1 };
    format!("terminal-servers/server-{other}")
}
