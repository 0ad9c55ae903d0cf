//! Operation histories: operators drain, apply, go back and read through random members, and ask again, while nodes are
//! killed, paused, cut off and replaced. What they saw must be what one machine could have answered that does one thing
//! after the other.
//!
//! An hour with `HA_FULL=1`, or as long as `HA_HISTORY_SECONDS` says. Not in CI yet: that a planted bug is found at the end
//! is decided by a search that has no bound.

mod clients;
mod faults;
mod recorded;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clients::Site;
use ha_tests::cluster::{Cluster, Plan};
use ha_tests::guard::say;
use ha_tests::linear::model::{ConfigOp, OrderOfNode, OrderOp, Versions, Word};
use ha_tests::linear::{Call, Model, Verdict, check};
use ha_tests::require_root;
use ha_tests::sys;
use ha_tests::turn::Turn;
use recorded::Recorded;

/// Operators at work at the same time.
const OPERATORS: u64 = 6;

#[test]
fn what_operators_see_could_be_one_machine_that_never_fails() {
    require_root!();
    let Some(length) = length() else {
        return say(
            "histories: only with HA_FULL=1 or HA_HISTORY_SECONDS=N: looking for planted bugs may take for ever",
        );
    };
    let seed = u64::from(std::process::id());
    say(&format!("histories: {length:?}, seed {seed}"));
    let mut cluster = Cluster::start(Plan {
        nodes: 4,
        turn: Turn::BesideOthers,
        ..Plan::default()
    });
    let site = Site::of(&cluster);
    let ends = AtomicBool::new(false);
    let (began, wall) = (Instant::now(), sys::wall());
    let mut recorded = std::thread::scope(|scope| {
        let operators: Vec<_> = (0..OPERATORS)
            .map(|n| {
                let (site, ends) = (&site, &ends);
                scope.spawn(move || clients::work(site, began, seed * 100 + n, ends))
            })
            .collect();
        // Whatever happens to it, the operators must end.
        let faults = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            faults::make(&mut cluster, length, seed);
        }));
        ends.store(true, Ordering::Relaxed);
        let mut all = Recorded::default();
        for operator in operators {
            all.add(operator.join().expect("an operator does not panic"));
        }
        if let Err(panic) = faults {
            std::panic::resume_unwind(panic);
        }
        all
    });
    faults::heal(&mut cluster);
    let took = began.elapsed();
    for node in 1..=3 {
        clients::look_until_answered(&site, began, node, &mut recorded);
    }
    say(&recorded.figures(took));
    let down = clients::downs(&site, wall);
    let kept = recorded.bindings_that_changed(&down);
    for node in 1..=3 {
        found(
            &format!("orders of node-{node}"),
            &OrderOfNode,
            &recorded.orders[node - 1],
        );
    }
    found("configuration", &Versions { first: 1 }, &recorded.config);
    assert!(kept.is_empty(), "bindings changed: {kept:#?}");
    recorded.assert_worth_something(took);
    planted_bugs_are_found(&recorded);
}

fn length() -> Option<Duration> {
    let asked = std::env::var("HA_HISTORY_SECONDS").ok();
    let seconds = asked.and_then(|s| s.parse().ok());
    let usual = std::env::var("HA_FULL").is_ok().then_some(3600);
    seconds.or(usual).map(Duration::from_secs)
}

#[track_caller]
fn found<M: Model>(what: &str, model: &M, history: &[Call<M::Op>]) {
    let began = Instant::now();
    let verdict = check(model, history);
    let (calls, took) = (history.len(), began.elapsed());
    say(&format!("{what}: {calls} calls, decided in {took:?}"));
    if verdict != Verdict::Linearizable {
        let path = std::env::temp_dir().join("ha-history.txt");
        let mut sorted: Vec<_> = history.iter().collect();
        sorted.sort_by_key(|c| c.from);
        let lines: Vec<String> = sorted.iter().map(|c| format!("{c:?}")).collect();
        let _ = std::fs::write(&path, lines.join("\n"));
        panic!(
            "{what} is not linearizable, the history is in {}: {verdict:?}",
            path.display()
        );
    }
}

/// The recorded histories again, as they would be if a node had answered by what it knew before, or had lost an order
/// that it acknowledged: a check that finds nothing there would find nothing at all.
fn planted_bugs_are_found(recorded: &Recorded) {
    let is_found = |v: Verdict| matches!(v, Verdict::Not(_));
    let end = u64::MAX / 2;
    let (mut stale, mut lost) = (0, 0);
    for orders in &recorded.orders {
        let mut reads: Vec<_> = orders
            .iter()
            .filter_map(|c| match c.op {
                OrderOp::Read(word, number) => Some((c.from, word, number)),
                OrderOp::Set(_) => None,
            })
            .collect();
        reads.sort_unstable_by_key(|(from, ..)| *from);
        let (Some(first), Some(last)) = (reads.first(), reads.last()) else {
            continue;
        };
        // Somebody has seen a newer one and heard so before the last one asked: else the old one could still be.
        let newer =
            |c: &Call<OrderOp>| matches!(c.op, OrderOp::Read(_, number) if number > first.2);
        let heard = |c: &Call<OrderOp>| newer(c) && c.to.is_some_and(|to| to < last.0);
        if orders.iter().any(heard) {
            let mut history = orders.clone();
            let read = |c: &&mut Call<OrderOp>| {
                let is_last = matches!(c.op, OrderOp::Read(word, number) if (word, number) == (last.1, last.2));
                is_last && c.from == last.0
            };
            let altered = history.iter_mut().find(read).expect("it is there");
            altered.op = OrderOp::Read(first.1, first.2);
            assert!(is_found(check(&OrderOfNode, &history)), "a stale read");
            stale += 1;
        }
        let other = if last.1 == Word::Maint {
            Word::Drain
        } else {
            Word::Maint
        };
        let mut history = orders.clone();
        history.push(Call {
            op: OrderOp::Set(other),
            from: end,
            to: Some(end + 1),
        });
        history.push(Call {
            op: OrderOp::Read(last.1, last.2),
            from: end + 2,
            to: Some(end + 3),
        });
        assert!(is_found(check(&OrderOfNode, &history)), "a lost order");
        lost += 1;
    }
    let mut config = recorded.config.clone();
    config.push(Call {
        op: ConfigOp::Version(1),
        from: end,
        to: Some(end + 1),
    });
    assert!(
        is_found(check(&Versions { first: 1 }, &config)),
        "a stale configuration"
    );
    assert!(
        stale > 0 && lost > 0,
        "{stale} stale reads, {lost} lost orders"
    );
    say(&format!(
        "planted: {} stale reads and {lost} lost orders found",
        stale + 1
    ));
}
