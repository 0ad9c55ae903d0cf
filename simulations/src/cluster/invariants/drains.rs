//! A drain keeps the sessions that are there, and ends them by its deadline. That of the holder does not move the
//! address either: a move would end the sessions on all servers.

use super::ideal::Ideal;
use ha_core::id::NodeId;
use ha_core::model::AdminState;
use ha_core::time::Timestamp;
use ha_core::view::Cut;

/// Wall clocks are so far apart, in milliseconds.
const SKEW: u64 = 100;
/// A drain that has a moment without a session ends; one that comes just then is cut with it. This is how long the
/// log may take to have that end, in milliseconds: on a slow disk, and in a run without other trouble.
const YOUNG: (u64, u64) = (10_000, 800);
/// In a run without other trouble no session outlives its drain's deadline for longer, in milliseconds.
const LATE: u64 = 3_000;

/// A handover begins within so long after an operator asked for it, in world time.
const ASKED_WITHIN: u64 = 2_000_000_000;

/// When an operator last asked that the address be moved, in world time.
#[derive(Debug, Default)]
pub struct Moves {
    asked: Option<u64>,
}

impl Moves {
    /// An operator asks for it.
    pub fn on_asked(&mut self, now: u64) {
        self.asked = Some(now);
    }

    /// The holder `me` begins to hand over, in a run without other trouble.
    ///
    /// # Errors
    /// It is only drained, and nobody asked for the move.
    pub fn on_handover(
        &self,
        ideal: &Ideal,
        me: usize,
        node: NodeId,
        now: u64,
    ) -> Result<(), String> {
        let asked = self.asked.is_some_and(|at| now <= at + ASKED_WITHIN);
        let only_drained = ideal.orders_about(node).all(|order| {
            order.state == AdminState::Drain && order.then != Some(AdminState::Maintenance)
        });
        if asked || !only_drained || ideal.orders_about(node).next().is_none() {
            return Ok(());
        }
        Err(format!(
            "drain: node-{me} gives the address up because it is drained, with the sessions on all servers: {:?}",
            ideal.orders_about(node).collect::<Vec<_>>()
        ))
    }
}

/// A session to a server of `node` that has been there for `age` milliseconds is cut, at `wall`. `calm`: nothing else
/// is wrong in this run.
///
/// # Errors
/// Nobody wants that.
pub fn on_cut(
    ideal: &Ideal,
    node: NodeId,
    cut: Cut,
    age: u64,
    wall: Timestamp,
    calm: bool,
) -> Result<(), String> {
    let passed = |deadline: Option<Timestamp>| deadline.is_some_and(|d| d.0 <= wall.0 + SKEW);
    if cut == Cut::Down {
        // That is no drain's doing.
        return Ok(());
    }
    let young = age < if calm { YOUNG.1 } else { YOUNG.0 };
    let wanted = ideal
        .orders_about(node)
        .any(|order| match (order.state, cut) {
            (AdminState::Maintenance, Cut::Maintenance) => true,
            (AdminState::Drain, Cut::Maintenance) => {
                order.then == Some(AdminState::Maintenance) && (passed(order.deadline) || young)
            }
            (AdminState::Drain, Cut::Drained) => {
                passed(order.deadline) || (order.deadline.is_some() && young)
            }
            _ => false,
        });
    if wanted {
        return Ok(());
    }
    Err(format!(
        "drain: a session of {age} ms is cut ({cut:?}), which nobody wants: {:?}",
        ideal.orders_about(node).collect::<Vec<_>>()
    ))
}

/// A session to a server of `node` goes on, at `wall` and world time `now`, where the holder has held throughout.
///
/// # Errors
/// It is long past the deadline of its drain.
pub fn on_going_on(ideal: &Ideal, node: NodeId, wall: Timestamp, now: u64) -> Result<(), String> {
    let Some((order, since)) = ideal
        .order_about(node)
        .filter(|(order, _)| order.state == AdminState::Drain)
    else {
        return Ok(());
    };
    let late =
        order.deadline.is_some_and(|d| wall.0 > d.0 + LATE) && now > since + LATE * 1_000_000;
    if late {
        Err(format!(
            "drain: a session goes on {LATE} ms after the deadline {:?}",
            order.deadline
        ))
    } else {
        Ok(())
    }
}
