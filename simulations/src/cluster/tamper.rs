//! Bugs that are planted on the wire and before the driver's inbox: seams that only the simulation has.

use super::planted::Planted;
use super::scheduler;
use super::universe::Universe;
use super::upgrade::NEW;
use ha_core::command::{Command, Stamped};
use ha_core::controller::{Event, RaftNews};
use ha_core::id::NodeId;
use ha_core::lease::{Lease, Refusal, VoterSets};
use ha_core::state::ClusterState;
use ha_core::stick::StickIndex;
use ha_core::time::{Instant, Timestamp};
use ha_core::version::RecordVersion;
use ha_node::outside::Call;
use ha_record::entry::{Entry, Payload};
use ha_record::lease::LeaseAnswer;
use ha_record::peer::{Append, Snapshot, VoteRequest};
use ha_record::{
    Record, decode, decode_message, encode, encode_message, sender_speaks, version_of,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Reads what the product wrote: its own records on both sides.
fn read<T: Record>(body: &[u8]) -> Option<T> {
    decode_message(NEW, body).ok()
}

/// Writes a message again as it was written, changed.
fn written<T: Record>(message: &T, as_was: &[u8]) -> Vec<u8> {
    let (Some(at), Some(speaks)) = (version_of(as_was), sender_speaks(as_was)) else {
        return as_was.to_vec();
    };
    encode_message(at, speaks, message).unwrap_or_else(|_| as_was.to_vec())
}

/// A message leaves a node.
pub async fn on_the_way(universe: &Universe, from: usize, call: Call, body: &[u8]) {
    match (universe.planted, call) {
        (Planted::TransferBeforeRelease, Call::Release) => {
            tokio::time::sleep(Duration::from_secs(1)).await
        }
        (Planted::PreVoteWrittenDown, Call::PreVote) => write_down(universe, from, body),
        _ => {}
    }
}

/// What node `to` is asked.
pub fn asked(planted: Planted, to: usize, call: Call, body: &[u8]) -> Vec<u8> {
    let tampered = match (planted, call) {
        (Planted::SnapshotWithoutBindings, Call::InstallSnapshot) => without_bindings(body),
        (Planted::OwnClock, Call::AppendEntries) => with_commands(body, |stamped| {
            stamped.at = Timestamp(stamped.at.0 + to as u64)
        }),
        (Planted::WritesAtNewest, Call::AppendEntries) => {
            let newest = sender_speaks(body).map_or(RecordVersion(1), |s| s.max);
            with_entries(body, |entry| entry.version = newest)
        }
        (Planted::HealthForgotten, Call::AppendEntries) => with_commands(body, |stamped| {
            if let Command::Health(changes) = &mut stamped.command {
                changes.clear();
            }
        }),
        _ => None,
    };
    tampered.unwrap_or_else(|| body.to_vec())
}

/// As whom the sender of something is heard by a node that is promised to `promised`.
pub fn heard_as(planted: Planted, call: Call, from: NodeId, promised: Option<NodeId>) -> NodeId {
    match (planted, call) {
        (Planted::ReleasesFromAnyone, Call::Release) => promised.unwrap_or(from),
        _ => from,
    }
}

/// What node `to` answers to `body`.
pub fn answered(
    universe: &Universe,
    to: usize,
    call: Call,
    body: &[u8],
    answer: Vec<u8>,
) -> Vec<u8> {
    if (universe.planted, call) == (Planted::PreVoteWrittenDown, Call::PreVote) {
        write_down(universe, to, body);
    }
    if call != Call::Lease {
        return answer;
    }
    let (Some(lease), Some(mut reply)) = (read::<Lease>(body), read::<LeaseAnswer>(&answer)) else {
        return answer;
    };
    if universe.planted == Planted::SpeaksForOthers {
        (reply.report.speaks, reply.report.agent_version) = (NEW, "0.2".to_owned());
    }
    reply.result = match (universe.planted, reply.result) {
        (Planted::PromisesToTwo, Err(Refusal::Promised(_) | Refusal::LaterTerm(_)))
        | (Planted::IgnoresLaterTerm, Err(Refusal::LaterTerm(_))) => Ok(()),
        (Planted::PreVoteWrittenDown, Ok(())) => {
            let known = universe.with(|s| s.nodes[to].pre_voted);
            if known > lease.term {
                Err(Refusal::LaterTerm(known))
            } else {
                Ok(())
            }
        }
        (_, result) => result,
    };
    written(&reply, &answer)
}

fn write_down(universe: &Universe, node: usize, body: &[u8]) {
    let Some(request) = read::<VoteRequest>(body) else {
        return;
    };
    universe.with(|s| s.nodes[node].pre_voted = s.nodes[node].pre_voted.max(request.vote.term));
}

fn without_bindings(body: &[u8]) -> Option<Vec<u8>> {
    let message: Snapshot = read(body)?;
    let state = ClusterState {
        stick: StickIndex::default(),
        ..decode(NEW, &message.state).ok()?
    };
    let message = Snapshot {
        state: encode(version_of(&message.state)?, &state).ok()?,
        ..message
    };
    Some(written(&message, body))
}

/// The entries that a leader sends, each changed.
fn with_entries(body: &[u8], change: impl Fn(&mut Entry)) -> Option<Vec<u8>> {
    let mut request: Append = read(body)?;
    request.entries.iter_mut().for_each(change);
    Some(written(&request, body))
}

/// The commands that a leader sends, each changed.
fn with_commands(body: &[u8], change: impl Fn(&mut Stamped)) -> Option<Vec<u8>> {
    with_entries(body, |entry| {
        if let Payload::Command(stamped) = &mut entry.payload {
            change(Arc::make_mut(stamped));
        }
    })
}

/// What reaches node `me`'s driver, changed or lost on the way.
pub fn inbox(universe: Arc<Universe>, me: usize) -> impl FnMut(Event) -> Option<Event> + Send {
    let mut memberships = Vec::new();
    move |event| {
        let planted = universe.planted;
        let event = match event {
            Event::Raft(news) if planted == Planted::StaleMembership => {
                Event::Raft(with_old_voters(me, news, &mut memberships))
            }
            other => other,
        };
        // These never are: only the newest of them counts, or who tells waits.
        let kept = matches!(
            event,
            Event::Raft(_) | Event::Dropped { .. } | Event::MoveLeader { .. }
        );
        let lost = !kept && universe.with(|s| s.nodes[me].inbox_full);
        if lost {
            None
        } else {
            changed(planted, me, event)
        }
    }
}

/// The voters are those of more than a second ago, or the first that were seen.
fn with_old_voters(me: usize, mut news: RaftNews, seen: &mut Vec<(u64, VoterSets)>) -> RaftNews {
    let now = scheduler::clock_of(me);
    seen.push((now, news.voters.clone()));
    let old = seen.iter().rposition(|(at, _)| at + 1_000_000_000 < now);
    seen.drain(..old.unwrap_or(0));
    if let Some((_, voters)) = seen.first() {
        news.voters = voters.clone();
    }
    news
}

fn changed(planted: Planted, me: usize, event: Event) -> Option<Event> {
    Some(match (planted, event) {
        (
            Planted::CountedFromArrival,
            Event::LeaseAnswered {
                from,
                lease,
                result,
                report,
            },
        ) => {
            let lease = Lease {
                sent: Instant(scheduler::clock_of(me)),
                ..lease
            };
            Event::LeaseAnswered {
                from,
                lease,
                result,
                report,
            }
        }
        (Planted::HalfOfJoint, Event::Raft(mut news)) => {
            if news.voters.len() == 2 {
                news.voters.remove(0);
            }
            Event::Raft(news)
        }
        (Planted::SessionsNotCounted, Event::Sessions(_)) => Event::Sessions(BTreeMap::new()),
        (Planted::DrainsNeverEnd, Event::Sessions(_)) => return None,
        (_, event) => event,
    })
}
