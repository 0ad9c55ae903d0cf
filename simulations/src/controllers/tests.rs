//! A fixed sweep, the same seed twice, and planted bugs that must be found.
use super::*;

fn quiet(seed: u64, nodes: u8, planted: Planted) -> Summary {
    run(seed, nodes, 60, planted, &mut |_, _| {})
}

#[test]
fn no_seed_of_the_fixed_sweep_has_two_holders_or_ends_without_one() {
    for nodes in [1, 2, 3, 5] {
        for seed in 0..40 {
            let s = quiet(seed, nodes, Planted::Nothing);
            assert_eq!(
                s.violation, None,
                "replay: cargo run -p ha-simulations -- --controllers --seed {seed} --nodes {nodes} --trace"
            );
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 100..110 {
        assert_eq!(
            quiet(seed, 3, Planted::Nothing),
            quiet(seed, 3, Planted::Nothing)
        );
    }
    assert_ne!(
        quiet(1, 3, Planted::Nothing).trace,
        quiet(2, 3, Planted::Nothing).trace
    );
}

#[test]
fn every_planted_bug_is_found() {
    for (name, planted) in Planted::ALL {
        let found = (0..400).find(|seed| quiet(*seed, 3, planted).violation.is_some());
        assert!(found.is_some(), "{name} was not found in 400 seeds");
    }
}

#[test]
fn the_sweep_exercises_every_fault() {
    let mut faults = [0; world::FAULTS.len()];
    for seed in 0..20 {
        for (sum, n) in faults
            .iter_mut()
            .zip(quiet(seed, 3, Planted::Nothing).faults)
        {
            *sum += n;
        }
    }
    assert!(
        faults.iter().all(|n| *n > 0),
        "{:?}",
        world::FAULTS.iter().zip(faults).collect::<Vec<_>>()
    );
}
