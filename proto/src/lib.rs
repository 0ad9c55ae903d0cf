//! Generated messages and services. `consensus` is spoken between nodes, `control` by operators.

#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    clippy::all,
    reason = "generated: the .proto files explain the names"
)]

/// The header in which an agent that refuses says what the caller may do about it.
pub const HINT: &str = "ha-hint";
/// In [`HINT`]: nothing was done, and asking again in a moment helps.
pub const AGAIN: &str = "again";
/// In [`HINT`]: nothing was done, there is no majority and has been none for longer than an election takes.
pub const CUT_OFF: &str = "cut-off";
/// In [`HINT`]: nothing was done; it is when the caller says `yes`.
pub const CONFIRM: &str = "confirm";

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

#[cfg(test)]
mod tests {
    use super::control::*;

    #[test]
    fn what_opens_a_cluster_has_no_json_form() {
        let form = serde_json::to_string(&(
            JoinRequest::default(),
            JoinReply::default(),
            RenewReply::default(),
            BackupReply::default(),
        ))
        .expect("plain fields");
        assert!(form.contains("cluster_id"), "{form}");
        for key in [
            "token",
            "request",
            "certificate",
            "authorities",
            "seal",
            "content",
        ] {
            assert!(!form.contains(key), "{key}: {form}");
        }
    }
}
