//! Every sample of a record comes back from the library's types as it went there.

use super::*;
use crate::consensus::types;
use ha_core::version::CURRENT;
use ha_record::{decode, decode_message};
use openraft_rt_tokio::TokioRuntime;
use std::fmt::Debug;

type T = types::Types<TokioRuntime>;

fn both_ways<M: Recorded>(record: &str) -> usize
where
    M::Record: PartialEq + Debug,
{
    let samples = ha_record::samples::all(CURRENT.max).unwrap();
    let of_that = samples.iter().filter(|s| s.record == record);
    of_that
        .map(|sample| {
            let read = || {
                if sample.is_message {
                    decode_message::<M::Record>(CURRENT, &sample.bytes).unwrap()
                } else {
                    decode::<M::Record>(CURRENT, &sample.bytes).unwrap()
                }
            };
            let there = M::from_record(read()).unwrap();
            assert_eq!(
                there.to_record(CURRENT.max),
                read(),
                "{record} {}",
                sample.name
            );
        })
        .count()
}

#[test]
fn records_survive_the_library() {
    let entries = both_ways::<types::Entry<TokioRuntime>>("entry");
    assert!(entries > 20, "each command: {entries}");
    for many in [
        both_ways::<Vote>("vote"),
        both_ways::<Option<LogId>>("log-id"),
        both_ways::<SnapshotMeta>("snapshot-header"),
        both_ways::<AppendEntriesResponse<T>>("append-answer"),
        both_ways::<VoteRequest<T>>("vote-request"),
        both_ways::<VoteResponse<T>>("vote-answer"),
        both_ways::<TransferLeaderRequest<T>>("transfer"),
        both_ways::<TransferLeaderResponse<T>>("transfer-answer"),
        both_ways::<(Vote, SnapshotMeta, Vec<u8>)>("snapshot-message"),
        both_ways::<SnapshotResponse<T>>("snapshot-answer"),
        both_ways::<AppendEntriesRequest<T>>("append"),
    ] {
        assert!(many > 0);
    }
}

#[test]
fn a_membership_whose_voters_have_no_address_is_refused() {
    let record = membership::Membership {
        voters: vec![[NodeId::from_random(1)].into()],
        nodes: Default::default(),
    };
    assert!(members_of(record).is_err());
    let empty = membership::Membership {
        voters: vec![Default::default()],
        nodes: Default::default(),
    };
    assert!(members_of(empty).is_err());
}
