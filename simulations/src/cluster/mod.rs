//! Whole clusters of the real `Driver`, `Controller` and `consensus` in a world of our own making.
//!
//! ```text
//!   seed --> plan of faults --+                    +--> invariants (one file each)
//!                             v                    |
//!   clients, operators --> Universe: network, disks, clocks, segment, servers
//!                             ^ Clock, Tasks, Peers, ...
//!              Driver + Controller + consensus + binder of each node (the product's own)
//! ```
//!
//! One run, one thread, tokio's paused clock; every task belongs to a node (`scheduler`). First the
//! cluster is founded and the others join, then faults, then a time without, in which all must be well
//! again. The same seed gives the same story, word for word.

pub mod agent;
pub mod bounds;
mod configuration;
pub mod counts;
pub mod disk;
pub mod evil;
pub mod faults;
pub mod invariants;
pub mod kinds;
mod lies;
pub mod machine;
pub mod membership;
pub mod network;
pub mod operator;
pub mod plan;
pub mod planted;
mod reader;
pub mod runtime;
pub mod scheduler;
pub mod segment;
pub mod sessions;
pub mod slots;
pub mod state;
pub mod story;
pub mod tamper;
pub mod traffic;
pub mod universe;
pub mod upgrade;
pub mod watch;
mod way;
pub mod world;

use counts::Counts;
use ha_core::balance::mix;
use ha_core::id::NodeId;
use ha_core::lease::VoterSets;
use ha_core::model::Role;
use plan::{Fault, Theme};
use planted::Planted;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};
use universe::Universe;

/// The sizes that a sweep takes in turn; the second is two servers and a witness.
pub const SIZES: [(usize, bool); 5] = [(3, false), (3, true), (1, false), (5, false), (7, false)];
/// Within this time after the faults one node holds and every client is served, in milliseconds.
const WELL_WITHIN: u64 = 15_000;
/// Clocks are wrong by up to so many millionths: ten times what a bad quartz has.
const DRIFT_PPM: i64 = 10_000;
/// Joining takes much longer than it should.
const JOINED_WITHIN: u64 = 60_000;

/// What a run is made of: the same again is the same story.
#[derive(Clone, Debug)]
pub struct Run {
    /// Everything follows from it.
    pub seed: u64,
    pub nodes: usize,
    /// The last of them is a witness.
    pub witness: bool,
    /// How long there are faults, in milliseconds.
    pub length: u64,
    /// What it dwells on.
    pub theme: Theme,
    /// A bug that is put in.
    pub planted: Planted,
    /// These faults instead of drawn ones.
    pub faults: Option<Vec<Fault>>,
    pub aloud: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was violated first.
    pub violation: Option<String>,
    /// Hash and length of the story.
    pub story: (u64, u64),
    /// What happened how often.
    pub counts: Counts,
    /// Simulated milliseconds in all.
    pub simulated: u64,
    /// The faults of the run.
    pub faults: Vec<Fault>,
}

impl Run {
    /// Of a seed, with the size and the theme that a sweep gives it.
    pub fn of(seed: u64, length: u64) -> Run {
        let (nodes, witness) = SIZES[(seed % SIZES.len() as u64) as usize];
        Run {
            seed,
            nodes,
            witness,
            length,
            theme: Theme::of(seed),
            planted: Planted::Nothing,
            faults: None,
            aloud: false,
        }
    }

    /// What a node is for: the last may be a witness, and is one where it is evil.
    fn role_of(&self, node: usize) -> Role {
        let is_evil = self.theme == Theme::Evil && self.nodes > 2;
        if node == self.nodes && (self.witness || is_evil) {
            Role::Witness
        } else {
            Role::Server
        }
    }

    fn faults(&self) -> Vec<Fault> {
        self.faults
            .clone()
            .unwrap_or_else(|| plan::draw(self.seed, self.nodes, self.length, self.theme))
    }
}

/// Runs it, on a thread of its own: nothing of another run is there.
pub fn run(run: Run) -> Outcome {
    let name = format!("seed {}", run.seed);
    let panicked = |run: &Run| Outcome {
        violation: Some("it panicked; see above".to_owned()),
        faults: run.faults(),
        ..Outcome::default()
    };
    let (for_thread, again) = (run.clone(), run);
    match std::thread::Builder::new()
        .name(name)
        .spawn(move || on_this_thread(&for_thread))
    {
        Ok(thread) => thread.join().unwrap_or_else(|_| panicked(&again)),
        Err(error) => Outcome {
            violation: Some(format!("no thread: {error}")),
            ..Outcome::default()
        },
    }
}

fn on_this_thread(run: &Run) -> Outcome {
    story::begin(run.aloud);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return Outcome {
                violation: Some(format!("no runtime: {error}")),
                ..Outcome::default()
            };
        }
    };
    let faults = run.faults();
    tracing::subscriber::with_default(story::Log, || {
        runtime.block_on(async {
            let drift = |node: usize| {
                let drawn = mix(run.seed ^ mix(node as u64 + 77));
                match run.planted {
                    // A lease is a fifth shorter than a promise: this is far beyond.
                    Planted::DriftBeyondMargin => {
                        if drawn & 1 == 0 {
                            -300_000
                        } else {
                            300_000
                        }
                    }
                    _ => (drawn % (2 * DRIFT_PPM as u64 + 1)) as i64 - DRIFT_PPM,
                }
            };
            scheduler::begin(run.seed, &(1..=run.nodes).map(drift).collect::<Vec<_>>());
            let universe = Universe::new(run);
            let found = tokio::time::timeout(
                std::time::Duration::from_millis(JOINED_WITHIN),
                agent::found(&universe),
            )
            .await;
            match found {
                Ok(Ok(())) => live(&universe, &faults).await,
                Ok(Err(why)) => {
                    universe.with(|s| s.check(Err(format!("liveness: not founded: {why}"))))
                }
                Err(_) => universe.with(|s| {
                    s.check(Err(format!(
                        "liveness: the nodes have not joined within {JOINED_WITHIN} ms"
                    )))
                }),
            }
            let (violation, counts) = universe.with(|s| {
                for node in &s.nodes {
                    s.counts
                        .add_many("log truncations", node.disk.truncations());
                }
                (s.violation.clone(), s.counts.clone())
            });
            universe.end();
            Outcome {
                violation,
                story: story::hash(),
                counts,
                simulated: scheduler::world_now() / 1_000_000,
                faults: faults.clone(),
            }
        })
    })
}

async fn live(universe: &Arc<Universe>, faults: &[Fault]) {
    story::note("the cluster is complete");
    let served = traffic::start(universe);
    if universe.theme != Theme::Quiet {
        operator::start(universe);
        reader::start(universe);
    }
    evil::start(universe);
    if universe.theme == Theme::Upgrading {
        upgrade::look_after(universe);
        #[cfg(feature = "next")]
        upgrade::rehearse(universe);
    }
    let watching = watch_for_errors(universe.clone());
    let acting = async {
        faults::carry_out(universe, faults).await;
        recover(universe, &served).await;
    };
    tokio::select! {
        biased;
        () = watching => {}
        () = acting => {}
    }
}

/// Returns at the first violation.
async fn watch_for_errors(universe: Arc<Universe>) {
    let (mut term, mut membership) = (0, None);
    loop {
        scheduler::world_ms(20).await;
        if let Some(error) = story::errors().into_iter().next() {
            universe.with(|s| s.check(Err(format!("ERROR was logged: {error}"))));
        }
        if let Some((at, leader)) = universe.leader() {
            let news = leader.consensus.news();
            if news.term > term {
                term = news.term;
                universe.with(|s| s.counts.add("elections"));
            }
            let now = (news.voters, news.learners);
            if membership.as_ref() != Some(&now) {
                story::note(&format!("node-{at}: {}", words_for(&universe, &now)));
                membership = Some(now);
            }
        }
        look_at_slots(&universe);
        if universe.with(|s| s.violation.is_some()) {
            return;
        }
    }
}

/// Whether somebody waits for what is free.
fn look_at_slots(universe: &Universe) {
    if universe.slots_each == 0 {
        return;
    }
    for node in 1..=universe.size() {
        let Some(running) = universe.running(node) else {
            continue;
        };
        let (process, pools) = (running.slots.process(), running.slots.pools());
        let (now, still) = (scheduler::world_now(), scheduler::is_paused(node));
        universe.with(|s| {
            let outcome = s.invariants.slots.on_look(process, now, still, &pools);
            s.check(outcome);
        });
    }
}

/// Who votes and who learns, by number.
fn words_for(universe: &Universe, (voters, learners): &(VoterSets, BTreeSet<NodeId>)) -> String {
    let numbers = |set: &BTreeSet<NodeId>| {
        let known = (1..=universe.size())
            .filter(|n| set.contains(&universe.id_of(*n)))
            .map(|n| n.to_string());
        known.collect::<Vec<_>>().join(" ")
    };
    let voters: Vec<String> = voters.iter().map(numbers).collect();
    format!(
        "voters {}; learners {}",
        voters.join(" and "),
        numbers(learners)
    )
}

/// Without faults all must be well within a bound.
async fn recover(universe: &Arc<Universe>, served: &traffic::Served) {
    let began = scheduler::world_now();
    let mut ready = false;
    loop {
        scheduler::world_ms(250).await;
        let holder = universe.holder();
        if holder.is_some() && !ready {
            // Who holds again may not write yet: after a loss of its quorum the library waits a moment.
            ready = operator::make_ready(universe).await;
        }
        let since = began + 1_000_000;
        let missing = {
            let served = served.lock().unwrap_or_else(PoisonError::into_inner);
            served.iter().position(|at| *at < since)
        };
        let trouble = match (holder, missing) {
            (None, _) => "nobody holds".to_owned(),
            (_, Some(client)) => format!("client {client} was not served"),
            (Some(_), None) => match behind(universe).or(silent(universe).await) {
                Some(node) => {
                    format!("node-{node} is behind, does not vote or does not promise itself")
                }
                None => {
                    universe.with(|s| s.counts.add("recoveries"));
                    return story::note("all is well");
                }
            },
        };
        if scheduler::world_now() > began + WELL_WITHIN * 1_000_000 {
            return universe.with(|s| {
                s.check(Err(format!(
                    "liveness: {trouble} {WELL_WITHIN} ms after the last fault"
                )))
            });
        }
    }
}

/// A node that has not caught up with the leader.
fn behind(universe: &Universe) -> Option<usize> {
    let Some((_, leader)) = universe.leader() else {
        return Some(0);
    };
    let (news, applied) = (
        leader.consensus.news(),
        leader.consensus.read().applied_index,
    );
    (1..=universe.size()).find(|n| {
        let id = universe.id_of(*n);
        let takes_part = news.voters.iter().all(|set| {
            set.contains(&id)
                || (set.len() >= universe.voters_max() && news.matched.contains_key(&id))
        });
        !takes_part
            || universe
                .running(*n)
                .is_none_or(|r| r.consensus.read().applied_index + 200 < applied)
    })
}

/// A voter that does not promise itself to who leads.
async fn silent(universe: &Universe) -> Option<usize> {
    let (at, leader) = universe.leader()?;
    let asked = scheduler::spawn_on(at, async move {
        leader
            .driver
            .ask(ha_core::controller::Controller::unreachable)
            .await
    });
    let unreachable = asked.await.ok().flatten()?;
    (1..=universe.size()).find(|n| unreachable.contains(&universe.id_of(*n)))
}

#[cfg(test)]
mod tests;
