//! Sweeps seeds, or tells the story of one.

use clap::Parser;
use ha_simulations::world::{FAULTS, Planted};
use ha_simulations::{Summary, run};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "ha-simulations", version, about = "Controllers over an ideal log, under faults. Exit codes: 0 nothing found, 1 a violation, 2 wrong usage.")]
struct Args {
    /// One seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed of a sweep.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Nodes; a sweep without it takes 1, 2, 3, 5 and 7 in turn.
    #[arg(long)]
    nodes: Option<u8>,
    /// Simulated seconds of each run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Tell what happens.
    #[arg(long)]
    trace: bool,
    /// Plant this bug: no-wait-after-restart, promises-to-two, lease-too-long, counted-from-arrival.
    #[arg(long, value_parser = planted)]
    planted: Option<Planted>,
}

fn planted(word: &str) -> Result<Planted, String> {
    let known = Planted::ALL.iter().find(|(name, _)| *name == word);
    known.map(|(_, p)| *p).ok_or_else(|| format!("use one of {}", Planted::ALL.map(|(name, _)| name).join(", ")))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (from, seeds) = args.seed.map_or((args.from, args.seeds), |s| (s, 1));
    let mut sum = Summary::default();
    for seed in from..from + seeds {
        let nodes = args.nodes.unwrap_or([3, 1, 2, 5, 7][(seed % 5) as usize]);
        let nodes = if args.seed.is_some() && args.nodes.is_none() { [3, 1, 2, 5, 7][(seed % 5) as usize] } else { nodes };
        let trace = args.trace;
        let s = run(seed, nodes, args.seconds, args.planted.unwrap_or_default(), &mut |at, what| {
            if trace {
                println!("{:>9.3} s  {what}", at as f64 / 1e6);
            }
        });
        if let Some(what) = &s.violation {
            println!("seed {seed}, {nodes} nodes: {what}\nreplay: cargo run --release -p ha-simulations -- --seed {seed} --nodes {nodes} --trace");
            return ExitCode::from(1);
        }
        if args.seed.is_some() {
            println!("seed {seed}, {nodes} nodes: trace {:016x}", s.trace);
        }
        sum.held_ms += s.held_ms;
        sum.total_ms += s.total_ms;
        sum.changes += s.changes;
        sum.elections += s.elections;
        for (a, b) in sum.faults.iter_mut().zip(s.faults) {
            *a += b;
        }
        if (seed - from + 1).is_multiple_of(100) {
            eprintln!("{} of {seeds} seeds", seed - from + 1);
        }
    }
    let faults: Vec<String> = FAULTS.iter().zip(sum.faults).map(|(name, n)| format!("{name} {n}")).collect();
    println!(
        "{seeds} seeds from {from}, {} simulated seconds: no violation; held {:.1} %, {} changes of holder, {} elections; faults: {}",
        sum.total_ms / 1000,
        100.0 * sum.held_ms as f64 / sum.total_ms.max(1) as f64,
        sum.changes,
        sum.elections,
        faults.join(", ")
    );
    ExitCode::SUCCESS
}
