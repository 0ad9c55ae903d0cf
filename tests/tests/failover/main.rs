//! The address moves: its holder fails, the network fails, an operator moves it. The peer goes through the same.

mod both_families;
mod holder;
mod moving;
mod occupied;
mod partition;
mod peer;
mod stall;
