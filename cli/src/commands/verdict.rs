//! Whether all is well: what `status --check` tells monitoring. Pure.

use std::fmt;

use ha_proto::control::StatusReply;

use crate::exit::Exit;

/// The judgement and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) exit: Exit,
    pub(super) findings: Vec<String>,
}

impl Verdict {
    /// No service is worse than a blind agent, and that is worse than anything else: what a cut-off agent shows may
    /// be old.
    pub(super) fn of(status: &StatusReply) -> Verdict {
        if !status.cut_off.is_empty() {
            return Verdict {
                exit: Exit::NoMajority,
                findings: vec![status.cut_off.clone()],
            };
        }
        let no_service = not_served(status);
        if !no_service.is_empty() {
            return Verdict {
                exit: Exit::NoService,
                findings: no_service,
            };
        }
        let findings = degraded(status);
        let exit = if findings.is_empty() {
            Exit::Done
        } else {
            Exit::Degraded
        };
        Verdict { exit, findings }
    }

    pub(super) const fn word(&self) -> &'static str {
        match self.exit {
            Exit::Done => "ok",
            Exit::Degraded => "degraded",
            Exit::NoService => "no service",
            _ => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word().to_uppercase())?;
        if self.findings.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.findings.join("; "))
    }
}

/// Where clients get nothing.
fn not_served(status: &StatusReply) -> Vec<String> {
    if status.holder.is_empty() && !status.virtual_ips.is_empty() {
        return vec!["nobody holds the virtual IPs".to_owned()];
    }
    let stopped = status.frontends.iter();
    stopped
        .filter(|f| f.status == "STOP" || f.status == "NO SERVER")
        .map(|f| format!("frontend {} is {}", f.name, f.status))
        .collect()
}

/// What somebody should look at. What an operator wants to be out is not among it.
fn degraded(status: &StatusReply) -> Vec<String> {
    let nodes = status.nodes.iter();
    let away = nodes
        .filter(|n| !["leader", "follower", "learner"].contains(&n.state.as_str()))
        .map(|n| format!("node {} is {}", n.name, n.state));
    let servers = status.servers.iter();
    let down = servers
        .filter(|s| s.status.starts_with("DOWN"))
        .map(|s| format!("server {} is {}", s.path(), s.status));
    let frontends = status.frontends.iter();
    let full = frontends
        .filter(|f| f.status == "FULL")
        .map(|f| format!("frontend {} is FULL", f.name));
    away.chain(down)
        .chain(full)
        .chain(status.warnings.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use ha_proto::control::{FrontendStatus, NodeStatus, ServerStatus, VirtualIpStatus};

    use super::*;

    fn well() -> StatusReply {
        StatusReply {
            holder: "node-1".into(),
            nodes: vec![NodeStatus {
                name: "node-1".into(),
                state: "leader".into(),
                ..NodeStatus::default()
            }],
            servers: vec![ServerStatus {
                backend: "app".into(),
                server: "a".into(),
                status: "UP".into(),
                ..ServerStatus::default()
            }],
            virtual_ips: vec![VirtualIpStatus::default()],
            frontends: vec![FrontendStatus {
                name: "web".into(),
                status: "OPEN".into(),
                ..FrontendStatus::default()
            }],
            ..StatusReply::default()
        }
    }

    #[test]
    fn monitoring_hears_how_bad_it_is() {
        type Change = fn(&mut StatusReply);
        let rows: [(Change, u8, &str); 9] = [
            (|_| {}, 0, "OK"),
            (|s| s.servers[0].status = "MAINT".into(), 0, "OK"),
            (
                |s| s.servers[0].status = "DOWN 1/2".into(),
                1,
                "DEGRADED: server app/a is DOWN 1/2",
            ),
            (
                |s| s.nodes[0].state = "unreachable".into(),
                1,
                "DEGRADED: node node-1 is unreachable",
            ),
            (
                |s| s.warnings.push("two voters".into()),
                1,
                "DEGRADED: two voters",
            ),
            (
                |s| s.frontends[0].status = "FULL".into(),
                1,
                "DEGRADED: frontend web is FULL",
            ),
            (
                |s| s.frontends[0].status = "NO SERVER".into(),
                2,
                "NO SERVICE: frontend web is NO SERVER",
            ),
            (
                |s| s.holder.clear(),
                2,
                "NO SERVICE: nobody holds the virtual IPs",
            ),
            (
                |s| s.cut_off = "node-1 hears no leader".into(),
                9,
                "UNKNOWN: node-1 hears no leader",
            ),
        ];
        for (change, code, line) in rows {
            let mut status = well();
            change(&mut status);
            let verdict = Verdict::of(&status);
            assert_eq!(
                (verdict.exit.code(), verdict.to_string().as_str()),
                (code, line)
            );
        }
    }
}
