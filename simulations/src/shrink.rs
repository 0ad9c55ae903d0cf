//! From a failing seed to fewer faults that still fail: halves first, then one at a time.

use crate::cluster::plan::{Fault, word};
use crate::cluster::{Run, run};
use crate::sweep::replay;
use std::process::ExitCode;

/// Shrinks and prints what is left.
pub fn main(what: &Run) -> ExitCode {
    let quiet = Run {
        aloud: false,
        ..what.clone()
    };
    let first = run(quiet.clone());
    let Some(violation) = first.violation else {
        println!("seed {} does not fail", what.seed);
        return ExitCode::SUCCESS;
    };
    println!(
        "seed {}, {} faults: {violation}",
        what.seed,
        first.faults.len()
    );
    let faults = shrink(&quiet, first.faults);
    let last = run(Run {
        faults: Some(faults.clone()),
        aloud: what.aloud,
        ..quiet
    });
    println!(
        "{} faults are enough: {}",
        faults.len(),
        last.violation.unwrap_or_default()
    );
    for fault in &faults {
        let node = fault
            .node
            .map_or("the leader".to_owned(), |n| format!("node-{n}"));
        println!(
            "  {:>6} ms  {}, {node}, {} ms",
            fault.at,
            word(fault.kind),
            fault.lasts
        );
    }
    println!("the whole: {}", replay(what));
    ExitCode::from(1)
}

fn shrink(what: &Run, mut faults: Vec<Fault>) -> Vec<Fault> {
    let fails = |faults: &[Fault]| {
        run(Run {
            faults: Some(faults.to_vec()),
            ..what.clone()
        })
        .violation
        .is_some()
    };
    let mut piece = faults.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < faults.len() {
            let mut fewer = faults.clone();
            fewer.drain(at..(at + piece).min(faults.len()));
            if fails(&fewer) {
                faults = fewer;
                eprintln!("{} faults", faults.len());
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    faults
}
