//! One member that is not what it should be: it says whatever can be said in the protocols between peers, plausible
//! and not, about terms, entries, itself and others, now and then very fast.
//!
//! It is the last node, and a witness: it never holds. What it cannot help hearing the product's node there answers,
//! with lies in between; of its own will that node says nothing.
//!
//! Left out is what any voter can do for good, whatever the others check (`docs/security.md`, "Ways in"): promise
//! itself to two leaders or vote twice, which is a second holder's quorum; acknowledge what it has not written; and,
//! once the others take it for their leader, write the log. It does claim to lead, and so stops the address.

mod words;

use super::lies::set;
use super::network::{self, Sender};
use super::plan::Theme;
use super::scheduler::{self, WORLD, between, happens};
use super::story;
use super::universe::Universe;
use ha_node::outside::Addressee;
use std::sync::Arc;

/// Messages in a burst.
const FLOOD: u64 = 200;

/// What it is up to for a second or three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// It waits: the cluster has a leader and a holder again.
    Silent,
    /// It says that others' holds are over, and its own.
    Releases,
    /// It asks for votes, out of turn and for terms far away.
    Votes,
    /// It says what cannot be, about anything.
    Nonsense,
    /// It claims to lead, and asks for promises.
    Claims,
}

const MOODS: [Mood; 6] = [
    Mood::Silent,
    Mood::Releases,
    Mood::Releases,
    Mood::Votes,
    Mood::Nonsense,
    Mood::Claims,
];

/// Begins, in runs that are about it.
pub fn start(universe: &Arc<Universe>) {
    let node = universe.size();
    if universe.theme != Theme::Evil || node < 3 {
        return;
    }
    let (universe, id) = (universe.clone(), universe.id_of(node));
    set(&universe, Some(id));
    scheduler::spawn_on(WORLD, async move {
        while !universe.is_calm() && universe.id_of(node) == id {
            let mood = MOODS[scheduler::below(MOODS.len() as u64) as usize];
            story::note(&format!("node-{node} is evil: {mood:?}"));
            let until = scheduler::world_now() + between(500, 3000) * 1_000_000;
            while scheduler::world_now() < until && !universe.is_calm() {
                let often = if mood == Mood::Releases { 150 } else { 20 };
                let many = if happens(often) { FLOOD } else { 1 };
                let alive = universe.with(|s| s.nodes[node].powered) && universe.id_of(node) == id;
                for _ in 0..if alive { many } else { 0 } {
                    say_something(&universe, Sender { node, id }, mood);
                }
                scheduler::world_ms(between(2, 60)).await;
            }
        }
        set(&universe, None);
        story::note(&format!("node-{node} is evil no more"));
    });
}

fn say_something(universe: &Arc<Universe>, me: Sender, mood: Mood) {
    // It would free itself, too: what its own node has promised is in its way.
    let others = universe.size() as u64 - u64::from(mood != Mood::Releases);
    let to = 1 + scheduler::below(others) as usize;
    let Some(target) = universe.running(to) else {
        return;
    };
    // Who was removed is not let in.
    if !target.consensus.read().facts.members.contains_key(&me.id) {
        return;
    }
    let Some((call, body)) = words::message(mood, me.id, &target) else {
        return;
    };
    let to = Addressee {
        node: universe.id_of(to),
        at: Universe::listen_of(to).to_string(),
    };
    universe.with(|s| s.counts.add("evil words"));
    network::say(universe.clone(), me, to, call, body);
}
