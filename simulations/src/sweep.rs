//! Many seeds, several at once, with progress, a summary of what was exercised, and a way to replay what failed.

use crate::cluster::counts::Counts;
use crate::cluster::plan::{KINDS, Theme};
use crate::cluster::planted::{Bug, Planted};
use crate::cluster::{Outcome, Run, run};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A planted bug must be found within so many seeds.
const PLANTED_WITHIN: u64 = 200;
/// Fewer seeds than this are no sweep whose coverage could be judged.
const COVERAGE_FROM: u64 = 100;
/// What must happen in a sweep besides every fault.
const MUST_HAPPEN: [&str; 17] = [
    "elections",
    "claims",
    "sessions",
    "clients bound",
    "operator's orders done",
    "snapshots installed",
    "transfers heard",
    "log truncations",
    "nodes replaced",
    "memberships shrunk",
    "takeovers within bounds",
    "sessions that lasted",
    "sessions cut",
    "versions activated",
    "downgrades refused",
    "waits for a slot",
    "waits for any slot",
];

/// Which seeds, and how.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    pub from: u64,
    pub seeds: u64,
    /// So many at once.
    pub jobs: usize,
    /// No new run begins after this time.
    pub within: Option<Duration>,
}

/// The command that runs a seed again.
pub fn replay(run: &Run) -> String {
    let planted = run
        .planted
        .word()
        .map_or(String::new(), |word| format!(" --planted {word}"));
    let theme = if run.theme == Theme::of(run.seed) {
        String::new()
    } else {
        format!(" --theme {}", run.theme.word())
    };
    let usual = Run::of(run.seed, run.length);
    let is_usual = (run.nodes, run.witness) == (usual.nodes, usual.witness);
    let sized = match (is_usual, run.witness) {
        (true, _) => String::new(),
        (false, false) => format!(" --nodes {}", run.nodes),
        (false, true) => format!(" --nodes {} --witness", run.nodes),
    };
    format!(
        "cargo run --release -p ha-simulations -- --seed {}{sized} --seconds {}{theme}{planted} --trace",
        run.seed,
        run.length / 1000
    )
}

/// One seed: its story's hash, and what was found.
pub fn one(what: &Run) -> ExitCode {
    let outcome = run(what.clone());
    let (hash, lines) = outcome.story;
    println!(
        "seed {}, {} nodes{}: story {hash:016x}, {lines} lines, {} simulated ms",
        what.seed,
        what.nodes,
        if what.witness { ", one a witness" } else { "" },
        outcome.simulated
    );
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            println!(
                "VIOLATION {violation}\nreplay: {}\nfewer faults: add --shrink",
                replay(what)
            );
            ExitCode::from(1)
        }
    }
}

#[derive(Default)]
struct Total {
    counts: Counts,
    runs: u64,
    simulated: u64,
    failed: Vec<(Run, String)>,
}

impl Sweep {
    /// Runs it and says what came of it.
    #[allow(
        clippy::disallowed_methods,
        reason = "the rate of a sweep is told in real time"
    )]
    pub fn main(&self, make: impl Fn(u64) -> Run + Sync) -> ExitCode {
        let began = Instant::now();
        let total = self.carry_out(&make, began);
        for (run, violation) in &total.failed {
            println!(
                "seed {}, {} nodes: {violation}\n  replay: {}",
                run.seed,
                run.nodes,
                replay(run)
            );
        }
        let wall = began.elapsed().as_secs_f64().max(0.001);
        let seconds = total.simulated as f64 / 1000.0;
        println!(
            "{} seeds from {}: {seconds:.0} simulated seconds in {wall:.0} s, {:.0} per second and job; {} violations",
            total.runs,
            self.from,
            seconds / wall / self.jobs as f64,
            total.failed.len()
        );
        for (what, count) in &total.counts.of {
            println!("  {count:>8} {what}");
        }
        if !total.failed.is_empty() {
            return ExitCode::from(1);
        }
        let missing = missing(&total.counts);
        if total.runs >= COVERAGE_FROM && !missing.is_empty() {
            println!(
                "never happened: {}: the sweep proves nothing about it; look at the weights in cluster/plan.rs",
                missing.join(", ")
            );
            return ExitCode::from(3);
        }
        ExitCode::SUCCESS
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the end of a sweep may be asked for in real time"
    )]
    fn carry_out(&self, make: &(impl Fn(u64) -> Run + Sync), began: Instant) -> Total {
        let (next, total) = (AtomicU64::new(0), Mutex::new(Total::default()));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= self.seeds || self.within.is_some_and(|w| began.elapsed() >= w) {
                            return;
                        }
                        let what = make(self.from + number);
                        let outcome = run(what.clone());
                        if let Some(violation) = outcome.violation.as_ref().filter(|_| what.planted == Planted::Nothing) {
                            // At once: a sweep may go on for long.
                            eprintln!("VIOLATION seed {}, {} nodes: {violation}", what.seed, what.nodes);
                        }
                        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                        total.take(what, outcome);
                        if total.runs.is_multiple_of(20) {
                            let rate = total.simulated as f64 / 1000.0 / began.elapsed().as_secs_f64().max(0.001);
                            eprintln!("{} of {} seeds, {rate:.0} simulated seconds per second, {} violations", total.runs, self.seeds, total.failed.len());
                        }
                    }
                });
            }
        });
        let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        total.failed.sort_by_key(|(run, _)| run.seed);
        total
    }
}

impl Total {
    fn take(&mut self, run: Run, outcome: Outcome) {
        self.runs += 1;
        self.simulated += outcome.simulated;
        for (what, count) in outcome.counts.of {
            *self.counts.of.entry(what).or_default() += count;
        }
        self.failed.extend(outcome.violation.map(|v| (run, v)));
    }
}

fn missing(counts: &Counts) -> Vec<&'static str> {
    let wanted = KINDS.iter().map(|(_, _, word, _)| *word).chain(MUST_HAPPEN);
    wanted
        .filter(|what| !counts.of.contains_key(what))
        .collect()
}

/// Plants each bug and prints what found it, after how many seeds.
pub fn table_of_planted(length: u64, jobs: usize) -> ExitCode {
    let mut escaped = 0;
    println!("{:<26} {:<12} {:>6}  found by", "planted", "theme", "seeds");
    for bug in Planted::ALL {
        let (word, theme) = (bug.word, bug.theme.word());
        match find(bug, length, jobs) {
            Some((run, violation)) => println!(
                "{word:<26} {theme:<12} {:>6}  {violation}, {} nodes",
                run.seed + 1,
                run.nodes
            ),
            None => {
                escaped += 1;
                println!(
                    "{word:<26} {theme:<12} {PLANTED_WITHIN:>6}  ESCAPED, wanted: {}",
                    bug.found_by.join(" or ")
                );
            }
        }
    }
    if escaped == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

/// The first seed at which an invariant that is there for it finds the bug.
#[allow(clippy::disallowed_methods, reason = "progress is told in real time")]
fn find(bug: Bug, length: u64, jobs: usize) -> Option<(Run, String)> {
    let at_once = 4 * jobs as u64;
    for from in (0..PLANTED_WITHIN).step_by(at_once as usize) {
        let sweep = Sweep {
            from,
            seeds: at_once.min(PLANTED_WITHIN - from),
            jobs,
            within: None,
        };
        let total = sweep.carry_out(&|seed| bug.run(seed, length), Instant::now());
        if let Some(found) = total
            .failed
            .into_iter()
            .find(|(_, violation)| bug.is_found_by(violation))
        {
            return Some(found);
        }
    }
    None
}
