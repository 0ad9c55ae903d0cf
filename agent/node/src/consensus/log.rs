//! Gives the consensus library its log: entries to records, callbacks to futures.

use super::convert::Recorded;
use super::types::{Entry, LogId, Runtime, Types, Vote};
use super::versions::Versions;
use crate::log_store::{Batch, LogStore, Meta};
use ha_record::RecordError;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// The log of one node.
pub struct Log<R> {
    store: Arc<dyn LogStore>,
    versions: Versions,
    runtime: PhantomData<fn() -> R>,
}

impl<R> Clone for Log<R> {
    fn clone(&self) -> Self {
        Log {
            store: self.store.clone(),
            versions: self.versions.clone(),
            runtime: PhantomData,
        }
    }
}

impl<R: Runtime> Log<R> {
    pub fn new(store: Arc<dyn LogStore>, versions: Versions) -> Self {
        Log {
            store,
            versions,
            runtime: PhantomData,
        }
    }

    /// The term of the vote on disk; 0 when there is none.
    pub fn durable_term(&self) -> io::Result<u64> {
        Ok(self
            .get::<Vote<R>>(Meta::Vote)?
            .map_or(0, |v| v.leader_id.term))
    }

    fn get<T: Recorded>(&self, key: Meta) -> io::Result<Option<T>> {
        self.store
            .meta(key)?
            .map(|bytes| self.decode(&bytes))
            .transpose()
    }

    /// What is newer than this program halts the node: it is neither skipped nor taken away.
    fn decode<T: Recorded>(&self, bytes: &[u8]) -> io::Result<T> {
        let record = ha_record::decode(self.versions.speaks(), bytes).inspect_err(|e| {
            if let RecordError::Newer { found, .. } = e {
                self.versions.halt(*found);
            }
        })?;
        Ok(T::from_record(record)?)
    }

    fn encode<T: Recorded>(&self, value: &T) -> io::Result<Vec<u8>> {
        let at = self.versions.writes();
        Ok(ha_record::encode(at, &value.to_record(at))?)
    }

    async fn write_durably(&self, batch: Batch) -> io::Result<()> {
        let (done, waiting) = tokio::sync::oneshot::channel();
        self.store
            .write(batch, Some(Box::new(move |r| drop(done.send(r)))))?;
        waiting
            .await
            .map_err(|_| io::Error::other("the log store has been closed"))?
    }
}

/// Bytes of entries that are sent in one message: half of what a peer takes.
const BATCH_MAX: usize = crate::outside::MESSAGE_MAX / 2;

impl<R: Runtime> RaftLogReader<Types<R>> for Log<R> {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<R>>, io::Error> {
        let start = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => i + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(i) => i + 1,
            Bound::Excluded(i) => *i,
            Bound::Unbounded => u64::MAX,
        };
        self.store
            .read(start..end)?
            .iter()
            .map(|bytes| self.decode(bytes))
            .collect()
    }

    /// As many as fit well into one message of a peer, at least one: a few large entries must not make a message
    /// that is never taken.
    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry<R>>, io::Error> {
        let mut size = 0;
        let mut fits = |bytes: &Vec<u8>| {
            let first = size == 0;
            size += bytes.len();
            first || size <= BATCH_MAX
        };
        let read = self.store.read(start..end)?;
        read.iter()
            .take_while(|bytes| fits(bytes))
            .map(|bytes| self.decode(bytes))
            .collect()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<R>>, io::Error> {
        self.get(Meta::Vote)
    }
}

impl<R: Runtime> RaftLogStorage<Types<R>> for Log<R> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types<R>>, io::Error> {
        let purged = self.get::<Option<LogId<R>>>(Meta::Purged)?.flatten();
        let last = self.store.last()?;
        let last: Option<Entry<R>> = last.map(|bytes| self.decode(&bytes)).transpose()?;
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id: last.map(|e| e.log_id).or(purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<R>) -> Result<(), io::Error> {
        self.write_durably(Batch {
            meta: vec![(Meta::Vote, self.encode(vote)?)],
            ..Batch::default()
        })
        .await
    }

    async fn save_committed(&mut self, committed: Option<LogId<R>>) -> Result<(), io::Error> {
        // May lag behind: it only spares work at start.
        self.store.write(
            Batch {
                meta: vec![(Meta::Committed, self.encode(&committed)?)],
                ..Batch::default()
            },
            None,
        )
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<R>>, io::Error> {
        Ok(self.get::<Option<LogId<R>>>(Meta::Committed)?.flatten())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<Types<R>>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry<R>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let put = entries
            .into_iter()
            .map(|e| Ok((e.log_id.index, self.encode(&e)?)))
            .collect::<io::Result<Vec<_>>>()?;
        self.store.write(
            Batch {
                put,
                ..Batch::default()
            },
            Some(Box::new(move |r| callback.io_completed(r))),
        )
    }

    async fn truncate_after(&mut self, last: Option<LogId<R>>) -> Result<(), io::Error> {
        let from = last.map_or(0, |l| l.index + 1);
        self.write_durably(Batch {
            remove: Some(from..u64::MAX),
            ..Batch::default()
        })
        .await
    }

    async fn purge(&mut self, upto: LogId<R>) -> Result<(), io::Error> {
        // One batch: the mark and the removal are atomic.
        let batch = Batch {
            remove: Some(0..upto.index + 1),
            meta: vec![(Meta::Purged, self.encode(&Some(upto))?)],
            ..Batch::default()
        };
        self.write_durably(batch).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log_store::memory::MemoryStore;
    use ha_core::version::{RecordVersion, Speaks};
    use ha_record::entry::{Entry, Payload};
    use openraft_rt_tokio::TokioRuntime;

    #[tokio::test]
    async fn an_entry_of_a_newer_version_halts_the_node_and_stays_in_the_log() {
        let speaks = |max| Speaks {
            min: RecordVersion(1),
            max: RecordVersion(max),
        };
        let store = Arc::new(MemoryStore::default());
        let entry = |version: u32| {
            let version = RecordVersion(version);
            let id = ha_record::vote::LogId {
                term: 1,
                index: version.0.into(),
            };
            let payload = Payload::Blank;
            let entry = Entry {
                version,
                id,
                payload,
            };
            (id.index, ha_record::encode(version, &entry).unwrap())
        };
        let batch = Batch {
            put: vec![entry(1), entry(2)],
            ..Batch::default()
        };
        store.write(batch, None).unwrap();
        let (old, new) = (Versions::of(speaks(1)), Versions::of(speaks(2)));
        let mut log = Log::<TokioRuntime>::new(store.clone(), new.clone());
        assert_eq!(log.try_get_log_entries(1..3).await.unwrap().len(), 2);
        let mut log = Log::<TokioRuntime>::new(store.clone(), old.clone());
        assert_eq!(log.try_get_log_entries(1..2).await.unwrap().len(), 1);
        assert_eq!(old.halted(), None);
        log.try_get_log_entries(1..3).await.unwrap_err();
        assert!(log.get_log_state().await.is_err(), "nor does it start");
        assert!(old.halted().unwrap().contains("version 2"));
        assert_eq!((store.read(1..3).unwrap().len(), new.halted()), (2, None));
    }
}
