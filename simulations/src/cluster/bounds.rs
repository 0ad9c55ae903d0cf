//! How soon the address is elsewhere when nothing else is wrong: `docs/design.md`, "Bounds", with the default timing.

use super::plan::Theme;
use super::scheduler::{self, WORLD, world_now};
use super::story;
use super::universe::Universe;
use std::sync::Arc;

/// A handed-over address is answered for elsewhere within so many milliseconds.
pub const MOVED: u64 = 150;
/// The address of a lost leader.
pub const LOST: u64 = 1000;

/// An operator asks that the address be moved away from a node.
pub fn move_asked(universe: &Arc<Universe>, from: usize) {
    universe.with(|s| s.invariants.moves.on_asked(world_now()));
    watch(universe, from, MOVED);
}

/// From now on, in a quiet run, another node must answer within `bound`.
pub fn watch(universe: &Arc<Universe>, from: usize, bound: u64) {
    // Two servers and a witness: the witness may have to lead first.
    if universe.theme != Theme::Quiet || universe.servers() < 3 || universe.holder() != Some(from) {
        return;
    }
    let universe = universe.clone();
    scheduler::spawn_on(WORLD, async move {
        let began = world_now();
        let passed = || (world_now() - began) / 1_000_000;
        while universe.holder().is_none_or(|holder| holder == from) {
            if passed() > bound {
                universe.with(|s| s.check(Err(format!("within bounds: {bound} ms after node-{from} was to give the address up, nobody else has it"))));
                return;
            }
            scheduler::world_ms(1).await;
        }
        story::note(&format!("elsewhere after {} ms", passed()));
        universe.with(|s| s.counts.add("takeovers within bounds"));
    });
}
