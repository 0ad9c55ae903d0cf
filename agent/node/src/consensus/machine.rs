//! Gives the consensus library its state machine: [`ClusterState`] behind one short lock.
//!
//! After each entry the listener is told, so that the driver can look; a reader takes the lock only
//! to clone two pointers.

use super::codec::{decode, encode};
use super::log_store::{LogStore, StoredSnapshot};
use super::types::{Applied, LogId, Membership, Runtime, Snapshot, SnapshotMeta, Types};
use futures_util::{Stream, TryStreamExt};
use ha_core::state::{ClusterState, Facts};
use ha_core::stick::StickTable;
use ha_core::time::Timestamp;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Told after something was applied; must not block.
pub type Listener = Arc<dyn Fn() + Send + Sync>;

/// The replicated state of one node, as consensus feeds it.
pub struct Machine<R: Runtime> {
    inner: Arc<Mutex<Inner<R>>>,
    /// Held while a snapshot is saved.
    newest_saved: Arc<tokio::sync::Mutex<Option<LogId<R>>>>,
    store: Arc<dyn LogStore>,
    listener: Listener,
}

struct Inner<R: Runtime> {
    applied: Option<LogId<R>>,
    membership: Membership<R>,
    state: ClusterState,
}

/// What a reader gets: pointers into the state at one moment.
#[derive(Clone, Debug, Default)]
pub struct AppliedState {
    /// Everything but the bindings.
    pub facts: Arc<Facts>,
    /// The bindings.
    pub stick: StickTable,
    /// The newest stamp.
    pub clock: Timestamp,
    /// The term of the newest applied entry.
    pub applied_term: u64,
    /// The index of the newest applied entry.
    pub applied_index: u64,
}

impl<R: Runtime> Clone for Machine<R> {
    fn clone(&self) -> Self {
        Machine {
            inner: self.inner.clone(),
            newest_saved: self.newest_saved.clone(),
            store: self.store.clone(),
            listener: self.listener.clone(),
        }
    }
}

impl<R: Runtime> Machine<R> {
    /// The state of the newest snapshot, or an empty one.
    ///
    /// # Errors
    /// A snapshot that cannot be read: the node must not start without it.
    pub fn open(store: Arc<dyn LogStore>, listener: Listener) -> io::Result<Self> {
        let mut inner = Inner {
            applied: None,
            membership: Membership::<R>::default(),
            state: ClusterState::default(),
        };
        if let Some(stored) = store.load_snapshot()? {
            let meta: SnapshotMeta<R> = decode(&stored.header)?;
            (inner.applied, inner.membership, inner.state) = (
                meta.last_log_id,
                meta.last_membership,
                decode(&stored.data)?,
            );
        }
        let newest_saved = Arc::new(tokio::sync::Mutex::new(inner.applied));
        Ok(Machine {
            inner: Arc::new(Mutex::new(inner)),
            newest_saved,
            store,
            listener,
        })
    }

    /// The state at this moment.
    pub fn read(&self) -> AppliedState {
        let inner = self.lock();
        AppliedState {
            facts: inner.state.facts.clone(),
            stick: inner.state.stick.table().clone(),
            clock: inner.state.clock,
            applied_term: inner.applied.map_or(0, |l| l.leader_id.term),
            applied_index: inner.applied.map_or(0, |l| l.index),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<R>> {
        // A panic while applying has already ended the node's part in the cluster; readers may still look.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never in the place of a newer one: a snapshot that is being built here may be overtaken by one that the
    /// leader sends, after which the log is gone up to there.
    async fn save(&self, meta: &SnapshotMeta<R>, data: Vec<u8>) -> io::Result<()> {
        let mut newest = self.newest_saved.lock().await;
        if meta.last_log_id < *newest {
            return Ok(());
        }
        let stored = StoredSnapshot {
            header: encode(meta)?,
            data,
        };
        let (done, waiting) = tokio::sync::oneshot::channel();
        self.store
            .save_snapshot(stored, Box::new(move |r| drop(done.send(r))));
        waiting
            .await
            .map_err(|_| io::Error::other("the snapshot's writer has ended"))??;
        *newest = meta.last_log_id;
        Ok(())
    }
}

impl<R: Runtime> RaftSnapshotBuilder<Types<R>> for Machine<R> {
    type SnapshotData = Vec<u8>;

    async fn build_snapshot(&mut self) -> Result<Snapshot<R>, io::Error> {
        let (meta, data) = {
            let inner = self.lock();
            let meta = SnapshotMeta::<R> {
                last_log_id: inner.applied,
                last_membership: inner.membership.clone(),
            };
            (meta, encode(&inner.state)?)
        };
        self.save(&meta, data.clone()).await?;
        Ok(Snapshot::<R> {
            meta,
            snapshot: data,
        })
    }
}

impl<R: Runtime> RaftStateMachine<Types<R>> for Machine<R> {
    type SnapshotData = Vec<u8>;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId<R>>, Membership<R>), io::Error> {
        let inner = self.lock();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types<R>>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let answer = {
                let mut inner = self.lock();
                inner.applied = Some(entry.log_id);
                match entry.payload {
                    EntryPayload::Blank => Applied(Ok(ha_core::command::Outcome::Done)),
                    EntryPayload::Normal(stamped) => Applied(inner.state.apply(&stamped)),
                    EntryPayload::Membership(m) => {
                        inner.membership = Membership::<R>::new(Some(entry.log_id), m);
                        Applied(Ok(ha_core::command::Outcome::Done))
                    }
                }
            };
            (self.listener)();
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<R>,
        data: Vec<u8>,
    ) -> Result<(), io::Error> {
        let state: ClusterState = decode(&data)?;
        self.save(meta, data).await?;
        {
            let mut inner = self.lock();
            (inner.applied, inner.membership, inner.state) =
                (meta.last_log_id, meta.last_membership.clone(), state);
        }
        (self.listener)();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<R>>, io::Error> {
        let Some(stored) = self.store.load_snapshot()? else {
            return Ok(None);
        };
        Ok(Some(Snapshot::<R> {
            meta: decode(&stored.header)?,
            snapshot: stored.data,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::log_store::memory::MemoryStore;
    use openraft::vote::leader_id_std::CommittedLeaderId;
    use openraft_rt_tokio::TokioRuntime;

    #[tokio::test]
    async fn a_snapshot_that_was_overtaken_is_not_saved_over_the_newer_one() {
        let store = Arc::new(MemoryStore::default());
        let machine = Machine::<TokioRuntime>::open(store.clone(), Arc::new(|| {})).unwrap();
        let at = |index| {
            let id = LogId::<TokioRuntime>::new(CommittedLeaderId { term: 1 }, index);
            SnapshotMeta::<TokioRuntime> {
                last_log_id: Some(id),
                ..Default::default()
            }
        };
        let saved = || store.load_snapshot().unwrap().map(|s| s.data);
        machine.save(&at(9), b"newer".to_vec()).await.unwrap();
        machine.save(&at(5), b"overtaken".to_vec()).await.unwrap();
        assert_eq!(saved(), Some(b"newer".to_vec()));
        machine.save(&at(12), b"newest".to_vec()).await.unwrap();
        assert_eq!(saved(), Some(b"newest".to_vec()));
    }
}
