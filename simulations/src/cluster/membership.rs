//! Members come and go while all that happens: a node replaced under its name, voters that shrink to one.

use super::agent;
use super::invariants::ideal::{RegisterKey, Value};
use super::machine::Running;
use super::operator::within_patience;
use super::scheduler::{self, world_now};
use super::story;
use super::universe::Universe;
use ha_core::command::Command;
use ha_core::id::NodeId;
use std::sync::Arc;

/// A replacement that cannot be made within this time, in milliseconds, is not made.
const REMOVED_WITHIN: u64 = 6000;

/// The machine of `node` is gone; after `lasts` milliseconds another takes its name.
pub async fn replace(universe: &Arc<Universe>, node: usize, lasts: u64) {
    if universe.size() < 3 || !universe.is_started(node) {
        return;
    }
    let old = universe.id_of(node);
    universe.lose_power(node);
    scheduler::world_ms(lasts).await;
    let began = world_now();
    while !is_removed(universe, old) {
        if world_now() > began + REMOVED_WITHIN * 1_000_000 {
            // It was only away, then; if it is half removed it is let in again.
            story::note(&format!("node-{node} could not be removed and comes back"));
            agent::start(universe, node, false);
            return agent::join_when_running(universe, node).await;
        }
        remove(universe, node, old).await;
        scheduler::world_ms(50).await;
    }
    // Something else may have started the old machine meanwhile.
    universe.lose_power(node);
    universe.replace(node);
    universe.with(|s| s.counts.add("nodes replaced"));
    agent::start(universe, node, false);
    agent::join_when_running(universe, node).await;
}

/// Whether who leads neither counts nor knows it.
fn is_removed(universe: &Universe, id: NodeId) -> bool {
    universe.leader().is_some_and(|(_, leader)| {
        let (news, facts) = (leader.consensus.news(), leader.consensus.read().facts);
        let counted = news.votes(id) || news.learners.contains(&id);
        !counted && !facts.members.contains_key(&id)
    })
}

async fn remove(universe: &Arc<Universe>, node: usize, old: NodeId) {
    let Some((at, leader)) = universe.leader() else {
        return;
    };
    // Its successor is refused as long as it is in: a name is there once.
    let early = agent::member_as(universe, node, universe.next_id_of(node));
    let whole = universe.clone();
    let asked = scheduler::spawn_on(at, async move {
        if leader.consensus.read().facts.members.contains_key(&old) {
            let answer = leader
                .consensus
                .propose(agent::stamped(&leader, Command::AddMember(early)))
                .await;
            if let Ok(Ok(_)) = answer
                && leader.consensus.read().facts.members.contains_key(&old)
            {
                whole.with(|s| s.check(Err(format!("unique: node-{node} is in twice"))));
            }
        }
        leader.consensus.remove(old).await.ok();
        if !leader.consensus.news().votes(old) {
            whole
                .told(
                    RegisterKey::Member(old),
                    Value::Is(false),
                    &leader,
                    Command::RemoveMember(old),
                )
                .await;
        }
    });
    within_patience(asked).await;
}

/// Takes the voters out until `keep` is the only one, one after the other or all at once, and lets them in again
/// after `lasts` milliseconds.
pub async fn shrink(universe: &Arc<Universe>, keep: usize, lasts: u64) {
    let keep_id = universe.id_of(keep);
    let Some((at, leader)) = universe.leader().filter(|_| universe.size() >= 2) else {
        return;
    };
    universe.with(|s| s.counts.add("memberships shrunk"));
    let at_once = lasts.is_multiple_of(2);
    let asked = scheduler::spawn_on(at, async move {
        if at_once {
            leader.consensus.change_voters([keep_id].into()).await.ok();
        } else {
            shrink_at(&leader, keep_id).await;
        }
    });
    within_patience(asked).await;
    scheduler::world_ms(lasts).await;
    for node in 1..=universe.size() {
        agent::join_when_running(universe, node).await;
    }
}

/// As seen from one leader, itself last.
async fn shrink_at(leader: &Running, keep: NodeId) {
    let me = leader.consensus.me();
    let voters: Vec<NodeId> = leader
        .consensus
        .news()
        .voters
        .into_iter()
        .flatten()
        .filter(|n| *n != keep && *n != me)
        .collect();
    for voter in voters.into_iter().chain((me != keep).then_some(me)) {
        if leader.consensus.remove(voter).await.is_err() {
            return;
        }
    }
}
