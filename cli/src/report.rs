//! What is printed: plain structs whose field names are the keys of `--output json`.
//!
//! Names of the wire that lack a unit or are numbers for "unknown" keep their meaning here:
//! `*_ms` are milliseconds, instants count from 1970, 0 means never or none.

use serde::Serialize;

/// The whole cluster, as the agent that answered sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct Status {
    pub cluster: String,
    pub version: String,
    pub answered_by: String,
    pub term: u64,
    pub leader: String,
    pub holder: String,
    pub epoch: u64,
    pub holder_since_ms: u64,
    pub holder_reason: String,
    pub lease_left_ms: u64,
    pub fence: String,
    pub config_version: u64,
    pub nodes: Vec<Node>,
    pub servers: Vec<Server>,
    pub virtual_ips: Vec<VirtualIp>,
    pub frontends: Vec<Frontend>,
    pub sessions: u64,
    pub sessions_total: u64,
    pub bindings: u64,
    pub bindings_uncommitted: u64,
    pub warnings: Vec<String>,
}

/// One agent process.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct Node {
    pub id: String,
    pub name: String,
    pub address: String,
    pub role: String,
    pub state: String,
    pub admin: String,
    pub version: String,
    pub voter: bool,
    pub fence: String,
}

/// One server of a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct Server {
    pub backend: String,
    pub server: String,
    pub address: String,
    pub node: String,
    pub status: String,
    pub admin: String,
    pub reason: String,
    pub deadline_ms: u64,
    pub sessions: u64,
    pub sessions_total: u64,
    pub queued: u64,
    pub weight: u32,
    pub backup: bool,
    pub since_ms: u64,
    pub check: String,
    pub id: u32,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub connect_errors: u64,
}

impl Server {
    /// `backend/server`, as targets name it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.backend, self.server)
    }
}

/// An address that moves.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct VirtualIp {
    pub name: String,
    pub address: String,
    pub holder: String,
}

/// Where clients arrive.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct Frontend {
    pub name: String,
    pub virtual_ip: String,
    pub listeners: String,
    pub backend: String,
    pub status: String,
    pub sessions: u64,
    pub sessions_total: u64,
    pub maxconn: u64,
}

/// What `drain`, `ready` and `maintenance` ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateChange {
    /// `NODE`, `BACKEND/SERVER` or `NODE/BACKEND`.
    pub target: String,
    /// `ready`, `drain` or `maint`.
    pub state: String,
    /// From now; 0 = none.
    pub deadline_ms: u64,
    /// `honour` or `move`; empty when it does not matter.
    pub sticky: String,
    /// `maintenance` or `ready` after the drain; empty = stay drained.
    pub then: String,
    /// Why, for those who look later.
    pub reason: String,
    /// Even if it is the last usable server.
    pub force: bool,
    /// The owner of the maintenance lock, when it is this one that asks.
    pub lock: String,
}

/// The result of `apply`, `diff` and `rollback`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Applied {
    /// The version that is in force afterwards.
    pub version: u64,
    /// Whether anything was changed.
    pub applied: bool,
    /// The difference, one change a line.
    pub changes: Vec<String>,
    /// What is wrong with the file; not empty = nothing was changed.
    pub problems: Vec<Problem>,
}

/// One mistake in a configuration file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Problem {
    pub file: String,
    pub line: u32,
    pub key: String,
    pub found: String,
    pub remedy: String,
}

impl std::fmt::Display for Problem {
    /// `file:line: key: found …; remedy`, leaving out what is not known.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line != 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        if !self.found.is_empty() {
            write!(f, ": found {}", self.found)?;
        }
        if !self.remedy.is_empty() {
            write!(
                f,
                "{} {}",
                if self.found.is_empty() { ":" } else { ";" },
                self.remedy
            )?;
        }
        Ok(())
    }
}

/// One version of the cluster's configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct ConfigVersion {
    pub version: u64,
    pub at_ms: u64,
    pub by: String,
    pub summary: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// The result of `move-leader`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Moved {
    pub from: String,
    pub to: String,
    pub took_ms: u64,
}

/// The sessions that match, and how many there are in all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Sessions {
    pub sessions: Vec<Session>,
    pub total: u64,
}

/// One proxied client connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct Session {
    pub id: u64,
    pub client: String,
    pub frontend: String,
    pub port: u32,
    pub backend: String,
    pub server: String,
    pub server_address: String,
    pub age_ms: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// Which server a client comes back to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct Binding {
    pub group: String,
    pub client: String,
    pub server: String,
    pub address: String,
    pub bound_at_ms: u64,
    pub expires_in_ms: u64,
    pub usable: bool,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct Event {
    pub seq: u64,
    pub at_ms: u64,
    pub kind: String,
    pub text: String,
    pub by: String,
}

/// Why a virtual IP is where it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Explanation {
    pub holder: String,
    pub lines: Vec<String>,
}

/// A join token that was just made: the only time that it is seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct NewToken {
    pub token: String,
    pub id: String,
    pub expires_ms: u64,
}

/// A join token as the cluster knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct Token {
    pub id: String,
    pub role: String,
    pub state: String,
    pub made_ms: u64,
    pub expires_ms: u64,
    pub by: String,
    pub used_by: String,
}

/// What an operator is given: goes into a context file, is not printed.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct Papers {
    pub certificate: Vec<u8>,
    pub authorities: Vec<Vec<u8>>,
    pub endpoints: Vec<String>,
    pub cluster: String,
}

/// An operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct User {
    pub name: String,
    pub role: String,
    pub since_ms: u64,
    pub by: String,
}

/// The certificate authorities, and who has not followed the last change.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct Authorities {
    pub authorities: Vec<Authority>,
    pub waiting_for: Vec<String>,
}

/// A certificate authority.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(
    missing_docs,
    reason = "the names are those of control.proto, which explains them"
)]
pub struct Authority {
    pub fingerprint: String,
    pub stage: String,
    pub since_ms: u64,
    pub shown_by: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_file_line_key_and_remedy() {
        let mut problem = Problem {
            file: "cluster.toml".into(),
            line: 12,
            key: "backend.app.check.fall".into(),
            found: "\"three\"".into(),
            remedy: "write a number from 1 to 100".into(),
        };
        let text = "cluster.toml:12: backend.app.check.fall: found \"three\"; write a number from 1 to 100";
        assert_eq!(problem.to_string(), text);
        problem.line = 0;
        problem.found.clear();
        assert_eq!(
            problem.to_string(),
            "cluster.toml: backend.app.check.fall: write a number from 1 to 100"
        );
    }
}
