//! What the benchmarks share: figures from samples, tables, progress.
//!
//! [`faults`] runs one fault again and again on a [`crate::system::System`];
//! [`crowd`] is a million clients; [`usage`] is what a process has used; [`proxies`], [`load`] and [`echo`] are the proxies, load generator and server of the proxy benchmark.

pub mod crowd;
pub mod echo;
pub mod faults;
pub mod load;
pub mod proxies;
pub mod turns;
pub mod usage;

use std::time::Duration;

use serde::Serialize;

/// Median, 99th percentile and largest of some samples, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Half are at most this.
    pub median: f64,
    /// 99 % are at most this; the largest when there are fewer than 100.
    pub p99: f64,
    pub max: f64,
}

impl Figures {
    /// Of durations; none gives zeros.
    pub fn of(samples: impl IntoIterator<Item = Duration>) -> Figures {
        let mut sorted: Vec<_> = samples
            .into_iter()
            .map(|sample| sample.as_secs_f64() * 1000.0)
            .collect();
        sorted.sort_by(f64::total_cmp);
        Figures {
            median: quantile(&sorted, 0.5),
            p99: quantile(&sorted, 0.99),
            max: quantile(&sorted, 1.0),
        }
    }
}

/// The smallest sample that at least this share of all are not above (nearest rank); 0 of none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
}

/// The middle one; 0 of none.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// The value of `--name VALUE` among the arguments.
pub fn option(name: &str) -> Option<String> {
    let mut args = std::env::args().skip(1);
    args.find(|arg| arg == name).and_then(|_| args.next())
}

/// Ends the program with a message when an argument is none of the known ones.
pub fn refuse_unknown(known: &[&str], usage: &str) {
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--help" || arg == "-h" {
            println!("{usage}");
            std::process::exit(0);
        }
        if !known.contains(&arg.as_str()) || args.next().is_none() {
            eprintln!("{arg}: unknown, or without its value\n{usage}");
            std::process::exit(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let sorted: Vec<_> = (1..=50).map(f64::from).collect();
        assert_eq!(
            (
                quantile(&sorted, 0.5),
                quantile(&sorted, 0.99),
                quantile(&sorted, 1.0)
            ),
            (25.0, 50.0, 50.0)
        );
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
