//! The peer protocol over TLS: where channels and servers are made.

pub mod channels;
pub mod kept;
