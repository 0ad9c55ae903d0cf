//! The active version, and what is known of the agents of members.

use super::Facts;
use crate::command::{Answer, Outcome, Rejection};
use crate::events::What;
use crate::id::NodeId;
use crate::model::Member;
use crate::time::Timestamp;
use crate::version::{RecordVersion, Speaks};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Facts {
    /// Raises the active version, if every member speaks the new one: learners, witnesses and dead ones too.
    pub(super) fn activate(&mut self, version: RecordVersion, at: Timestamp, by: &str) -> Answer {
        if version <= self.active_version {
            return Err(Rejection::VersionNotHigher {
                version,
                active: self.active_version,
            });
        }
        if let Some(m) = self.members.values().find(|m| !m.speaks.contains(version)) {
            return Err(Rejection::VersionNotSpoken {
                version,
                node: m.name.clone(),
            });
        }
        let before = self.active_version;
        self.active_version = version;
        self.event(at, What::VersionActivated { version, before }, by);
        Ok(Outcome::Done)
    }

    /// What an agent says of itself after it was replaced by another version.
    pub(super) fn describe_member(
        &mut self,
        node: NodeId,
        agent_version: &str,
        speaks: Speaks,
        checks: &BTreeSet<String>,
        at: Timestamp,
    ) -> Answer {
        let Some(known) = self.members.get(&node) else {
            return Err(Rejection::NodeUnknown(node.to_string()));
        };
        let described = Member {
            version: agent_version.to_owned(),
            speaks,
            checks: checks.clone(),
            ..known.clone()
        };
        if *known == described {
            return Ok(Outcome::Done);
        }
        self.check_speaks(&described)?;
        let what = What::MemberDescribed {
            node: described.name.clone(),
            agent_version: agent_version.to_owned(),
            before: known.version.clone(),
            speaks,
        };
        self.event(at, what, "");
        Arc::make_mut(&mut self.members).insert(node, described);
        Ok(Outcome::Done)
    }

    /// Keeps a text, and tells it with the one before it.
    #[cfg(feature = "next")]
    pub(super) fn rehearse(&mut self, text: &str, at: Timestamp, by: &str) -> Outcome {
        let before = std::mem::replace(&mut self.rehearsal, text.to_owned());
        let (kind, text) = ("rehearsal".to_owned(), format!("{text} ({before} before)"));
        self.event(at, What::Note { kind, text }, by);
        Outcome::Done
    }

    /// Whether a node reads and writes what this cluster writes. One that is not founded writes nothing yet.
    pub(super) fn check_speaks(&self, member: &Member) -> Result<(), Rejection> {
        let needed = self.active_version;
        if needed == RecordVersion::default() || member.speaks.contains(needed) {
            return Ok(());
        }
        Err(Rejection::VersionUnsuitable {
            node: member.name.clone(),
            speaks: member.speaks,
            needed,
        })
    }
}
