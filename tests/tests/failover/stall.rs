//! A whole machine stands still for two seconds, as while a hypervisor takes a snapshot of it: the agent, and the server
//! beside it.

use std::time::{Duration, Instant};

use ha_tests::cluster::Plan;
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched};
use ha_tests::wait;

const STALL: Duration = Duration::from_secs(2);

/// First the holder, then the others, each when the one before is counted. Only the stall of who holds at that moment
/// moves the address, once, and it does not come back by itself.
#[test]
fn a_stall_moves_the_address_once_at_most_and_is_counted() {
    require_root!();
    let run = Watched::start(Plan::default());
    let first = run.holder();
    let mut moves = 0;
    for node in [first].into_iter().chain((1..=3).filter(|n| *n != first)) {
        let before = run.holder();
        // Who held earlier may again: but who stalls must not, in all of this phase.
        run.phase(&format!("node-{node} stalls"));
        let at = run.cluster.machine(node).stall(STALL);
        counted(&run, node);
        run.cluster.wait_for_all_serving();
        run.served_again();
        let (after, gap) = (run.holder(), run.noticed_since(at));
        println!(
            "node-{node} stalled while node-{before} held, now node-{after} does: the client noticed {gap:?}"
        );
        assert_eq!(
            after != before,
            node == before,
            "who stalls loses it, and nobody else"
        );
        moves += usize::from(after != before);
    }
    wait::until("an event of each", SOON, || {
        let events = run.cluster.cli(&["events", "--grep", "stalled for"])?;
        let said = |node: u8| events.matches(&format!("node-{node} stalled for ")).count();
        match (1..=3).all(|node| said(node) == 1) {
            true => Ok(()),
            false => Err(events),
        }
    });
    run.finish().assert_changes_of_hand(moves);
}

/// The leader's status says it, and nothing is said of who did not stall.
fn counted(run: &Watched, node: u8) {
    let name = format!("node-{node}");
    wait::until("the stall to be counted", SOON, || {
        let status = run.cluster.status()?;
        let seen = status.nodes.iter().find(|n| n.name == name);
        match seen {
            Some(n) if n.stalls == 1 && (1900..3000).contains(&n.stalled_ms) => Ok(()),
            _ => Err(format!("{:?}", status.nodes)),
        }
    });
}

/// A hypervisor that takes snapshots of all machines in the same moment.
#[test]
fn a_stall_of_all_machines_at_once_ends_with_one_holder() {
    require_root!();
    let run = Watched::start(Plan::default());
    let from = Instant::now();
    std::thread::scope(|all| {
        for node in 1..=3 {
            let machine = run.cluster.machine(node);
            all.spawn(move || machine.stall(STALL));
        }
    });
    run.cluster.wait_for_all_serving();
    run.served_again();
    let (holder, gap) = (run.holder(), run.noticed_since(from));
    println!("after a stall of all, node-{holder} holds: the client noticed {gap:?}");
    run.finish().assert_changes_of_hand_within(0..=1);
}
