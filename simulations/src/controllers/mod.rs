//! Controllers over an ideal log: fast, and without the consensus library.
//!
//! Elections and replication are ideal here (one leader per term, entries commit when a majority is
//! up); the lease protocol, its messages and their timing are the product's own code. Whole clusters
//! are in `cluster`.

pub mod invariant;
pub mod node;
pub mod rng;
pub mod world;

use std::process::ExitCode;
use world::{Planted, World};

/// What one run was like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Milliseconds during which exactly one node answered.
    pub held_ms: u64,
    /// How long the run was, in milliseconds.
    pub total_ms: u64,
    pub changes: u64,
    pub elections: u64,
    /// Times that a follower found that it is its turn to campaign.
    pub campaigns: u64,
    /// Faults by kind, in the order of [`world::FAULTS`].
    pub faults: [u64; world::FAULTS.len()],
    /// What was violated first, with its time.
    pub violation: Option<String>,
    /// Hash of everything that happened, in order.
    pub trace: u64,
}

/// Runs one seed for `seconds` of simulated time. `story` is told each event.
pub fn run(
    seed: u64,
    nodes: u8,
    seconds: u64,
    planted: Planted,
    story: &mut dyn FnMut(u64, &str),
) -> Summary {
    World::new(seed, nodes, planted).run(seconds, story)
}

/// Sweeps seeds, or tells the story of one.
pub fn main(
    seed: Option<u64>,
    from: u64,
    seeds: u64,
    nodes: Option<usize>,
    seconds: u64,
    trace: bool,
    planted: Option<&str>,
) -> ExitCode {
    let planted = match planted.map(|word| Planted::ALL.iter().find(|(name, _)| *name == word)) {
        None => Planted::Nothing,
        Some(Some((_, planted))) => *planted,
        Some(None) => {
            eprintln!(
                "--planted: use one of {}",
                Planted::ALL.map(|(name, _)| name).join(", ")
            );
            return ExitCode::from(2);
        }
    };
    let (from, seeds) = seed.map_or((from, seeds), |s| (s, 1));
    let mut sum = Summary::default();
    for seed in from..from + seeds {
        let nodes = nodes.map_or([3, 1, 2, 5, 7][(seed % 5) as usize], |n| {
            n.clamp(1, 99) as u8
        });
        let s = run(seed, nodes, seconds, planted, &mut |at, what| {
            if trace {
                println!("{:>9.3} s  {what}", at as f64 / 1e6);
            }
        });
        if let Some(what) = &s.violation {
            println!(
                "seed {seed}, {nodes} nodes: {what}\nreplay: cargo run --release -p ha-simulations -- --controllers --seed {seed} --nodes {nodes} --trace"
            );
            return ExitCode::from(1);
        }
        if seeds == 1 {
            println!("seed {seed}, {nodes} nodes: trace {:016x}", s.trace);
        }
        sum.held_ms += s.held_ms;
        sum.total_ms += s.total_ms;
        sum.changes += s.changes;
        sum.elections += s.elections;
        sum.campaigns += s.campaigns;
        for (a, b) in sum.faults.iter_mut().zip(s.faults) {
            *a += b;
        }
        if (seed - from + 1).is_multiple_of(1000) {
            eprintln!("{} of {seeds} seeds", seed - from + 1);
        }
    }
    let faults: Vec<String> = world::FAULTS
        .iter()
        .zip(sum.faults)
        .map(|(name, n)| format!("{name} {n}"))
        .collect();
    println!(
        "controllers: {seeds} seeds from {from}, {} simulated seconds: no violation; held {:.1} %, {} changes of holder, {} elections, {} campaigns; faults: {}",
        sum.total_ms / 1000,
        100.0 * sum.held_ms as f64 / sum.total_ms.max(1) as f64,
        sum.changes,
        sum.elections,
        sum.campaigns,
        faults.join(", ")
    );
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests;
