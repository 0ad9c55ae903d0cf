//! The agreement of the cluster, and the lease protocol beside it. All that knows the consensus library.
//!
//! ```text
//!   propose --> Consensus --network.rs (guard out)--> peers
//!   peers ----> hear.rs (guard in) --> library --> log.rs --> LogStore (sled)
//!                                        |------> machine.rs --> ClusterState --> listener
//! ```
//!
//! Owns the [`Promise`] of this node, under one lock. What leadership means for the address the controller says.

mod acknowledged;
mod complaints;
pub mod convert;
mod hear;
pub mod log;
pub mod machine;
mod membership;
pub mod network;
mod news;
pub mod plausible;
mod read;
mod second_disk;
mod settings;
pub mod terms;
pub mod types;
pub mod versions;
pub mod whereabouts;

pub(crate) use hear::lock;
pub use news::MembershipSeen;
pub use settings::{ConsensusSettings, PROPOSAL_MAX, ProposeError, SNAPSHOT_EVERY};

use crate::outside::Outside;
use acknowledged::Acknowledged;
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
use openraft::{BasicNode, Config, Raft, ServerState, SnapshotPolicy, StepDownPolicy};
use second_disk::SecondDisk;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use terms::Terms;
use types::{Proposal, Runtime, Types};
use versions::Versions;
use whereabouts::Whereabouts;

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
    acknowledged: Acknowledged,
    second_disk: Arc<SecondDisk>,
    terms: Arc<Terms>,
    /// The library has ended, also by a panic: seen by [`Consensus::watch`].
    over: Arc<AtomicBool>,
    promise_length: Duration,
    whereabouts: Whereabouts,
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
            acknowledged: self.acknowledged.clone(),
            second_disk: self.second_disk.clone(),
            terms: self.terms.clone(),
            over: self.over.clone(),
            promise_length: self.promise_length,
            whereabouts: self.whereabouts.clone(),
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
        let reads = machine.clone();
        let whereabouts = Whereabouts::new(move || reads.facts());
        let acknowledged = Acknowledged::default();
        let (complaints, terms) = (Arc::<Complaints>::default(), Arc::<Terms>::default());
        let peers = Network {
            whereabouts: whereabouts.clone(),
            complaints: complaints.clone(),
            terms: terms.clone(),
            outside: outside.clone(),
            runtime: PhantomData,
            me: settings.me,
            promise: promise.clone(),
            versions: versions.clone(),
            acknowledged: acknowledged.clone(),
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
            acknowledged,
            second_disk: Arc::new(SecondDisk::waiting_for(settings.promise)),
            complaints,
            terms,
            over: Arc::default(),
            promise_length: settings.promise,
            whereabouts,
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
            Command::Restore(facts) | Command::Recover { facts, .. } => facts.active_version,
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
            Ok(response) => {
                self.second_disk
                    .wait::<R>(
                        &*self.outside.clock,
                        self.raft.metrics(),
                        response.log_id.index,
                    )
                    .await;
                Ok(response.data.0)
            }
            Err(e) => Err(propose_error(e)),
        }
    }

    /// Peers whose log ends before what they once acknowledged to this node: their disks were lost or set back, they get no
    /// entries from here and their votes do not count.
    pub fn has_lost_its_log(&self) -> BTreeSet<NodeId> {
        self.acknowledged.lost()
    }

    /// Entries that were acknowledged although only the disk of this node had them, since it started: it votes alone, and
    /// nobody who follows it has answered in time.
    pub fn acknowledged_alone(&self) -> u64 {
        self.second_disk.alone()
    }

    /// Whether one disk has what is acknowledged now: this node votes alone and nobody follows it closely.
    pub fn acknowledges_alone(&self) -> bool {
        self.second_disk
            .is_away(&self.raft.metrics().borrow_watched())
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

    /// Calls `tell` at each change of [`Consensus::news`], until consensus ends.
    pub fn watch(
        &self,
        tell: impl Fn(RaftNews) + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let mut receiver = self.raft.metrics();
        let over = self.over.clone();
        async move {
            let mut last = None;
            loop {
                let news = news_of::<R>(&receiver.borrow_watched());
                if last.as_ref() != Some(&news) {
                    tell(news.clone());
                    last = Some(news);
                }
                if receiver.changed().await.is_err() {
                    over.store(true, Ordering::Relaxed);
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
        // A library that panicked says nothing of it: it is silent for ever.
        let over = || self.over.load(Ordering::Relaxed);
        let failed =
            failed.or_else(|| over().then(|| "the consensus library has ended".to_owned()));
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
