//! What a snapshot costs: `cargo run --release -p ha-record --example snapshot -- 1000000` writes and reads one of so many
//! bindings, and says how long each took and how large it is.
#![allow(
    clippy::disallowed_methods,
    missing_docs,
    reason = "real time is what is measured"
)]

use ha_core::id::ServerId;
use ha_core::state::ClusterState;
use ha_core::stick::{StickEntry, StickKey};
use ha_core::time::Timestamp;
use ha_core::version::{RecordVersion, Speaks};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bindings: u32 = match std::env::args().nth(1) {
        Some(number) => number.parse()?,
        None => 1_000_000,
    };
    let mut state = ClusterState::default();
    for n in 0..bindings {
        let key = StickKey {
            group: "mfp".into(),
            client: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)),
        };
        let at = Timestamp(1_800_000_000_000 + u64::from(n));
        let entry = StickEntry {
            server: ServerId(n % 1000),
            host: IpAddr::V4(Ipv4Addr::from_bits(0x0a50_0001 + n % 1000)),
            bound_at: at,
            used_at: at,
            expire: Duration::from_secs(1800),
        };
        state.stick.put(key, entry, bindings);
    }
    let began = Instant::now();
    let written = state.to_write();
    let copied = began.elapsed();
    let at = RecordVersion(1);
    let began = Instant::now();
    let bytes = ha_record::encode(at, &written)?;
    let encoded = began.elapsed();
    let began = Instant::now();
    let back: ClusterState = ha_record::decode(Speaks { min: at, max: at }, &bytes)?;
    let decoded = began.elapsed();
    assert_eq!(
        back.stick.table().len(),
        bindings as usize,
        "all of them are there"
    );
    println!(
        "{bindings} bindings, {} bytes: copied for writing in {copied:?}, encoded in {encoded:?}, decoded in {decoded:?}",
        bytes.len()
    );
    Ok(())
}
