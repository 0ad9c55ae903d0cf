//! The address moves: its holder fails, the network fails, an operator moves it. The peer goes through the same.

mod holder;
mod moving;
mod partition;
mod peer;
