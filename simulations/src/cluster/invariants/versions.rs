//! No node applies what its program does not know, the active version never falls, and it rises only to what every
//! member has spoken.

use ha_core::id::NodeId;
use ha_core::state::Facts;
use ha_core::version::{RecordVersion, Speaks};
use std::collections::BTreeMap;

/// What was seen of versions.
#[derive(Debug, Default)]
pub struct Versions {
    /// The first and the last entry after which each version was seen to be active.
    active: BTreeMap<RecordVersion, (u64, u64)>,
    /// The newest version that a node ever spoke.
    spoke: BTreeMap<NodeId, RecordVersion>,
}

impl Versions {
    /// The newest that was active anywhere.
    pub fn newest(&self) -> RecordVersion {
        self.active
            .last_key_value()
            .map_or(RecordVersion::default(), |(v, _)| *v)
    }

    /// A program is started as that node.
    pub fn on_started(&mut self, node: NodeId, speaks: Speaks) {
        let spoke = self.spoke.entry(node).or_default();
        *spoke = speaks.max.max(*spoke);
    }

    /// Node `me`, whose program speaks that, has applied up to `index`. Says whether a version was activated.
    pub fn on_applied(
        &mut self,
        me: usize,
        speaks: Speaks,
        index: u64,
        facts: &Facts,
    ) -> Result<bool, String> {
        let now = facts.active_version;
        if now == RecordVersion::default() {
            return Ok(false);
        }
        if !speaks.contains(now) {
            return Err(format!(
                "versions: node-{me} speaks {speaks} and has applied entry {index} of version {now}"
            ));
        }
        let is_later = |(v, (first, last)): (&RecordVersion, &(u64, u64))| {
            (*v > now && *first <= index) || (*v < now && *last >= index)
        };
        if self.active.iter().any(is_later) {
            return Err(format!(
                "versions: version {now} is active on node-{me} after entry {index}; seen before: {:?}",
                self.active
            ));
        }
        let is_new = now > self.newest();
        let silent = |m: &&ha_core::model::Member| self.spoke.get(&m.id).is_none_or(|s| *s < now);
        if is_new && let Some(member) = facts.members.values().find(silent) {
            return Err(format!(
                "versions: version {now} is active, and {} has never spoken it",
                member.name
            ));
        }
        let (first, last) = self.active.entry(now).or_insert((index, index));
        (*first, *last) = (index.min(*first), index.max(*last));
        Ok(is_new && now > RecordVersion(1))
    }

    /// Node `me` goes on no more for want of a version. `noted`: what was about to be applied there.
    pub fn on_halted(
        &self,
        me: usize,
        speaks: Speaks,
        noted: Option<RecordVersion>,
    ) -> Result<(), String> {
        let newest = noted.unwrap_or_default().max(self.newest());
        if speaks.contains(newest) {
            return Err(format!(
                "versions: node-{me} halts, though it speaks {speaks} and no later version than {newest} is active"
            ));
        }
        Ok(())
    }
}
