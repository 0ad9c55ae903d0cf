//! Servers are drained, put into maintenance, die and return, while clients
//! come back every few milliseconds and others keep their sessions.

use std::time::{Duration, Instant};

use ha_tests::client::{GapClient, Outcome, Session, many};
use ha_tests::cluster::{Cluster, Plan};
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched};
use ha_tests::system::System;
use ha_tests::wait;

const PORT: u16 = 5022;

/// Sixty clients that nobody knows: none of them comes to that server.
#[track_caller]
fn assert_no_newcomer(run: &Watched, server: &str) {
    let met = many::ask(run.cluster.topology().client(1), 60, run.on(PORT), SOON);
    let there = Outcome::Answered(server.to_owned());
    let came = met.values().any(|m| *m == there);
    assert!(!came, "nobody new: {:?}", many::count(&met));
}

/// Until one of 120 clients that nobody knows comes to that server.
#[track_caller]
fn wait_for_newcomers(run: &Watched, server: &str) {
    let there = Outcome::Answered(server.to_owned());
    wait::until("it to get clients again", SOON, || {
        let met = many::ask(run.cluster.topology().client(1), 120, run.on(PORT), SOON);
        if met.values().any(|m| *m == there) {
            Ok(())
        } else {
            Err(format!("{:?}", many::count(&met)))
        }
    });
}

#[test]
fn drain_with_honour_keeps_sessions_and_bound_clients_and_takes_nobody_new() {
    require_root!();
    let run = Watched::start(Plan::beside_others());
    let server = the_server(&run.client);
    let mut session =
        Session::open(run.cluster.topology().client(1), run.on(5014), SOON).expect("a session");
    assert_eq!(
        session.server, server,
        "one client, one server, whatever the port"
    );

    run.cluster
        .cli(&["drain", &target(&server), "--sticky", "honour"])
        .expect("drain");
    run.cluster.wait_for_server(&server, "DRAIN");
    session.ping().expect("an open session goes on");
    let at = Instant::now();
    run.served_again();
    assert_eq!(
        keys(&run.client.history().servers_since(at)).join(" "),
        server,
        "a bound client is honoured"
    );
    assert_no_newcomer(&run, &server);

    run.cluster
        .cli(&["ready", &target(&server)])
        .expect("ready");
    run.cluster.wait_for_server(&server, "UP");
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}

#[test]
fn drain_with_move_takes_a_returning_client_elsewhere_without_a_failure() {
    require_root!();
    let run = Watched::start(Plan::beside_others());
    let server = the_server(&run.client);
    run.cluster
        .cli(&["drain", &target(&server), "--sticky", "move"])
        .expect("drain");
    run.cluster.wait_for_server(&server, "DRAIN");
    let at = Instant::now();
    run.served_again();
    let met = run.client.history().servers_since(at);
    assert!(
        !met.contains_key(&server),
        "moved at its next connection: {met:?}"
    );
    assert_eq!(met.len(), 1, "and then it stays: {met:?}");
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}

#[test]
fn drain_with_wait_ends_when_the_last_session_has_ended() {
    require_root!();
    let cluster = Cluster::start(Plan::beside_others());
    let client = cluster.topology().client(1);
    let session = Session::open(client, cluster.address_on(PORT), SOON).expect("a session");
    let server = session.server.clone();
    let node = cluster.plan.members().next().expect("a member");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let words = ["drain", &target(&server), "--wait", "--deadline", "30s"];
            (
                cluster.cli_at(node, &words, Duration::from_secs(40)),
                Instant::now(),
            )
        });
        cluster.wait_for_server(&server, "DRAIN");
        let status = cluster.status().expect("a status");
        assert!(
            status
                .servers
                .iter()
                .any(|one| one.server == server && one.sessions == 1),
            "{:?}",
            status.servers
        );
        assert!(!waiting.is_finished(), "one session is open");
        let closed = Instant::now();
        drop(session);
        let (ended, at) = waiting.join().expect("no panic");
        assert_eq!(ended.code, Some(0), "{}{}", ended.stderr, ended.text());
        assert!(at >= closed, "not before the session ended");
    });
}

#[test]
fn the_last_usable_server_is_not_drained_without_force() {
    require_root!();
    let run = Watched::start(Plan::beside_others());
    for server in ["server-1", "server-2"] {
        run.cluster
            .cli(&["drain", &target(server), "--sticky", "move", "--yes"])
            .expect("drain");
        run.cluster.wait_for_server(server, "DRAIN");
    }
    let node = run.holder();
    let refused = run
        .cluster
        .cli_at(node, &["drain", &target("server-3")], SOON);
    assert!(
        !matches!(refused.code, Some(0) | None),
        "refused: {}",
        refused.text()
    );
    assert!(
        refused.stderr.contains("--force") || refused.text().contains("--force"),
        "and says how: {}",
        refused.stderr
    );
    run.served_again();
    run.finish()
        .assert_changes_of_hand(0)
        .assert_nothing_failed();
}

#[test]
fn a_server_in_maintenance_gets_no_session_and_no_check() {
    require_root!();
    let run = Watched::start(Plan::beside_others());
    let server = the_server(&run.client);
    run.cluster
        .cli(&["maintenance", &target(&server)])
        .expect("maintenance");
    run.cluster.wait_for_server(&server, "MAINT");
    let at = Instant::now();
    run.served_again();
    assert!(!run.client.history().servers_since(at).contains_key(&server));
    assert_no_newcomer(&run, &server);

    run.cluster
        .cli(&["ready", &target(&server)])
        .expect("ready");
    run.cluster.wait_for_server(&server, "UP");
    wait_for_newcomers(&run, &server);
    run.finish().assert_changes_of_hand(0);
}

#[test]
fn a_server_that_dies_costs_its_clients_no_failed_connection_and_gets_new_ones_when_it_returns() {
    require_root!();
    let mut run = Watched::patient(Plan::default(), Duration::from_secs(20));
    let server = the_server(&run.client);
    let node = Cluster::number(&server.replace("server", "node"));
    let at = run.cluster.kill_server(node);
    let gap = run.noticed_since(at);
    // As with HAProxy a client that belongs to a server waits for it to come back, for two turn-arounds of a second,
    // and is then sent elsewhere: it never sees a refusal. Its open request may break.
    assert!(
        gap.stall >= Duration::from_millis(900) && gap.stall < Duration::from_secs(5),
        "waited {:?}",
        gap.stall
    );
    run.cluster.wait_for_server(&server, "DOWN");

    run.cluster.start_server(node);
    run.cluster.wait_for_server(&server, "UP");
    wait_for_newcomers(&run, &server);
    let seen = run.finish();
    seen.assert_changes_of_hand(0);
    let failures = seen.history.failures();
    let told = failures.get(&Outcome::Reset).copied().unwrap_or(0);
    // A new connection each 5 ms, each open for a few: on a busy machine several are in flight.
    assert!(
        told == failures.values().sum::<usize>() && told <= 8,
        "only what was in flight in the instant of death may fail: {}",
        seen.history
    );
}

#[test]
fn when_nothing_is_usable_the_client_gets_a_reset_at_once() {
    require_root!();
    let mut cluster = Cluster::start(Plan::default());
    for node in 1..=3 {
        cluster.kill_server(node);
        cluster.wait_for_server(&format!("server-{node}"), "DOWN");
    }
    let began = Instant::now();
    let client = cluster.topology().client(1);
    let refused =
        Session::open(client, cluster.address_on(PORT), SOON).map(|session| session.server);
    assert!(refused.is_err(), "nobody can have answered: {refused:?}");
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "at once, not after {:?}",
        began.elapsed()
    );
}

fn the_server(client: &GapClient) -> String {
    let servers = client.history().servers();
    assert_eq!(servers.len(), 1, "one client has one server: {servers:?}");
    servers.into_keys().next().expect("one")
}

fn keys(map: &std::collections::BTreeMap<String, usize>) -> Vec<String> {
    map.keys().cloned().collect()
}

fn target(server: &str) -> String {
    format!("terminal-servers/{server}")
}
