//! The address moves: its holder fails, the network fails, an operator moves it; it stays in a flood. The peer goes through the same.

mod both_families;
mod flood;
mod holder;
mod inside;
mod last_of_three;
mod moving;
mod occupied;
mod partition;
mod peer;
mod stall;
