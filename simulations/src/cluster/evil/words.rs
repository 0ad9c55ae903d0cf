//! What an evil member says of its own will.

use super::super::lies::{index, said, term};
use super::super::scheduler::{self, between, draw, happens};
use super::super::universe::Running;
use super::super::upgrade::OLD;
use super::Mood;
use ha_core::id::NodeId;
use ha_core::lease::Lease;
use ha_core::time::Instant;
use ha_core::version::RecordVersion;
use ha_node::outside::Call;
use ha_record::entry::{Entry, Payload};
use ha_record::peer::{Append, Snapshot, Transfer, VoteRequest};
use ha_record::snapshot::Header;
use ha_record::vote::{LogId, Vote};

fn instant() -> Instant {
    Instant(match scheduler::below(3) {
        0 => u64::MAX,
        1 => draw(),
        _ => scheduler::clock_of(1 + scheduler::below(3) as usize),
    })
}

/// Something for that mood.
pub(super) fn message(mood: Mood, me: NodeId, target: &Running) -> Option<(Call, Vec<u8>)> {
    let known = target.consensus.news().term;
    let last = target.consensus.read().applied_index;
    let own = |term, committed| Vote {
        term,
        node: me,
        committed,
    };
    match mood {
        Mood::Silent => None,
        Mood::Releases => {
            let lease = Lease {
                term: if happens(700) { known } else { term(known) },
                sent: instant(),
            };
            let call = if happens(850) {
                Call::Release
            } else {
                Call::Lease
            };
            Some((call, said(&lease)?))
        }
        Mood::Votes => {
            let transfer = happens(500);
            let request = VoteRequest {
                vote: own(term(known), happens(200)),
                last: happens(800).then(|| LogId {
                    term: term(known),
                    index: index(last),
                }),
                transfer,
            };
            let call = if happens(300) {
                Call::PreVote
            } else {
                Call::Vote
            };
            Some((call, said(&request)?))
        }
        Mood::Claims => Some(claim(me, known)?),
        Mood::Nonsense => nonsense(me, target, known, last),
    }
}

/// It says that it leads, without an entry: others follow it, and nobody holds as long as they do.
fn claim(me: NodeId, known: u64) -> Option<(Call, Vec<u8>)> {
    let vote = Vote {
        term: known + scheduler::below(3),
        node: me,
        committed: happens(900),
    };
    let lease = Lease {
        term: vote.term,
        sent: instant(),
    };
    Some(match scheduler::below(4) {
        0 => (Call::Lease, said(&lease)?),
        1 => (Call::Release, said(&lease)?),
        2 => {
            let to = NodeId::from_random(u128::from(draw()));
            let (from, last) = (vote, None);
            (Call::TransferLeader, said(&Transfer { from, to, last })?)
        }
        _ => {
            let heartbeat = Append {
                vote,
                previous: None,
                // Further than anybody's log: no disk keeps that.
                committed: happens(300).then(|| LogId {
                    term: scheduler::below(4),
                    index: 1 << between(20, 60),
                }),
                entries: Vec::new(),
            };
            (Call::AppendEntries, said(&heartbeat)?)
        }
    })
}

/// What is refused whoever says it: by leaders of the past and the far future, for others, with gaps, of versions that
/// nobody speaks, or no message at all.
fn nonsense(me: NodeId, target: &Running, known: u64, last: u64) -> Option<(Call, Vec<u8>)> {
    // Whom it takes for its leader, that one a node does stop for.
    let settled = target
        .consensus
        .news()
        .leader
        .is_some_and(|leader| leader != me);
    let past = Vote {
        term: known.saturating_sub(between(1, 4)),
        node: me,
        committed: true,
    };
    if past.term == known {
        return None;
    }
    let far = Vote {
        term: u64::MAX,
        ..past
    };
    let other = Vote {
        term: known + scheduler::below(3),
        node: target.consensus.promised_to().filter(|id| *id != me)?,
        committed: true,
    };
    let (vote, is_refused) = match scheduler::below(4) {
        0 => (far, true),
        1 => (other, true),
        2 => (past, true),
        _ => (
            Vote {
                term: known + 1,
                ..past
            },
            false,
        ),
    };
    let previous = happens(700).then(|| LogId {
        term: past.term,
        index: index(last),
    });
    let first = previous.map_or(0, |p| p.index.saturating_add(1));
    let entry = |version, index| Entry {
        version,
        id: LogId {
            term: vote.term,
            index,
        },
        payload: Payload::Blank,
    };
    let call = [
        Call::AppendEntries,
        Call::InstallSnapshot,
        Call::TransferLeader,
        Call::Vote,
        Call::Lease,
        Call::Release,
        Call::PreVote,
    ][scheduler::below(7) as usize];
    if happens(150) {
        let noise = (0..scheduler::below(200)).map(|_| draw() as u8).collect();
        return Some((call, noise));
    }
    let body = match call {
        Call::AppendEntries => {
            let entries = if is_refused {
                // Also of a version that nobody speaks: nobody stops for it.
                let version = if happens(500) || !settled {
                    OLD.max
                } else {
                    RecordVersion(99)
                };
                vec![
                    entry(version, first),
                    entry(OLD.max, first.saturating_add(1)),
                ]
            } else {
                // A gap.
                vec![entry(OLD.max, first.saturating_add(between(1, 9)))]
            };
            said(&Append {
                vote,
                previous,
                committed: previous,
                entries,
            })?
        }
        Call::InstallSnapshot => {
            let vote = if is_refused { vote } else { far };
            let header = Header {
                last: previous,
                ..Header::default()
            };
            let state = (0..scheduler::below(4000)).map(|_| draw() as u8).collect();
            said(&Snapshot {
                vote,
                header,
                state,
            })?
        }
        Call::TransferLeader => said(&Transfer {
            from: vote,
            to: target.consensus.me(),
            last: previous,
        })?,
        Call::Vote | Call::PreVote => said(&VoteRequest {
            vote,
            last: previous,
            transfer: true,
        })?,
        Call::Lease | Call::Release => said(&Lease {
            term: vote.term,
            sent: instant(),
        })?,
    };
    // Cut short, now and then.
    let keep = if happens(100) {
        scheduler::below(body.len() as u64) as usize
    } else {
        body.len()
    };
    Some((call, body[..keep].to_vec()))
}
