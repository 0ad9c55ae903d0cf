//! Generated messages and services. `consensus` is spoken between nodes, `control` by operators.
#![allow(
    missing_docs,
    clippy::all,
    reason = "generated: the .proto files explain the names"
)]

/// Node to node: opaque bodies, so that only `ha-agent` knows how they are encoded.
pub mod consensus {
    tonic::include_proto!("ha.consensus.v1");
}

/// Operator to node: typed, stable, what `ha-cli` speaks.
///
/// Each message has a JSON form whose keys are its field names. `*_ms` are milliseconds, instants count from
/// 1970, and 0 or an empty text means never or none. What opens a cluster has no JSON form.
pub mod control {
    tonic::include_proto!("ha.control.v1");

    impl ServerStatus {
        /// `BACKEND/SERVER`, as targets name it.
        pub fn path(&self) -> String {
            format!("{}/{}", self.backend, self.server)
        }
    }
}
