//! What a log says, read without taking part in anything: for who looks before a start, and for who goes on alone.

use ha_core::id::NodeId;
use ha_core::state::ClusterState;
use ha_core::time::Timestamp;
use ha_core::version::CURRENT;
use ha_node::consensus::log_store::{LogStore, Meta};
use ha_record::decode;
use ha_record::entry::{Entry, Payload};
use ha_record::membership::Membership;
use ha_record::snapshot::Header;
use ha_record::vote::LogId;
use std::collections::BTreeSet;
use std::io;

/// Entries that are read at once.
const AT_ONCE: u64 = 256;

/// See the module.
#[derive(Debug, Default)]
pub struct OnDisk {
    /// Everything in the log applied: also its end, of which this node does not know whether the others have it. Whatever
    /// this node has acknowledged, or was told is acknowledged, is in it.
    pub state: ClusterState,
    /// The newest entry.
    pub last: Option<LogId>,
    /// When its newest command was proposed.
    pub last_at: Timestamp,
    /// Up to where a majority has it for certain; may lag.
    pub committed: Option<LogId>,
    /// Who votes, as the newest entry about it says.
    pub membership: Membership,
}

impl OnDisk {
    /// Reads all of it.
    ///
    /// # Errors
    /// What cannot be read, is of a newer version, or is not whole.
    pub fn read(store: &dyn LogStore) -> io::Result<OnDisk> {
        let mut found = OnDisk::default();
        if let Some(stored) = store.load_snapshot()? {
            let header: Header = decode(CURRENT, &stored.header)?;
            found.state = decode(CURRENT, &stored.data)?;
            (found.last, found.membership) = (header.last, header.membership.membership);
            found.last_at = found.state.clock;
        }
        let end = match store.last()? {
            Some(bytes) => decode::<Entry>(CURRENT, &bytes)?.id.index + 1,
            None => 0,
        };
        let mut next = found.last.map_or(0, |l| l.index + 1);
        while next < end {
            let until = end.min(next + AT_ONCE);
            let read = store.read(next..until)?;
            if read.len() as u64 != until - next {
                let what = format!("entries of the log between {next} and {until} are missing");
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            for bytes in &read {
                found.take(&decode(CURRENT, bytes)?);
            }
            next = until;
        }
        found.committed = match store.meta(Meta::Committed)? {
            Some(bytes) => decode(CURRENT, &bytes)?,
            None => None,
        };
        Ok(found)
    }

    fn take(&mut self, entry: &Entry) {
        self.last = Some(entry.id);
        match &entry.payload {
            Payload::Blank => {}
            // What was refused then is refused again.
            Payload::Command(stamped) => {
                drop(self.state.apply(stamped));
                self.last_at = stamped.at;
            }
            Payload::Membership(membership) => self.membership = membership.clone(),
        }
    }

    /// Whoever votes, in either half of a joint membership.
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.membership.voters.iter().flatten().copied().collect()
    }

    /// Where the log ends, in words.
    pub fn end(&self) -> String {
        let committed = self.committed.map_or(0, |l| l.index);
        match self.last {
            None => "the log is empty".to_owned(),
            Some(last) => format!(
                "the log ends at index {} (term {}), time {}; a majority is known to have it up to index {committed}",
                last.index, last.term, self.last_at
            ),
        }
    }
}
