//! Somebody who asks whatever node believes that it leads, and takes its answer for what is.
//!
//! A node answers at once when its own rule allows it ([`Controller::is_current`]), as
//! the product's does; what it answers must be what the ideal cluster is at that instant. One that was cut off, paused
//! or replaced may believe that it leads, and must not answer so.

use super::planted::Planted;
use super::scheduler::{self, WORLD};
use super::universe::Universe;
use super::world::node_now;
use ha_core::controller::{Controller, RaftRole};
use std::sync::Arc;

/// Asks every node from time to time until the faults are over.
pub fn start(universe: &Arc<Universe>) {
    let universe = universe.clone();
    scheduler::spawn_on(WORLD, async move {
        while !universe.is_calm() {
            scheduler::world_ms(scheduler::between(20, 200)).await;
            for node in 1..=universe.size() {
                ask(&universe, node);
            }
        }
    });
}

/// On the node itself, so that one that is paused answers when it goes on.
fn ask(universe: &Arc<Universe>, node: usize) {
    let Some(running) = universe.running(node) else {
        return;
    };
    if running.consensus.news().role != RaftRole::Leader {
        return;
    }
    let (whole, consensus) = (universe.clone(), running.consensus);
    let answer = move |c: &Controller| {
        let leads = c.raft().role == RaftRole::Leader;
        let believes = leads && whole.planted == Planted::StaleReads;
        if !believes && !c.is_current(node_now()) {
            return whole.with(|s| s.counts.add("reads that were not answered at once"));
        }
        let facts = consensus.read().facts;
        whole.with(|s| {
            s.counts.add("reads");
            let outcome = s.invariants.ideal.on_read(node, &facts);
            s.check(outcome);
        });
    };
    scheduler::spawn_on(node, async move { running.driver.ask(answer).await });
}
