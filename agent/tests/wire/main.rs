//! The peer protocol over real sockets: deadlines, a peer that comes and goes, a connection that swallows
//! everything, snapshots larger than any message; and whole nodes over it, whose other threads are occupied.

#![allow(
    clippy::disallowed_methods,
    reason = "tests over real sockets, in real time"
)]

mod cable;
mod calls;
mod diffs;
mod evil;
mod lab;
mod meeting;
mod nodes;
mod threads;
mod ways_in;
