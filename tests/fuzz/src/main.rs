//! One reader of `ha_agent::readers` under libFuzzer: which one says `HA_FUZZ_READER`.
//! With `HA_FUZZ_SAMPLES=DIRECTORY` it writes what fuzzing begins with, and ends.

#![no_main]

use ha_agent::readers::{READERS, Reader, samples};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static READER: LazyLock<Reader> = LazyLock::new(|| {
    let name = std::env::var("HA_FUZZ_READER").expect("./run sets HA_FUZZ_READER");
    if let Ok(directory) = std::env::var("HA_FUZZ_SAMPLES") {
        for (at, (_, sample)) in samples()
            .expect("samples can be made")
            .iter()
            .enumerate()
            .filter(|(_, (n, _))| *n == name)
        {
            std::fs::write(format!("{directory}/sample-{at}"), sample)
                .expect("the directory can be written");
        }
        std::process::exit(0);
    }
    READERS
        .iter()
        .find(|(n, _)| *n == name)
        .expect("a reader of that name")
        .1
});

fuzz_target!(|bytes: &[u8]| (*READER)(bytes));
