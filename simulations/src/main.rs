//! Sweeps seeds, or tells the story of one.

use clap::Parser;
use ha_simulations::cluster::Run;
use ha_simulations::cluster::plan::Theme;
use ha_simulations::cluster::planted::Planted;
use ha_simulations::sweep::{self, Sweep};
use ha_simulations::{controllers, shrink};
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(
    name = "ha-simulations",
    version,
    about = "Whole clusters under faults: one seed, one run, every time the same.\nExit codes: 0 nothing found, 1 a violation (or a planted bug that escaped), 2 wrong usage, 3 a sweep in which some fault never happened."
)]
struct Args {
    /// One seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed of a sweep.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// End the sweep after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Nodes; without it a sweep takes 3, 2 and a witness, 1, 5 and 7 in turn.
    #[arg(long)]
    nodes: Option<usize>,
    /// The last of --nodes is a witness.
    #[arg(long, requires = "nodes")]
    witness: bool,
    /// What the faults dwell on; without it a sweep takes anything at random every third time, and else these in turn:
    /// restart-all, blinks, shrinking, known-down, draining, quiet, upgrading, crowded, and
    /// last-of-three. Only when asked for: evil.
    #[arg(long)]
    theme: Option<String>,
    /// Runs at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Simulated seconds of faults in each run.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Tell the story.
    #[arg(long)]
    trace: bool,
    /// Plant this bug; without a word: all of them in turn, and a table of what found them.
    #[arg(long, num_args = 0..=1, default_missing_value = "all")]
    planted: Option<String>,
    /// Make the faults of a failing --seed fewer, as long as it fails.
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// Controllers over an ideal log instead: faster, and without the consensus library.
    #[arg(long)]
    controllers: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.controllers {
        return controllers::main(
            args.seed,
            args.from,
            args.seeds,
            args.nodes,
            args.seconds,
            args.trace,
            args.planted.as_deref(),
        );
    }
    let planted = match args.planted.as_deref() {
        None => None,
        Some("all") => return sweep::table_of_planted(args.seconds * 1000, args.jobs),
        Some(word) => match Planted::named(word) {
            Some(bug) => Some(bug),
            None => {
                eprintln!(
                    "--planted: found {word:?}; use one of {}",
                    Planted::ALL.map(|bug| bug.word).join(", ")
                );
                return ExitCode::from(2);
            }
        },
    };
    let theme = match &args.theme {
        None => None,
        Some(word) => match Theme::ALL.iter().find(|(name, _)| name == word) {
            Some((_, theme)) => Some(*theme),
            None => {
                eprintln!(
                    "--theme: found {word:?}; use one of {}",
                    Theme::ALL.map(|(name, _)| name).join(", ")
                );
                return ExitCode::from(2);
            }
        },
    };
    let run = |seed: u64| {
        let length = args.seconds * 1000;
        let mut run = planted.map_or_else(|| Run::of(seed, length), |bug| bug.run(seed, length));
        if let Some(nodes) = args.nodes {
            (run.nodes, run.witness) = (nodes, args.witness);
        }
        run.theme = theme.unwrap_or(run.theme);
        run
    };
    if let Some(seed) = args.seed {
        let run = Run {
            aloud: args.trace,
            ..run(seed)
        };
        return if args.shrink {
            shrink::main(&run)
        } else {
            sweep::one(&run)
        };
    }
    let sweep = Sweep {
        from: args.from,
        seeds: args.seeds,
        jobs: args.jobs,
        within: args.minutes.map(|m| Duration::from_secs(60 * m)),
    };
    sweep.main(run)
}
