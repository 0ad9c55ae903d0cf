//! A fixed sweep, seeds that once failed, the same seed twice, and a few planted bugs that must be found.

use super::*;

const SECONDS: u64 = 1000;

fn short(seed: u64) -> Run {
    Run::of(seed, 20 * SECONDS)
}

#[test]
fn no_seed_of_the_fixed_sweep_violates_an_invariant() {
    for seed in 0..20 {
        let outcome = run(short(seed));
        assert_eq!(
            outcome.violation,
            None,
            "replay: {}",
            crate::sweep::replay(&short(seed))
        );
    }
}

#[test]
fn seeds_that_once_failed_do_not_fail_again() {
    let lines = include_str!("../../seeds.txt")
        .lines()
        .filter(|l| !l.starts_with('#'));
    let mut replayed = 0;
    for line in lines {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().expect("two numbers in a line");
        let mut again = Run::of(number(0), number(1) * SECONDS);
        if let Some(theme) = words.get(2) {
            let known = Theme::ALL.iter().find(|(word, _)| word == theme);
            again.theme = known.expect("a theme").1;
        }
        assert_eq!(
            run(again.clone()).violation,
            None,
            "replay: {}",
            crate::sweep::replay(&again)
        );
        replayed += 1;
    }
    assert!(replayed > 0, "the file has none");
}

#[test]
fn the_same_seed_is_the_same_story_also_beside_another() {
    for seed in 0..3 {
        let alone = run(short(seed));
        let beside = std::thread::spawn(move || run(short(seed + 100)));
        let again = run(short(seed));
        beside.join().expect("the other run ends");
        assert_eq!(alone, again);
        assert_ne!(
            alone.story,
            run(short(seed + 5)).story,
            "another seed is another story"
        );
    }
}

/// In so many plans each of the quick ones shows; most do in the first.
const SEEDS: u64 = 200;

/// The quick ones; `-- --planted` has them all.
#[test]
fn planted_bugs_are_found() {
    for word in [
        "released-before-away",
        "acknowledges-before-flush",
        "forwards-before-commit",
        "proxy-ignores-lease",
        "transfer-before-release",
        "order-on-one-node",
        "own-clock",
        "writes-at-newest",
        "speaks-for-others",
        "drain-moves-address",
        "leaves-at-first-refusal",
        "suspicion-rebinds",
        "dies-early",
        "waits-for-one",
        "requests-forgotten",
        "expected-unchecked",
        "stale-reads",
    ] {
        let bug = Planted::named(word).expect("it is in the table");
        let found = (0..SEEDS).find(|seed| {
            run(bug.run(*seed, 30 * SECONDS))
                .violation
                .is_some_and(|v| bug.is_found_by(&v))
        });
        assert!(found.is_some(), "{word} escaped {SEEDS} seeds");
    }
}

/// Both versions of the program in one cluster, upgraded and downgraded among the faults.
#[test]
fn clusters_go_from_one_version_to_the_next() {
    let mut counts = counts::Counts::default();
    for seed in 0..10 {
        let upgrading = Run {
            theme: Theme::Upgrading,
            ..Run::of(seed, 40 * SECONDS)
        };
        let outcome = run(upgrading.clone());
        assert_eq!(
            outcome.violation,
            None,
            "replay: {}",
            crate::sweep::replay(&upgrading)
        );
        for (what, many) in outcome.counts.of {
            counts.add_many(what, many);
        }
    }
    let mut must = vec![
        "upgrade",
        "downgrade",
        "versions activated",
        "downgrades refused",
        "snapshots installed",
        "memberships shrunk",
    ];
    if cfg!(feature = "next") {
        must.push("rehearsals");
    }
    for what in must {
        assert!(
            counts.of.contains_key(what),
            "{what} never happened: {counts:?}"
        );
    }
}

#[test]
fn five_voters_and_many_learners_agree() {
    let run_of_many = Run {
        nodes: 30,
        witness: false,
        faults: Some(Vec::new()),
        ..Run::of(1, SECONDS)
    };
    assert_eq!(run(run_of_many).violation, None);
}

/// One member says whatever it likes: there are never two holders, and once it is silent or replaced all is well again.
#[test]
fn a_cluster_lives_through_an_evil_member() {
    let mut counts = counts::Counts::default();
    for seed in 0..15 {
        let evil = Run {
            theme: Theme::Evil,
            ..Run::of(seed, 20 * SECONDS)
        };
        let outcome = run(evil.clone());
        assert_eq!(
            outcome.violation,
            None,
            "replay: {}",
            crate::sweep::replay(&evil)
        );
        for (what, many) in outcome.counts.of {
            counts.add_many(what, many);
        }
    }
    for what in [
        "evil words",
        "claims",
        "sessions",
        "nodes replaced",
        "recoveries",
    ] {
        assert!(
            counts.of.contains_key(what),
            "{what} never happened: {counts:?}"
        );
    }
}
