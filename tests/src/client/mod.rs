//! Clients that measure: [`GapClient`] keeps making new connections and knows
//! how long it was without service, [`Session`] is one connection that is kept,
//! [`many`] is thousands of clients with an address each.

mod attempt;
mod gap;
pub mod many;
mod session;

pub use attempt::{Attempt, Outcome};
pub use gap::{Gap, GapClient, History, Pace};
pub use session::Session;
