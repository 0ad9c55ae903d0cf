//! What a log says, read without taking part in anything: for who looks before a start, and for who goes on alone.

use ha_core::id::NodeId;
use ha_core::state::ClusterState;
use ha_core::time::Timestamp;
use ha_core::version::CURRENT;
use ha_node::log_store::{LogStore, Meta};
use ha_record::decode;
use ha_record::entry::{Entry, Payload};
use ha_record::membership::Membership;
use ha_record::snapshot::Header;
use ha_record::vote::LogId;
use std::collections::BTreeSet;
use std::io;

/// Entries that are read at once.
const AT_ONCE: u64 = 256;

/// A log with its snapshot, applied to its end.
#[derive(Debug, Default)]
pub struct OnDisk {
    /// Everything in the log applied: also its end, of which this node does not know whether the others have it. Whatever
    /// this node has acknowledged, or was told is acknowledged, is in it.
    pub state: ClusterState,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SledStore;
    use ha_core::command::{Command, Stamped};
    use ha_core::model::Timing;
    use ha_core::version::RecordVersion;
    use ha_node::log_store::{Batch, StoredSnapshot};
    use ha_record::encode;
    use ha_record::membership::Decided;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::mpsc;

    const V: RecordVersion = CURRENT.min;

    fn note(n: u64) -> Stamped {
        Stamped {
            request: None,
            at: Timestamp(n),
            by: "alice".into(),
            command: Command::Note {
                kind: "test".into(),
                text: format!("note {n}"),
            },
        }
    }

    fn entry(index: u64, payload: Payload) -> (u64, Vec<u8>) {
        let id = LogId { term: 3, index };
        let version = V;
        let entry = Entry {
            version,
            id,
            payload,
        };
        (index, encode(V, &entry).unwrap())
    }

    fn put(store: &SledStore, put: Vec<(u64, Vec<u8>)>) {
        let (done, waiting) = mpsc::channel();
        let tell = Box::new(move |r| drop(done.send(r)));
        let batch = Batch {
            put,
            ..Batch::default()
        };
        store.write(batch, Some(tell)).unwrap();
        waiting.recv().unwrap().unwrap();
    }

    /// With a snapshot whose end lies within the log that is left, as after a cut that keeps some entries.
    #[test]
    fn a_snapshot_and_the_entries_after_it_are_read_to_their_end_and_a_gap_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = SledStore::create(dir.path(), NodeId::from_random(1)).unwrap();
        let empty = OnDisk::read(&store).unwrap();
        assert_eq!(
            (empty.last, empty.end().as_str()),
            (None, "the log is empty")
        );

        let mut state = ClusterState::default();
        let found = Command::Found {
            cluster_id: NodeId::from_random(9),
            timing: Timing::Lan,
            version: V,
        };
        let mut commands = vec![Stamped {
            request: None,
            at: Timestamp(1),
            by: String::new(),
            command: found,
        }];
        commands.extend((2..=400).map(note));
        let voters = |n: u128| Membership {
            voters: vec![BTreeSet::from([NodeId::from_random(n)])],
            nodes: BTreeMap::new(),
        };
        let entries: Vec<_> = commands
            .iter()
            .zip(1..)
            .map(|(c, index)| entry(index, Payload::Command(Arc::new(c.clone()))))
            .collect();
        for c in &commands[..100] {
            state.apply(c).unwrap();
        }
        let header = Header {
            last: Some(LogId {
                term: 3,
                index: 100,
            }),
            membership: Decided {
                at: None,
                membership: voters(1),
            },
        };
        let snapshot = StoredSnapshot {
            header: encode(V, &header).unwrap(),
            data: encode(V, &state).unwrap(),
        };
        let (done, waiting) = mpsc::channel();
        store.save_snapshot(snapshot, Box::new(move |r| drop(done.send(r))));
        waiting.recv().unwrap().unwrap();
        put(&store, entries[80..].to_vec());
        for c in &commands[100..] {
            state.apply(c).unwrap();
        }
        let read = OnDisk::read(&store).unwrap();
        assert_eq!(read.state, state);
        assert_eq!(read.voters(), BTreeSet::from([NodeId::from_random(1)]));
        assert_eq!(
            read.last,
            Some(LogId {
                term: 3,
                index: 400
            })
        );
        assert_eq!(read.last_at, Timestamp(400));
        put(
            &store,
            vec![
                entry(401, Payload::Membership(voters(2))),
                entry(402, Payload::Blank),
            ],
        );
        let read = OnDisk::read(&store).unwrap();
        assert_eq!(read.voters(), BTreeSet::from([NodeId::from_random(2)]));
        assert!(
            read.end()
                .starts_with("the log ends at index 402 (term 3), time 1970"),
            "{}",
            read.end()
        );
        put(&store, vec![entry(404, Payload::Blank)]);
        let gap = OnDisk::read(&store).unwrap_err();
        assert!(gap.to_string().contains("are missing"), "{gap}");
    }
}
