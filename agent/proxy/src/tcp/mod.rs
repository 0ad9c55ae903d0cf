//! TCP: taking connections, finding a server for each, and carrying the bytes.

pub(crate) mod accept;
pub(crate) mod carry;
mod connect;
pub(crate) mod listen;
mod reach;
mod session;
