//! Bytes from outside, whatever they are, end in a value or an error: samples that are right, each changed in many
//! ways, and what fuzzing found once (`tests/fuzz/inputs`).

#![allow(clippy::unwrap_used, reason = "a panic fails the test that caused it")]

use ha_agent::readers::{READERS, Reader, samples};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use std::path::Path;

/// Changes of each sample; in CI ten times as many.
const CHANGES: u64 = 3000;

/// Where the changes begin: CI takes fresh ones each time, and says which, so that they can be made again.
fn changes() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().unwrap());
    let from = number("HA_READERS_FROM").unwrap_or(0);
    let many = if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        10 * CHANGES
    } else {
        CHANGES
    };
    from..from + many
}

fn reader(name: &str) -> Reader {
    READERS
        .iter()
        .find(|(n, _)| *n == name)
        .unwrap_or_else(|| panic!("there is no reader {name}"))
        .1
}

#[test]
fn each_sample_changed_in_many_ways_is_read_or_refused() {
    let samples = samples().unwrap();
    assert!(
        READERS
            .iter()
            .all(|(name, _)| samples.iter().any(|(n, _)| n == name)),
        "each reader has a sample"
    );
    for (at, (name, sample)) in samples.iter().enumerate() {
        reader(name)(sample);
        for change in changes() {
            let mut random = SmallRng::seed_from_u64((at as u64) << 48 | change);
            let changed = change_of(
                sample,
                &samples[random.random_range(0..samples.len())].1,
                &mut random,
            );
            let read = std::panic::catch_unwind(|| reader(name)(&changed));
            assert!(
                read.is_ok(),
                "{name}: sample {at}, HA_READERS_FROM={change}: {changed:?}"
            );
        }
    }
}

/// A few bytes set, cut out, doubled, or taken from another sample.
fn change_of(sample: &[u8], other: &[u8], random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=bytes.len());
        let end = (at + random.random_range(0..16)).min(bytes.len());
        match random.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.splice(at..at, bytes[at..end].to_vec()).for_each(drop),
            3 if !other.is_empty() => {
                let from = random.random_range(0..other.len());
                let piece = other[from..(from + 16).min(other.len())].to_vec();
                bytes.splice(at..end, piece).for_each(drop);
            }
            _ if at < bytes.len() => {
                bytes[at] = [
                    0,
                    1,
                    127,
                    128,
                    250,
                    251,
                    252,
                    253,
                    254,
                    255,
                    random.random(),
                ][random.random_range(0..11)]
            }
            _ => bytes.push(random.random()),
        }
    }
    bytes
}

#[test]
fn what_fuzzing_found_once_is_read_or_refused() {
    let inputs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/inputs");
    let Ok(targets) = std::fs::read_dir(&inputs) else {
        return;
    };
    for target in targets {
        let target = target.unwrap();
        for input in std::fs::read_dir(target.path()).unwrap() {
            let input = input.unwrap().path();
            println!("{}", input.display());
            reader(&target.file_name().to_string_lossy())(&std::fs::read(&input).unwrap());
        }
    }
}
