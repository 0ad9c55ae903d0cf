//! The agreement of the cluster, and the lease protocol beside it. All that knows the consensus library.
//!
//! ```text
//!   propose --> Consensus --network.rs (guard out)--> peers
//!   peers ----> hear.rs (guard in) --> library --> log.rs --> LogStore (sled)
//!                                        |------> machine.rs --> ClusterState --> listener
//! ```
//!
//! Owns the [`Promise`] of this node, under one lock. What leadership means for the address the controller says.

mod complaints;
pub mod convert;
mod hear;
pub mod log;
pub mod log_store;
pub mod machine;
pub mod network;
mod news;
pub mod plausible;
mod read;
mod settings;
pub mod types;
pub mod versions;

pub(crate) use hear::lock;
pub use settings::{ConsensusSettings, PROPOSAL_MAX, ProposeError, SNAPSHOT_EVERY};

use crate::outside::Outside;
use complaints::Complaints;
use ha_core::command::{Answer, Command, Stamped};
use ha_core::controller::{NodeReport, RaftNews};
use ha_core::id::NodeId;
use ha_core::lease::{Lease, Promise, Refusal};
use ha_core::model::Role;
use ha_core::time::Instant;
use ha_core::version::RecordVersion;
use log::Log;
use machine::{AppliedState, Listener, Machine};
use network::Network;
use news::{news_of, propose_error};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{
    BasicNode, ChangeMembers, Config, Raft, ServerState, SnapshotPolicy, StepDownPolicy,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use types::{Proposal, Runtime, Types};
use versions::Versions;

/// One promise per node, one lock.
pub type SharedPromise = Arc<Mutex<Promise>>;

/// The agreement as one node takes part in it.
pub struct Consensus<R: Runtime> {
    raft: Raft<Types<R>, Machine<R>>,
    machine: Machine<R>,
    promise: SharedPromise,
    outside: Outside,
    me: NodeId,
    report: Arc<RwLock<NodeReport>>,
    versions: Versions,
    complaints: Arc<Complaints>,
    promise_length: Duration,
}

impl<R: Runtime> Clone for Consensus<R> {
    fn clone(&self) -> Self {
        Consensus {
            raft: self.raft.clone(),
            machine: self.machine.clone(),
            promise: self.promise.clone(),
            outside: self.outside.clone(),
            me: self.me,
            report: self.report.clone(),
            versions: self.versions.clone(),
            complaints: self.complaints.clone(),
            promise_length: self.promise_length,
        }
    }
}

impl<R: Runtime> Consensus<R> {
    /// Starts from what is on disk.
    ///
    /// # Errors
    /// A cluster that writes what this program does not speak, a log or snapshot that cannot be read, or settings the
    /// library refuses.
    pub async fn start(
        outside: Outside,
        settings: ConsensusSettings,
        listener: Listener,
    ) -> io::Result<Self> {
        let versions = Versions::of(settings.speaks);
        versions.check(&*outside.store)?;
        let log = Log::<R>::new(outside.store.clone(), versions.clone());
        let machine = Machine::open(outside.store.clone(), versions.clone(), listener)?;
        let promise = if settings.founding {
            Promise::fresh(settings.promise)
        } else {
            Promise::starting(outside.clock.now(), settings.promise, log.durable_term()?)
        };
        let promise = Arc::new(Mutex::new(promise));
        let peers = Network {
            outside: outside.clone(),
            runtime: PhantomData,
            me: settings.me,
            promise: promise.clone(),
            versions: versions.clone(),
        };
        let config = config(settings).map_err(io::Error::other)?;
        let raft = Raft::new(settings.me, Arc::new(config), peers, log, machine.clone())
            .await
            .map_err(io::Error::other)?;
        Ok(Consensus {
            raft,
            machine,
            promise,
            outside,
            me: settings.me,
            report: Arc::default(),
            versions,
            complaints: Arc::default(),
            promise_length: settings.promise,
        })
    }

    /// Makes a new cluster of this node alone.
    pub async fn found(&self, listen: String) -> io::Result<()> {
        self.raft
            .initialize(BTreeMap::from([(self.me, BasicNode::new(listen))]))
            .await
            .map_err(io::Error::other)
    }

    /// Puts a command into the log and waits for its answer.
    ///
    /// # Errors
    /// See [`ProposeError`]. What is too large is refused here: the log could only end this node over it.
    pub async fn propose(&self, stamped: Stamped) -> Result<Answer, ProposeError> {
        self.own_term_applied().await?;
        let version = match &stamped.command {
            // Before them there is no cluster that writes at a version.
            Command::Found { version, .. } => *version,
            Command::Restore(facts) => facts.active_version,
            _ => self.versions.writes(),
        };
        let version = version.max(RecordVersion(1));
        let size = match ha_record::encode(version, &stamped) {
            Ok(bytes) => bytes.len(),
            Err(e) => return Err(ProposeError::NotYet(e)),
        };
        if size > PROPOSAL_MAX {
            return Err(ProposeError::TooLarge(size));
        }
        let stamped = Arc::new(stamped);
        match self.raft.client_write(Proposal { version, stamped }).await {
            Ok(response) => Ok(response.data.0),
            Err(e) => Err(propose_error(e)),
        }
    }

    /// Until a leader has applied an entry of its own term it may not know the active version, and writes nothing.
    async fn own_term_applied(&self) -> Result<(), ProposeError> {
        let mut metrics = self.raft.metrics();
        loop {
            {
                let m = metrics.borrow_watched();
                if let Err(e) = &m.running_state {
                    return Err(ProposeError::Ended(e.to_string()));
                }
                if m.state != ServerState::Leader {
                    return Err(ProposeError::NotLeader(m.current_leader));
                }
                if m.last_applied
                    .is_some_and(|l| l.leader_id.term == m.current_term)
                {
                    return Ok(());
                }
            }
            if metrics.changed().await.is_err() {
                return Err(ProposeError::Ended("it was shut down".to_owned()));
            }
        }
    }

    /// At which version this node writes, and what it reads.
    pub const fn versions(&self) -> &Versions {
        &self.versions
    }

    /// This node.
    pub const fn me(&self) -> NodeId {
        self.me
    }

    /// How long a voter stays promised.
    pub const fn promise_length(&self) -> Duration {
        self.promise_length
    }

    /// The replicated state at this moment.
    pub fn read(&self) -> AppliedState {
        self.machine.read()
    }

    /// What the controller should know about consensus at this moment.
    pub fn news(&self) -> RaftNews {
        let metrics = self.raft.metrics().borrow_watched().clone();
        news_of::<R>(&metrics)
    }

    /// Calls `tell` at each change of [`Consensus::news`], until consensus ends.
    pub fn watch(
        &self,
        tell: impl Fn(RaftNews) + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut receiver = self.raft.metrics();
        async move {
            let mut last = None;
            loop {
                let news = news_of::<R>(&receiver.borrow_watched());
                if last.as_ref() != Some(&news) {
                    tell(news.clone());
                    last = Some(news);
                }
                if receiver.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    /// Whether consensus has failed on this node, and why. Such a node must stop.
    pub fn failure(&self) -> Option<String> {
        let failed = self
            .raft
            .metrics()
            .borrow_watched()
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string);
        // What made it halt comes first: it says what to do.
        self.versions.halted().or(failed)
    }

    /// Asks for votes, a pre-vote first: never without one, which would depose a leader that is well.
    pub async fn campaign(&self) {
        if let Err(e) = self.raft.trigger().elect(true).await {
            tracing::warn!(error = %e, "no election could be begun");
        }
    }

    /// Hands leadership to `to`. The address must have been released before.
    pub async fn transfer(&self, to: NodeId) {
        if let Err(e) = self.raft.trigger().transfer_leader(to).await {
            tracing::warn!(error = %e, "leadership could not be handed over");
        }
    }

    /// Makes a node a learner. Does not wait until it has caught up.
    pub async fn add_learner(&self, id: NodeId, listen: String) -> Result<(), ProposeError> {
        self.may_change()?;
        self.raft
            .add_learner(id, BasicNode::new(listen), false)
            .await
            .map(drop)
            .map_err(propose_error)
    }

    /// Makes a learner a voter.
    pub async fn promote(&self, id: NodeId) -> Result<(), ProposeError> {
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])), true)
            .await
    }

    /// Ends a joint membership: as was intended, or as it was before; a uniform one stays as it is.
    pub async fn settle_membership(&self, forward: bool) -> Result<(), ProposeError> {
        match self.news().voters.as_slice() {
            // No further voters: the library itself finds out where that leads from what is in force then.
            [_, _, ..] if forward => {
                self.change(ChangeMembers::AddVoterIds(BTreeSet::new()), false)
                    .await
            }
            [before, _, ..] => self.change_voters(before.clone()).await,
            _ => Ok(()),
        }
    }

    /// Makes these nodes, which are voters or learners now, the only voters, in one change; the other voters are out.
    pub async fn change_voters(&self, voters: BTreeSet<NodeId>) -> Result<(), ProposeError> {
        self.change(ChangeMembers::ReplaceAllVoters(voters), false)
            .await
    }

    /// Takes a node out of the membership altogether.
    pub async fn remove(&self, id: NodeId) -> Result<(), ProposeError> {
        if self.news().votes(id)
            && let Err(e) = self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id])), false).await
            // The same change may have been brought to its end beside this one.
            && self.news().votes(id)
        {
            return Err(e);
        }
        if self.news().learners.contains(&id) {
            self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id])), false)
                .await?;
        }
        Ok(())
    }

    /// A leader that is out of the membership leads until another does, and changes the membership no more.
    fn may_change(&self) -> Result<(), ProposeError> {
        if self.news().addresses.contains_key(&self.me) {
            Ok(())
        } else {
            Err(ProposeError::NotLeader(None))
        }
    }

    async fn change(
        &self,
        members: ChangeMembers<NodeId, BasicNode>,
        retain: bool,
    ) -> Result<(), ProposeError> {
        self.may_change()?;
        self.raft
            .change_membership(members, retain)
            .await
            .map(drop)
            .map_err(propose_error)
    }

    /// What this node tells the leader of itself with each lease answer.
    pub fn set_report(&self, report: NodeReport) {
        *self.report.write().unwrap_or_else(PoisonError::into_inner) = report;
    }

    /// The term that the library is in.
    fn term(&self) -> u64 {
        self.raft.metrics().borrow_watched().current_term
    }

    /// Takes a `Lease` of `from` through this node's promise, which knows the term that the library is in.
    fn promise_to(&self, now: Instant, from: NodeId, lease: Lease) -> Result<(), Refusal> {
        let term = self.term();
        let mut promise = lock(&self.promise);
        promise.note_term(term);
        promise.on_lease(now, from, lease)
    }

    /// Takes this node's own `Lease` through its own promise.
    pub fn promise_to_self(&self, now: Instant, lease: Lease) -> Result<(), Refusal> {
        self.promise_to(now, self.me, lease)
    }

    /// Ends this node's own promise to itself.
    pub fn release_self(&self, release: Lease) {
        lock(&self.promise).on_release(self.me, release);
    }

    /// To whom this node is promised.
    pub fn promised_to(&self) -> Option<NodeId> {
        lock(&self.promise).promised_to(self.outside.clock.now())
    }

    /// Ends this node's part.
    pub async fn shutdown(&self) {
        self.raft.shutdown().await.ok();
    }
}

fn config(settings: ConsensusSettings) -> Result<Config, String> {
    let ms = |d: Duration| d.as_millis() as u64;
    let (min, max) = settings.timing.election();
    // A witness leaves the others the first try: it may lead only to hand over.
    let min = if settings.role == Role::Witness {
        max - (max - min) / 5
    } else {
        min
    };
    Config {
        heartbeat_interval: ms(settings.timing.heartbeat()),
        election_timeout_min: ms(min),
        election_timeout_max: ms(max),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        removed_leader_step_down: StepDownPolicy::Never,
        quorum_loss_probe_interval: Some(2 * ms(max)),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(settings.snapshot_every),
        max_in_snapshot_log_to_keep: settings.snapshot_every / 5,
        backoff: "20ms 40ms ...200ms".into(),
        ..Config::default()
    }
    .validate()
    .map_err(|e| e.to_string())
}
