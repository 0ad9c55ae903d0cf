//! Bugs that are planted on the wire and before the driver's inbox: seams that only the simulation has.

use super::planted::Planted;
use super::runtime::NodeRuntime;
use super::scheduler;
use super::universe::Universe;
use ha_core::command::{Command, Stamped};
use ha_core::controller::Event;
use ha_core::lease::{Lease, Refusal};
use ha_core::state::ClusterState;
use ha_core::stick::StickIndex;
use ha_core::time::{Instant, Timestamp};
use ha_node::consensus::LeaseReply;
use ha_node::consensus::codec::{decode, encode};
use ha_node::consensus::types::{SnapshotMeta, Types, Vote};
use ha_node::outside::Call;
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

type SimTypes = Types<NodeRuntime>;

/// Reads what the product wrote: its own codec on both sides.
fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    decode(body).ok()
}

fn written<T: Serialize>(value: &T, otherwise: &[u8]) -> Vec<u8> {
    encode(value).unwrap_or_else(|_| otherwise.to_vec())
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
        (Planted::HealthForgotten, Call::AppendEntries) => with_commands(body, |stamped| {
            if let Command::Health(changes) = &mut stamped.command {
                changes.clear();
            }
        }),
        _ => None,
    };
    tampered.unwrap_or_else(|| body.to_vec())
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
    let (Some(lease), Some(mut reply)) = (read::<Lease>(body), read::<LeaseReply>(&answer)) else {
        return answer;
    };
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
    let Some(request) = read::<VoteRequest<SimTypes>>(body) else {
        return;
    };
    universe.with(|s| {
        s.nodes[node].pre_voted = s.nodes[node].pre_voted.max(request.vote.leader_id.term)
    });
}

fn without_bindings(body: &[u8]) -> Option<Vec<u8>> {
    let (vote, meta, data): (Vote<NodeRuntime>, SnapshotMeta<NodeRuntime>, Vec<u8>) = read(body)?;
    let state = ClusterState {
        stick: StickIndex::default(),
        ..read(&data)?
    };
    Some(written(&(vote, meta, written(&state, &data)), body))
}

/// The entries that a leader sends, each changed.
fn with_commands(body: &[u8], change: impl Fn(&mut Stamped)) -> Option<Vec<u8>> {
    let mut request: AppendEntriesRequest<SimTypes> = read(body)?;
    for entry in &mut request.entries {
        if let EntryPayload::Normal(stamped) = &mut entry.payload {
            change(stamped);
        }
    }
    Some(written(&request, body))
}

/// What reaches node `me`'s driver, changed or lost on the way.
pub fn inbox(universe: Arc<Universe>, me: usize) -> impl FnMut(Event) -> Option<Event> + Send {
    move |event| {
        let planted = universe.planted;
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
