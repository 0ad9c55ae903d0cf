//! Controllers over an ideal log, in a world of our own making: one seed, one run, every time the same.
//!
//! ```text
//!   seed --> faults (crash, pause, cut, move) --> World: clocks with drift, a lossy network, an ideal log
//!                                                   |
//!                             real Promise + real Controller per node
//!                                                   |
//!                             invariant: at most one node answers, at every instant
//! ```
//!
//! Elections and replication are ideal here (one leader per term, entries commit when a majority is
//! up); the lease protocol, its messages and their timing are the product's own code. Whole clusters
//! with the real consensus come next, behind the same `World` seam.

pub mod invariant;
pub mod node;
pub mod rng;
pub mod world;

use world::{Planted, World};

/// What one run was like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Milliseconds during which exactly one node answered.
    pub held_ms: u64,
    /// Milliseconds in all.
    pub total_ms: u64,
    /// Changes of holder.
    pub changes: u64,
    /// Elections.
    pub elections: u64,
    /// Faults by kind, in the order of [`world::FAULTS`].
    pub faults: [u64; world::FAULTS.len()],
    /// What was violated first, with its time.
    pub violation: Option<String>,
    /// Hash of everything that happened, in order.
    pub trace: u64,
}

/// Runs one seed for `seconds` of simulated time. `story` is told each event.
pub fn run(seed: u64, nodes: u8, seconds: u64, planted: Planted, story: &mut dyn FnMut(u64, &str)) -> Summary {
    World::new(seed, nodes, planted).run(seconds, story)
}

#[cfg(test)]
mod tests;
