//! Whether this machine can do what an agent needs, looked at without changing anything.
//!
//! ```text
//!   preflight, init, join, start --> Inspection --> each of CHECKS --> Finding: what was found, what would help
//! ```
//!
//! A check that fails stops `init` and `join`; at a start it is written to the log, because a node that
//! limps is better than one that is away.

mod machine;
mod member;
mod network;

use crate::config::AgentConfig;
use ha_core::model::{ClusterConfig, VirtualIp};
use ha_core::trust::Digest;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// How it is with one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Not looked at, and why.
    Skipped,
    /// As it should be.
    Ok,
    /// It will work, less well.
    Warning,
    /// It will not work.
    Failed,
}

impl Verdict {
    /// The word in tables.
    pub const fn word(self) -> &'static str {
        match self {
            Verdict::Skipped => "skip",
            Verdict::Ok => "ok",
            Verdict::Warning => "WARN",
            Verdict::Failed => "FAIL",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// What would help; empty when nothing needs to.
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<4}  {:<10}  {}",
            self.verdict.word(),
            self.check,
            self.found
        )?;
        if self.remedy.is_empty() {
            Ok(())
        } else {
            write!(f, "\n{:18}{}", "", self.remedy)
        }
    }
}

/// What a check says: the rest of its [`Finding`].
struct Said(Verdict, String, String);

impl Said {
    fn skipped(why: &str) -> Said {
        Said(Verdict::Skipped, why.to_owned(), String::new())
    }
    fn ok(found: impl Into<String>) -> Said {
        Said(Verdict::Ok, found.into(), String::new())
    }
    fn warning(found: impl Into<String>, remedy: impl Into<String>) -> Said {
        Said(Verdict::Warning, found.into(), remedy.into())
    }
    fn failed(found: impl Into<String>, remedy: impl Into<String>) -> Said {
        Said(Verdict::Failed, found.into(), remedy.into())
    }
}

/// Why what concerns the virtual IP is skipped on some nodes.
const NOT_HERE: &str = "this node holds no address in the kernel";

/// Why it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// By hand; the agent of this node may be running.
    Asked,
    /// Before a cluster is founded.
    Founding,
    /// Before this node asks to be let in.
    Joining,
    /// Before the agent starts: only what may have changed since.
    Starting,
}

/// What is looked at.
pub struct Inspection<'a> {
    pub config: &'a AgentConfig,
    /// The configuration of the cluster, as far as it is known.
    pub cluster: Option<&'a ClusterConfig>,
    /// How long a voter stays promised, as far as it is known.
    pub promise: Option<Duration>,
    /// `HOST:PORT` of a member to be asked.
    pub member: Option<&'a str>,
    /// The authority that the member must show; `None`: whoever answers will do.
    pub authority: Option<Digest>,
    pub moment: Moment,
}

impl Inspection<'_> {
    /// Those of the cluster, as far as they are known.
    pub fn virtual_ips(&self) -> &[VirtualIp] {
        self.cluster.map_or(&[], |c| &c.virtual_ips)
    }

    /// How bad it is that the one who asks may not do something: who asks by hand need not be who runs the agent.
    fn denied(&self) -> Verdict {
        if self.moment == Moment::Asked {
            Verdict::Warning
        } else {
            Verdict::Failed
        }
    }
}

type Check = (&'static str, fn(&Inspection) -> Said);

/// What is looked at on this machine, in the order in which it is told. What needs others is in [`member`].
const CHECKS: [Check; 11] = [
    ("kernel", machine::kernel),
    ("privileges", machine::privileges),
    ("files", machine::files),
    ("clock", machine::clock),
    ("disk", machine::disk),
    ("listen", machine::listen),
    ("proxy port", network::proxy_port),
    ("interface", network::interface),
    ("nftables", network::rules),
    ("addresses", network::addresses),
    ("firewall", network::firewall),
];

/// Looks at everything. Takes about a second on this machine, a slow disk's flushes more; a member that does not
/// answer is waited for, 3 s by hand and as long as `join` waits before that.
pub async fn look(subject: &Inspection<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = CHECKS
        .iter()
        .map(|(check, look)| finding(check, look(subject)))
        .collect();
    findings.extend(look_at_member(subject).await);
    findings
}

/// What concerns others: round-trip, clocks, versions and the way back, at the member that is named, if one is.
pub async fn look_at_member(subject: &Inspection<'_>) -> Vec<Finding> {
    member::look(subject)
        .await
        .into_iter()
        .map(|(check, said)| finding(check, said))
        .collect()
}

fn finding(check: &'static str, Said(verdict, found, remedy): Said) -> Finding {
    Finding {
        check,
        verdict,
        found,
        remedy,
    }
}

/// How many of them failed.
pub fn failed(findings: &[Finding]) -> usize {
    findings
        .iter()
        .filter(|f| f.verdict == Verdict::Failed)
        .count()
}
