//! Starts the parts of one node, and stops them: the same parts in the same order in the program and in the simulation.
//!
//! ```text
//!   start: consensus, from what is on disk > a first look at this machine > driver, binder, reporter
//!   stop:  hand_over > the caller takes the addresses away > stop > consensus.shutdown
//! ```
//!
//! What the consensus library spawns runs where [`Node::start`] is polled first; everything else through
//! [`Tasks`](crate::outside::Tasks). So the caller can give the two threads of their own: the library waits for disks.

use crate::binder::LogBinder;
use crate::consensus::types::Runtime;
use crate::consensus::{Consensus, ConsensusSettings};
use crate::driver::{self, Driver, DriverHandle, Inbox};
use crate::knock::Knocks;
use crate::outside::{Boxed, Outside, SelfCheck};
use crate::report::{Found, Life, Reporter};
use ha_core::controller::{ControllerSettings, Event, HandoverReason, NodeReport, RaftRole};
use ha_core::id::NodeId;
use ha_core::time::Instant;
use ha_core::view::View;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, watch};

/// How long leadership may take to move when a node stops.
const HANDOVER_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks whether it has moved.
const HANDOVER_LOOKS: Duration = Duration::from_millis(5);
/// Why a node that stops may not hold.
const STOPS: &str = "its agent stops";

/// One node, its parts running.
pub struct Node<R: Runtime> {
    /// Its part in the agreement.
    pub consensus: Consensus<R>,
    pub driver: DriverHandle,
    outside: Outside,
    self_check: Arc<dyn SelfCheck>,
    stage: watch::Sender<Life>,
    ended: Arc<Notify>,
}

/// How a node is to run.
pub struct NodeSettings {
    /// Who takes part, and how fast.
    pub consensus: ConsensusSettings,
    /// What the controller goes by.
    pub controller: ControllerSettings,
    /// Whose log may be on disk; `None`: anybody's.
    pub cluster: Option<NodeId>,
    /// What the report says of the agent: its own version.
    pub agent_version: String,
    /// How often other voters are asked whether they are there: [`KNOCK_EVERY`](crate::knock::KNOCK_EVERY).
    pub knock_every: Duration,
}

/// What the surroundings of a node know before it starts: where the data plane finds its view and its bindings.
pub struct Parts<R: Runtime> {
    driver: DriverHandle,
    inbox: Inbox,
    view: watch::Sender<Arc<View>>,
    binder: Arc<LogBinder>,
    on_applied: Option<OnApplied<R>>,
}

/// Is told of each entry that was applied.
type OnApplied<R> = Box<dyn Fn(&Consensus<R>) + Send + Sync>;

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A log or a snapshot that cannot be read, or settings that the library refuses.
    #[error(transparent)]
    Consensus(#[from] io::Error),
    /// The log is that of another cluster.
    #[error("the log is that of another cluster: {0}")]
    OtherCluster(NodeId),
}

impl<R: Runtime> Parts<R> {
    /// Nothing runs yet, and the view is empty. `now`: the boot-time clock, for the binder.
    pub fn new(now: fn() -> Instant) -> Self {
        let (driver, inbox) = driver::channel();
        Parts {
            driver,
            inbox,
            view: watch::channel(Arc::new(View::empty())).0,
            binder: Arc::new(LogBinder::new(now)),
            on_applied: None,
        }
    }

    /// What the data plane decides from.
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    /// How the data plane binds clients.
    pub fn binder(&self) -> Arc<LogBinder> {
        self.binder.clone()
    }

    /// Every event for the controller passes through `other`, for who watches or disturbs them; `None` loses it.
    #[must_use]
    pub fn inbox_through(
        mut self,
        other: impl FnMut(Event) -> Option<Event> + Send + 'static,
    ) -> Self {
        self.inbox = self.inbox.through(other);
        self
    }

    /// `look` is called after each entry that was applied, on the library's task: it must not block.
    #[must_use]
    pub fn on_applied(mut self, look: impl Fn(&Consensus<R>) + Send + Sync + 'static) -> Self {
        self.on_applied = Some(Box::new(look));
        self
    }
}

impl<R: Runtime> Node<R> {
    /// Starts everything that a node is made of; returns when it takes part.
    ///
    /// # Errors
    /// See [`StartError`]. Then nothing was decided and nothing answered.
    pub async fn start(
        parts: Parts<R>,
        outside: Outside,
        settings: NodeSettings,
        self_check: Arc<dyn SelfCheck>,
    ) -> Result<Self, StartError> {
        let Parts {
            driver,
            inbox,
            view,
            binder,
            on_applied,
        } = parts;
        let consensus =
            start_consensus(&outside, settings.consensus, driver.clone(), on_applied).await?;
        if let (Some(mine), Some(found)) = (settings.cluster, cluster_of_log(&consensus))
            && found != mine
        {
            return Err(StartError::OtherCluster(found));
        }
        let node = Node {
            consensus,
            driver,
            outside,
            self_check,
            stage: watch::channel(Life::Runs).0,
            ended: Arc::default(),
        };
        let knocks = Knocks::default();
        let reporter = node.reporter(&settings, knocks.clone());
        let found = reporter.look(&Found::default()).await;
        let driver = Driver::new(
            node.outside.clone(),
            node.consensus.clone(),
            settings.controller,
            (node.driver.clone(), inbox),
            view,
        );
        let (binding, clock) = (node.consensus.clone(), node.outside.clock.clone());
        let knocking = knocks.run(
            node.consensus.clone(),
            node.outside.clone(),
            settings.knock_every,
        );
        node.spawn("knock", knocking);
        node.spawn("driver", driver.run(Box::pin(node.stopped())));
        node.spawn("binder", binder.run(binding, clock));
        node.spawn("report", reporter.run(found));
        Ok(node)
    }

    fn reporter(&self, settings: &NodeSettings, knocks: Knocks) -> Reporter<R> {
        Reporter {
            role: settings.consensus.role,
            agent_version: settings.agent_version.clone(),
            speaks: settings.consensus.speaks,
            outside: self.outside.clone(),
            self_check: self.self_check.clone(),
            consensus: self.consensus.clone(),
            driver: self.driver.clone(),
            stage: self.stage.subscribe(),
            knocks,
            knock_every: settings.knock_every,
        }
    }

    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.outside
            .tasks
            .spawn(name, self.essential(Box::pin(task)));
    }

    /// A task whose end, also by a panic, is the end of the node: see [`Node::ended`].
    pub fn essential(&self, task: Boxed<()>) -> Boxed<()> {
        let ends = EndsTheNode(self.ended.clone());
        Box::pin(async move {
            let _ends = ends;
            task.await;
        })
    }

    /// Returns when something has ended without which a node must not run: its driver, its binder, its reporter (which
    /// ends when consensus fails), or what was made [`essential`](Node::essential). Only one may wait for it.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Returns when [`Node::stop`] is called.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stage = self.stage.subscribe();
        async move {
            // A node that is gone has stopped.
            stage.wait_for(|s| *s == Life::Stops).await.ok();
        }
    }

    /// Leadership goes to the node that the controller would choose, if this one leads and there is such a node, which
    /// is the answer; waits at most 3 s for it. From now on this node says that it may not hold.
    pub async fn hand_over(&self) -> bool {
        self.stage.send_replace(Life::HandsOver);
        let to = self
            .driver
            .ask(|c| {
                c.last_successor()
                    .filter(|_| c.raft().role == RaftRole::Leader)
            })
            .await
            .flatten();
        let Some(to) = to else { return false };
        let order = Event::MoveLeader {
            to: Some(to),
            reason: HandoverReason::Shutdown,
        };
        if !self.driver.order(order).await {
            return false;
        }
        // Else a drained node to which it goes for want of another would hand it back at once.
        self.consensus.set_report(NodeReport {
            why_not: STOPS.to_owned(),
            credentials: self.self_check.credentials(),
            ..NodeReport::default()
        });
        let clock = &self.outside.clock;
        let deadline = clock.now() + HANDOVER_WITHIN;
        while clock.now() < deadline && self.consensus.news().leader == Some(self.consensus.me()) {
            clock.sleep(HANDOVER_LOOKS).await;
        }
        true
    }

    /// Ends the driver: nothing is decided any more.
    pub fn stop(&self) {
        self.stage.send_replace(Life::Stops);
    }
}

async fn start_consensus<R: Runtime>(
    outside: &Outside,
    settings: ConsensusSettings,
    driver: DriverHandle,
    on_applied: Option<OnApplied<R>>,
) -> io::Result<Consensus<R>> {
    let Some(look) = on_applied else {
        return Consensus::start(
            outside.clone(),
            settings,
            Arc::new(move || driver.applied()),
        )
        .await;
    };
    let started: Arc<OnceLock<Consensus<R>>> = Arc::default();
    let known = started.clone();
    let applied = move || {
        driver.applied();
        if let Some(consensus) = known.get() {
            look(consensus);
        }
    };
    let consensus = Consensus::start(outside.clone(), settings, Arc::new(applied)).await?;
    started.set(consensus.clone()).ok();
    Ok(consensus)
}

/// `None`: the log is empty.
fn cluster_of_log<R: Runtime>(consensus: &Consensus<R>) -> Option<NodeId> {
    let applied = consensus.read();
    (applied.applied_index > 0).then(|| applied.facts.cluster_id)
}

struct EndsTheNode(Arc<Notify>);

impl Drop for EndsTheNode {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
