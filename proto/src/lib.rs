//! Generated messages and services. `consensus` is spoken between nodes, `control` by operators.
#![allow(missing_docs, clippy::all)]

/// Node to node: opaque bodies, so that only `ha-agent` knows how they are encoded.
pub mod consensus {
    tonic::include_proto!("ha.consensus.v1");
}

/// Operator to node: typed, stable, what `ha-cli` speaks.
pub mod control {
    tonic::include_proto!("ha.control.v1");
}
