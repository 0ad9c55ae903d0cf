//! What one member says that is not what it should be: it is not believed, and the address stays where it is.

use std::time::Duration;

use ha_agent::sys::boot_now;
use ha_agent::wire::channels::PeerChannels;
use ha_core::lease::Lease;
use ha_core::time::Instant;
use ha_core::version::CURRENT;
use ha_node::outside::{Addressee, Call};
use ha_record::entry::{Entry, Payload};
use ha_record::peer::{Append, Transfer, VoteRequest};
use ha_record::vote::{LogId, Vote};
use ha_record::{Record, encode_message};

use crate::lab::{Cluster, WITHIN, id};
use crate::nodes::{Running, cluster, holder};
use crate::threads::kept_throughout;

/// Rounds of everything, to every node.
const ROUNDS: usize = 20;

fn said<T: Record>(message: &T) -> Vec<u8> {
    encode_message(CURRENT.max, CURRENT, message).expect("it can be said")
}

/// Numbers after which there are none, words for others, and entries that leave a gap. `me`: who says it.
fn words(me: u128, leader: u128, term: u64) -> Vec<(Call, Vec<u8>)> {
    let last = Lease {
        term: u64::MAX,
        sent: Instant(u64::MAX),
    };
    let vote = |term, node| Vote {
        term,
        node: id(node),
        committed: true,
    };
    let append = |vote, index| Append {
        vote,
        previous: Some(LogId { term: 1, index: 1 }),
        committed: Some(LogId { term: 1, index }),
        entries: vec![Entry {
            version: CURRENT.max,
            id: LogId { term: 1, index },
            payload: Payload::Blank,
        }],
    };
    let asks = |vote, index| VoteRequest {
        vote,
        last: Some(LogId { term, index }),
        transfer: true,
    };
    let far = vote(u64::MAX, me);
    vec![
        (Call::Release, said(&last)),
        (Call::Release, said(&Lease { term, ..last })),
        (Call::Lease, said(&last)),
        (
            Call::Lease,
            said(&Lease {
                term: term + 1,
                ..last
            }),
        ),
        (Call::AppendEntries, said(&append(far, 2))),
        (Call::AppendEntries, said(&append(vote(term, leader), 2))),
        (Call::AppendEntries, said(&append(vote(term, me), u64::MAX))),
        (Call::Vote, said(&asks(far, 2))),
        (Call::PreVote, said(&asks(vote(term + 1, me), u64::MAX))),
        (
            Call::TransferLeader,
            said(&Transfer {
                from: vote(term, leader),
                to: id(me),
                last: None,
            }),
        ),
    ]
}

#[test]
fn a_member_that_says_what_cannot_be_neither_stops_the_service_nor_moves_it() {
    let nodes = cluster(&Cluster::new());
    let holds = holder(&nodes).expect("one holds");
    let evil = (holds + 1) % nodes.len();
    let (me, leader) = (evil as u128 + 1, holds as u128 + 1);
    let term = nodes[holds].node.consensus.news().term;
    let from = boot_now();
    let threads = ha_agent::threads::control().expect("threads");
    threads.block_on(async {
        let peers = PeerChannels::new(id(me), nodes[evil].trust.clone());
        for _ in 0..ROUNDS {
            for (n, node) in nodes.iter().enumerate() {
                for (call, body) in words(me, leader, term) {
                    let to = Addressee {
                        node: id(n as u128 + 1),
                        at: node.at.to_string(),
                    };
                    peers.call(to, call, body, WITHIN).await.ok();
                }
            }
        }
    });
    // What was spoiled would show within a lease.
    std::thread::sleep(Duration::from_secs(1));
    let to = boot_now();
    for Running { node, .. } in &nodes {
        assert_eq!(node.consensus.news().term, term, "nobody was deposed");
    }
    kept_throughout(&nodes[holds].addresses.since(from), from, to);
}
