//! The holder's node is drained: nobody notices before the node goes.

use std::time::{Duration, Instant};

use ha_tests::client::Session;
use ha_tests::cluster::{Cluster, Plan};
use ha_tests::in_both_families;
use ha_tests::netns::Family;
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched};
use ha_tests::system::System;
use ha_tests::wait;

in_both_families!(a_drain_of_the_holder_ends_no_session_before_the_node_goes,);

const DEADLINE: Duration = Duration::from_secs(6);

/// All sessions run through the holder, those on the servers of other nodes too: a drain alone leaves the address where
/// it is. It goes with the node, when the drain has ended.
fn a_drain_of_the_holder_ends_no_session_before_the_node_goes(family: Family) {
    let run = Watched::over(Cluster::start(Plan {
        clients: 6,
        ..Plan::beside_others().in_family(family)
    }));
    let holder = run.holder();
    let (name, drained) = (format!("node-{holder}"), format!("server-{holder}"));
    let mut sessions: Vec<Session> = (1..=6)
        .map(|n| {
            let client = run.cluster.topology().client(n);
            Session::open(client, run.on(5014), SOON).expect("a session")
        })
        .collect();
    let on_drained = sessions.iter().filter(|s| s.server == drained).count();
    assert!(
        (1..6).contains(&on_drained),
        "sessions on both kinds of servers"
    );
    let (before, began) = (run.cluster.other_than(holder), Instant::now());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let words = [
                "drain",
                &name,
                "--deadline",
                "6s",
                "--then",
                "maintenance",
                "--wait",
            ];
            let ended = run.cluster.cli_at(before, &words, SOON * 2);
            (ended, run.cluster.status_at(before))
        });
        run.cluster.wait_for_server(&drained, "DRAIN");
        while began.elapsed() + Duration::from_secs(1) < DEADLINE {
            for session in &mut sessions {
                let alive = session.ping();
                alive.unwrap_or_else(|e| panic!("the session to {}: {e}", session.server));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(run.cluster.holder(), Some(holder));
        let (ended, after) = waiting.join().expect("no panic");
        assert_eq!(ended.code, Some(3), "{}{}", ended.stderr, ended.text());
        // The client that asks all the time may have one more.
        let told: serde_json::Value = serde_json::from_str(&ended.text()).expect("JSON");
        let cut = told["sessions"].as_u64().expect("a number");
        assert!(cut >= on_drained as u64, "{on_drained} kept: {told}");
        // It waited for what follows the drain, and not for the last session.
        let after = after.expect("a status");
        assert_eq!(after.server(&drained), "MAINT");
    });
    run.cluster.wait_for_other_holder(holder, SOON);
    let moved = run.cluster.cli(&["events", "--grep", "hands over"]);
    let moved = moved.expect("events");
    assert!(
        moved.contains(&format!("{name} hands over to")) && moved.contains("to maint"),
        "{moved}"
    );
    run.served_again();
    run.finish().assert_changes_of_hand(1);
}

#[test]
fn the_address_is_not_sent_to_a_node_in_maintenance_and_an_event_says_who_moved_it() {
    require_root!();
    let run = Watched::start(Plan::beside_others());
    let holder = run.holder();
    let out = run.cluster.other_than(holder);
    let name = format!("node-{out}");
    let set = |words: &[&str]| run.cluster.cli(words).expect("done");
    set(&["maintenance", &name]);
    let refused = run.cluster.cli_at(holder, &["move-leader", &name], SOON);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(
        refused
            .stderr
            .contains(&format!("{name} is in maintenance (by "))
            && refused.stderr.contains("ha-cli ready"),
        "{}",
        refused.stderr
    );
    set(&["ready", &name]);
    wait::until("it to be taken", SOON, || {
        run.cluster.move_leader(Some(out)).map(drop)
    });
    run.cluster.wait_for_other_holder(holder, SOON);
    let events = set(&["events", "--grep", "hands over"]);
    assert_eq!(events.lines().count(), 1, "one move: {events}");
    assert!(
        events.contains(&format!("node-{holder} hands over to {name}: "))
            && events.contains("asked for it"),
        "{events}"
    );
    run.served_again();
    run.finish().assert_changes_of_hand(1);
}
