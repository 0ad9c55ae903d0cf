//! Whatever operators ask, and however long that takes: the address stays where it is.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ha_tests::cluster::Plan;
use ha_tests::require_root;
use ha_tests::scenario::Watched;
use ha_tests::system::System;
use ha_tests::wait;

/// Broken lines: as many as are looked at one by one.
const BROKEN: usize = 4000;
/// Operators at each node, more than there are threads for them.
const OPERATORS: usize = 6;
const SPAN: Duration = Duration::from_secs(15);
/// One question; most are given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reading such a file takes seconds of a processor, and every node is asked to by more operators than the machine
/// has processors.
#[test]
fn files_that_take_long_to_read_do_not_move_the_address() {
    require_root!();
    let run = Watched::start(Plan::default());
    let holder = run.holder();
    let file = run.cluster.topology().dir().join("broken.toml");
    std::fs::write(&file, broken()).expect("a file");
    let words = ["diff", file.to_str().expect("a temporary path is text")];
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let from = Instant::now();
    std::thread::scope(|operators| {
        for node in [1, 2, 3].repeat(OPERATORS) {
            let (cluster, stop, asked) = (&run.cluster, &stop, &asked);
            operators.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    cluster.cli_at(node, &words, PATIENCE);
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let stayed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait::throughout("the address to stay", SPAN, || match run.cluster.holder() {
                Some(still) if still == holder => Ok(()),
                other => Err(format!("{other:?} has it, not node-{holder}")),
            })
        }));
        stop.store(true, Ordering::Relaxed);
        stayed.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    let asked = asked.load(Ordering::Relaxed);
    let gap = run.noticed_since(from);
    println!("{asked} questions were answered or given up; the client noticed {gap:?}");
    assert_eq!(run.holder(), holder);
    run.finish().assert_changes_of_hand(0);
}

fn broken() -> String {
    let mut text = String::from(
        "[[virtual_ip]]\nname = \"print\"\naddress = \"10.77.0.100/24\"\n\
         [[frontend]]\nname = \"f\"\nvirtual_ip = \"print\"\nbackend = \"b\"\nlisteners = [\n",
    );
    for _ in 0..BROKEN {
        let _ = writeln!(text, "0,");
    }
    text + "]\n"
}
