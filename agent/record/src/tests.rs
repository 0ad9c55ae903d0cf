//! Golden files of each version, both ways; bytes that are none.

use super::*;
use crate::entry::{Entry, Payload};
use crate::samples::{Sample, all};
use crate::vote::{LogId, Vote};
use ha_core::version::CURRENT;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const V1: RecordVersion = RecordVersion(1);

fn golden(version: RecordVersion) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("golden/v{version}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        write!(text, "{b:02x}").unwrap();
        text
    })
}

/// A line for each sample of a record: its name and its bytes.
fn files(samples: &[Sample]) -> BTreeMap<&'static str, String> {
    let mut files = BTreeMap::<&'static str, String>::new();
    for sample in samples {
        let line = format!("{} {}\n", sample.name, hex(&sample.bytes));
        files.entry(sample.record).or_default().push_str(&line);
    }
    files
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

/// What was written once at a version is read for ever, and what is written at it now is the same.
#[test]
fn golden_files_of_each_version_are_what_is_written_and_read() {
    let mut versions = 0;
    for version in (CURRENT.min.0..=CURRENT.max.0).map(RecordVersion) {
        let dir = golden(version);
        if cfg!(feature = "next") && version == CURRENT.max {
            continue;
        }
        let samples = all(version).unwrap();
        let files = files(&samples);
        let there = fs::read_dir(&dir)
            .unwrap_or_else(|e| panic!("{}: {e}: `HA_GOLDEN=write cargo test -p ha-record` makes those of a new version", dir.display()))
            .count();
        assert_eq!(there, files.len(), "files in {}", dir.display());
        for (record, lines) in files {
            let kept = fs::read_to_string(dir.join(format!("{record}.txt"))).unwrap();
            assert_eq!(
                kept, lines,
                "{record} is written otherwise than version {version} was: give the change a version of its own"
            );
            for line in kept.lines() {
                let (name, bytes) = line.split_once(' ').unwrap();
                let sample = samples
                    .iter()
                    .find(|s| s.record == record && s.name == name)
                    .unwrap();
                assert_eq!(
                    (sample.reads)(&bytes_of(bytes)),
                    Ok(true),
                    "{record} {name}"
                );
            }
        }
        versions += 1;
    }
    assert!(versions > 0);
}

/// With `HA_GOLDEN=write`: makes the files of the newest version. Those of a version that has some stay as they are.
#[test]
fn golden_files_of_a_new_version_are_written_once() {
    if std::env::var("HA_GOLDEN").as_deref() != Ok("write") || cfg!(feature = "next") {
        return;
    }
    let dir = golden(CURRENT.max);
    fs::create_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}: what a version wrote is never changed; raise CURRENT in ha-core's version.rs for another", dir.display()));
    for (record, lines) in files(&all(CURRENT.max).unwrap()) {
        fs::write(dir.join(format!("{record}.txt")), lines).unwrap();
    }
}

#[test]
fn every_sample_of_every_version_is_read_as_it_was_and_cut_short_not_at_all() {
    for version in (CURRENT.min.0..=CURRENT.max.0).map(RecordVersion) {
        for sample in all(version).unwrap() {
            let what = format!("{} {} at {version}", sample.record, sample.name);
            assert_eq!((sample.reads)(&sample.bytes), Ok(true), "{what}");
            for end in 0..sample.bytes.len() {
                assert!(
                    (sample.reads)(&sample.bytes[..end]).is_err(),
                    "{what}, {end}"
                );
            }
            let longer = [sample.bytes.as_slice(), &[0]].concat();
            assert!((sample.reads)(&longer).is_err(), "{what}");
        }
    }
}

#[test]
fn each_kind_is_another() {
    let mut samples = all(V1).unwrap();
    // It is a state, as the other one.
    samples.retain(|s| s.record != "replay");
    for a in &samples {
        for b in samples.iter().filter(|b| a.record != b.record) {
            assert!(
                (a.reads)(&b.bytes).is_err(),
                "{} taken for {}",
                b.record,
                a.record
            );
        }
    }
}

#[test]
fn a_newer_record_says_which_version_it_is_and_what_helps() {
    let newer = RecordVersion(CURRENT.max.0 + 1);
    let bytes = encode(newer, &Vote::default()).unwrap();
    let refused = decode::<Vote>(CURRENT, &bytes).unwrap_err();
    let words = refused.to_string();
    assert!(
        words.contains(&format!("speaks version {newer}")) && words.contains("Install"),
        "{words}"
    );
    // One entry of a message too.
    let entry = Entry {
        version: newer,
        id: LogId::default(),
        payload: Payload::Blank,
    };
    let bytes = encode(V1, &entry).unwrap();
    assert!(matches!(
        decode::<Entry>(CURRENT, &bytes),
        Err(RecordError::Newer { found, .. }) if found == newer
    ));
    assert!(
        decode::<Vote>(CURRENT, &[0, 2, 0, 0, 0]).is_err(),
        "no version 0"
    );
}

#[test]
fn what_the_sender_speaks_is_understood_where_its_message_is_not() {
    let later = Speaks {
        min: RecordVersion(7),
        max: RecordVersion(900),
    };
    let bytes = encode_message(RecordVersion(900), later, &crate::lease::Released).unwrap();
    assert!(decode_message::<crate::lease::Released>(CURRENT, &bytes).is_err());
    assert_eq!(sender_speaks(&bytes), Some(later));
    assert_eq!(sender_speaks(&bytes[..3]), None);
    assert_eq!(
        sender_speaks(&[1, 26, 9, 8]),
        None,
        "the newest is before the oldest"
    );
}

#[test]
fn a_number_has_one_form_and_64_bits() {
    for number in [
        0,
        1,
        250,
        251,
        0xffff,
        0x1_0000,
        0xffff_ffff,
        1 << 32,
        u64::MAX,
    ] {
        let mut out = Out::at(V1);
        out.number(number);
        let bytes = out.done().unwrap();
        assert_eq!(In::of(&bytes, CURRENT).number(), Ok(number));
    }
    let longer = [
        &[251, 250, 0][..],
        &[252, 1, 0, 0, 0],
        &[253, 1, 0, 0, 0, 0, 0, 0, 0],
    ];
    let more_bits = [&[254; 17][..], &[255]];
    let cut = [&[251, 0][..], &[253, 0, 0, 0, 1], &[]];
    for wrong in longer.into_iter().chain(more_bits).chain(cut) {
        assert!(In::of(wrong, CURRENT).number().is_err(), "{wrong:?}");
    }
}

/// It costs no memory to say that there are many.
#[test]
fn a_length_beyond_the_bytes_is_an_error_before_anything_is_made() {
    let mut bytes = encode(V1, &None::<LogId>).unwrap();
    bytes.truncate(2);
    bytes[1] = 4;
    bytes.extend([0, 0, 253, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0]);
    assert_eq!(
        decode::<snapshot::Header>(CURRENT, &bytes),
        Err(RecordError::CUT)
    );
}

#[cfg(feature = "next")]
#[test]
fn what_a_later_version_has_is_not_written_at_an_earlier_one() {
    use ha_core::command::{Command, Stamped};
    let stamped = Stamped {
        at: ha_core::time::Timestamp(1),
        by: String::new(),
        command: Command::Rehearse { text: "x".into() },
        request: None,
    };
    let refused = encode(V1, &stamped).unwrap_err();
    assert!(matches!(
        refused,
        RecordError::NotYet {
            what: "Rehearse",
            needs: RecordVersion(2),
            at: V1
        }
    ));
    let two = encode(RecordVersion(2), &stamped).unwrap();
    assert_eq!(decode::<Stamped>(CURRENT, &two), Ok(stamped));
    // A record that says an earlier version and holds what came later is none.
    let lies = [&[1], &two[1..]].concat();
    assert!(matches!(
        decode::<Stamped>(CURRENT, &lies),
        Err(RecordError::Malformed(_))
    ));
    let mut facts = Facts::default();
    assert!(encode(V1, &facts).is_ok());
    facts.rehearsal = "x".into();
    assert!(matches!(
        encode(V1, &facts),
        Err(RecordError::NotYet {
            what: "rehearsal",
            ..
        })
    ));
    let two = encode(RecordVersion(2), &facts).unwrap();
    assert_eq!(decode::<Facts>(CURRENT, &two), Ok(facts));
}
