//! Gives the consensus library its state machine: [`ClusterState`], and what of it readers get.
//!
//! ```text
//!   library --entry--> inner (locked while it is applied) --pointers--> published <--read-- driver, API
//! ```
//!
//! After each entry the listener is told, so that the driver can look. An entry may take long: one that removes a
//! server looks at every binding. A reader never waits for that; its lock is held to copy pointers only.

use super::convert::Recorded;
use super::types::{Applied, LogId, Membership, Proposal, Runtime, Snapshot, SnapshotMeta, Types};
use super::versions::Versions;
use crate::log_store::{LogStore, StoredSnapshot};
use futures_util::{Stream, TryStreamExt};
use ha_core::command::{Command, Stamped};
use ha_core::state::{ClusterState, Facts};
use ha_core::stick::{StickIndex, StickTable};
use ha_core::time::Timestamp;
use ha_core::version::RecordVersion;
use ha_record::RecordError;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Told after something was applied; must not block.
pub type Listener = Arc<dyn Fn() + Send + Sync>;

/// The replicated state of one node, as consensus feeds it.
pub struct Machine<R: Runtime> {
    inner: Arc<Mutex<Inner<R>>>,
    published: Arc<Mutex<AppliedState>>,
    /// Held while a snapshot is saved.
    newest_saved: Arc<tokio::sync::Mutex<Option<LogId<R>>>>,
    store: Arc<dyn LogStore>,
    versions: Versions,
    listener: Listener,
}

struct Inner<R: Runtime> {
    applied: Option<LogId<R>>,
    membership: Membership<R>,
    state: ClusterState,
}

impl<R: Runtime> Inner<R> {
    fn for_readers(&self) -> AppliedState {
        AppliedState {
            facts: self.state.facts.clone(),
            stick: self.state.stick.table().clone(),
            clock: self.state.clock,
            applied_term: self.applied.map_or(0, |l| l.leader_id.term),
            applied_index: self.applied.map_or(0, |l| l.index),
        }
    }
}

/// What a reader gets: pointers into the state at one moment.
#[derive(Clone, Debug, Default)]
pub struct AppliedState {
    /// Everything but the bindings.
    pub facts: Arc<Facts>,
    pub stick: StickTable,
    /// The newest stamp of an applied command.
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
            published: self.published.clone(),
            newest_saved: self.newest_saved.clone(),
            store: self.store.clone(),
            versions: self.versions.clone(),
            listener: self.listener.clone(),
        }
    }
}

impl<R: Runtime> Machine<R> {
    /// The state of the newest snapshot, or an empty one.
    ///
    /// # Errors
    /// A snapshot that cannot be read: the node must not start without it.
    pub fn open(
        store: Arc<dyn LogStore>,
        versions: Versions,
        listener: Listener,
    ) -> io::Result<Self> {
        let mut inner = Inner {
            applied: None,
            membership: Membership::<R>::default(),
            state: ClusterState::default(),
        };
        if let Some(stored) = store.load_snapshot()? {
            let meta = header_of::<R>(&versions, &stored.header)?;
            (inner.applied, inner.membership, inner.state) = (
                meta.last_log_id,
                meta.last_membership,
                state_of(&versions, &stored.data)?,
            );
            versions.applied(inner.state.facts.active_version);
        }
        let newest_saved = Arc::new(tokio::sync::Mutex::new(inner.applied));
        Ok(Machine {
            published: Arc::new(Mutex::new(inner.for_readers())),
            inner: Arc::new(Mutex::new(inner)),
            newest_saved,
            store,
            versions,
            listener,
        })
    }

    /// Before a version becomes active here: this program speaks it, and a start will know it.
    async fn adopt(&self, version: RecordVersion) -> io::Result<()> {
        if version == RecordVersion::default() {
            return Ok(());
        }
        let known = self.store.active()?;
        if known.is_none_or(|known| known < version) {
            let (done, waiting) = tokio::sync::oneshot::channel();
            self.store
                .note_active(version, Box::new(move |r| drop(done.send(r))));
            waiting
                .await
                .map_err(|_| io::Error::other("the writer of the active version has ended"))??;
        }
        if self.versions.speaks().contains(version) {
            Ok(())
        } else {
            Err(self.versions.halt(version).into())
        }
    }

    /// The state as the newest entry left it. Never waits for one that is being applied.
    pub fn read(&self) -> AppliedState {
        self.published().clone()
    }

    /// The facts of that, at the cost of one pointer.
    pub fn facts(&self) -> Arc<Facts> {
        self.published().facts.clone()
    }

    fn publish(&self, inner: &Inner<R>) {
        let next = inner.for_readers();
        let before = std::mem::replace(&mut *self.published(), next);
        // Without the lock: it may be the last to know many bindings.
        drop(before);
    }

    fn published(&self) -> MutexGuard<'_, AppliedState> {
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        let at = self.versions.writes();
        let stored = StoredSnapshot {
            header: ha_record::encode(at, &meta.to_record(at))?,
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
        let (meta, state) = {
            let inner = self.lock();
            let meta = SnapshotMeta::<R> {
                last_log_id: inner.applied,
                last_membership: inner.membership.clone(),
            };
            (meta, inner.state.to_write())
        };
        // Without the lock: it takes long, and the driver, which keeps the lease, reads the state.
        let data = ha_record::encode(self.versions.writes(), &state)?;
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
            let facts = self.published().facts.clone();
            if let EntryPayload::Normal(Proposal { stamped, .. }) = &entry.payload
                && let Some(version) = version_after(&facts, stamped)
            {
                self.adopt(version).await?;
            }
            let answer = {
                let mut inner = self.lock();
                inner.applied = Some(entry.log_id);
                let answer = match entry.payload {
                    EntryPayload::Blank => Applied(Ok(ha_core::command::Outcome::Done)),
                    EntryPayload::Normal(Proposal { stamped, .. }) => {
                        let answer = inner.state.apply(&stamped);
                        self.versions.applied(inner.state.facts.active_version);
                        Applied(answer)
                    }
                    EntryPayload::Membership(m) => {
                        inner.membership = Membership::<R>::new(Some(entry.log_id), m);
                        Applied(Ok(ha_core::command::Outcome::Done))
                    }
                };
                self.publish(&inner);
                answer
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
        let state = state_of(&self.versions, &data)?;
        let active = state.facts.active_version;
        self.adopt(active).await?;
        self.save(meta, data).await?;
        {
            let mut inner = self.lock();
            (inner.applied, inner.membership, inner.state) =
                (meta.last_log_id, meta.last_membership.clone(), state);
            self.versions.applied(active);
            self.publish(&inner);
        }
        (self.listener)();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<R>>, io::Error> {
        let Some(stored) = self.store.load_snapshot()? else {
            return Ok(None);
        };
        Ok(Some(Snapshot::<R> {
            meta: header_of::<R>(&self.versions, &stored.header)?,
            snapshot: stored.data,
        }))
    }
}

fn header_of<R: Runtime>(versions: &Versions, header: &[u8]) -> io::Result<SnapshotMeta<R>> {
    let header = ha_record::decode(versions.speaks(), header)?;
    Ok(SnapshotMeta::<R>::from_record(header)?)
}

fn state_of(versions: &Versions, data: &[u8]) -> io::Result<ClusterState> {
    let state = ha_record::decode(versions.speaks(), data).inspect_err(|e| {
        if let RecordError::Newer { found, .. } = e {
            versions.halt(*found);
        }
    });
    Ok(state?)
}

/// The active version that a command brings, if it changes it and is not refused.
fn version_after(facts: &Arc<Facts>, stamped: &Stamped) -> Option<RecordVersion> {
    let (Command::Found { .. }
    | Command::Restore(_)
    | Command::Recover { .. }
    | Command::Activate(_)) = &stamped.command
    else {
        return None;
    };
    let mut tried = ClusterState {
        clock: Timestamp::default(),
        facts: facts.clone(),
        stick: StickIndex::default(),
    };
    tried.apply(stamped).ok()?;
    let after = tried.facts.active_version;
    (after != facts.active_version).then_some(after)
}

#[cfg(test)]
mod tests;
