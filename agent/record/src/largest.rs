//! What is written is read again, also the largest that a configuration allows.

use crate::{ENTRY_MAX, RECORD_MAX, RecordError, decode, encode};
use ha_core::id::ServerId;
use ha_core::model::BINDINGS_MOST;
use ha_core::state::{ClusterState, ConfigVersion, Facts, HISTORY_MAX};
use ha_core::stick::{StickEntry, StickKey};
use ha_core::time::Timestamp;
use ha_core::version::CURRENT;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// Every number in its longest form, a name of the longest that is allowed.
fn longest(bindings: u32) -> impl Iterator<Item = (StickKey, StickEntry)> {
    let group: Arc<str> = "g".repeat(63).into();
    (0..bindings).map(move |n| {
        let key = StickKey {
            group: group.clone(),
            client: IpAddr::V6(Ipv6Addr::from(u128::MAX - u128::from(n))),
        };
        let entry = StickEntry {
            server: ServerId(u32::MAX),
            host: IpAddr::V6(Ipv6Addr::from(u128::MAX)),
            bound_at: Timestamp(u64::MAX >> 1),
            used_at: Timestamp(u64::MAX >> 1),
            expire: Duration::new(1 << 33, 999_999_999),
        };
        (key, entry)
    })
}

/// As many configurations as are kept, each as large as one entry of the log may be.
fn largest(bindings: u32) -> ClusterState {
    let version = ConfigVersion {
        version: 1,
        at: Timestamp(1),
        by: String::new(),
        text: "t".repeat(ENTRY_MAX),
        config: Arc::default(),
    };
    ClusterState {
        facts: Arc::new(Facts {
            history: Arc::new(vec![version; HISTORY_MAX].into()),
            ..Facts::default()
        }),
        stick: longest(bindings).collect(),
        ..ClusterState::default()
    }
}

/// All bindings here have the same number of bytes, so a few say how many the others have.
#[test]
fn the_largest_state_that_a_configuration_allows_is_written_and_read_again() {
    const FEW: u32 = 1 << 16;
    let size = |bindings| encode(CURRENT.max, &largest(bindings)).unwrap();
    let (few, twice) = (size(FEW), size(2 * FEW));
    let each = (twice.len() - few.len()).div_ceil(FEW as usize);
    let all = few.len() + each * (BINDINGS_MOST - FEW) as usize;
    assert!(all <= RECORD_MAX, "{all}: {each} bytes for each binding");
    let read: ClusterState = decode(CURRENT, &few).unwrap();
    assert_eq!(read, largest(FEW));
}

#[test]
fn what_would_not_be_read_is_not_written() {
    let entry = |bytes: usize| {
        let mut facts = Facts::default();
        let version = ConfigVersion {
            version: 1,
            at: Timestamp(1),
            by: String::new(),
            text: "t".repeat(bytes),
            config: Arc::default(),
        };
        facts.history = Arc::new(vec![version].into());
        facts
    };
    let size = |facts: &Facts| encode(CURRENT.max, facts).map(|bytes| bytes.len());
    let room = RECORD_MAX - size(&entry(1 << 20)).unwrap() + (1 << 20);
    assert_eq!(size(&entry(room)), Ok(RECORD_MAX));
    let over = RecordError::TooLarge(RECORD_MAX + 1);
    assert_eq!(size(&entry(room + 1)), Err(over.clone()));
    let read = decode::<Facts>(CURRENT, &vec![1; RECORD_MAX + 1]);
    assert_eq!(read.unwrap_err(), over);
}
