//! How this node is: whether its data plane works, its addresses can be held, its own servers answer.
//! Looked at a few times a second and told to the controller, and through it to the leader.
//!
//! ```text
//!   SelfCheck, Prober (own servers) --look, every second--> Found --tell, four times a second--> consensus, driver
//! ```

use crate::consensus::Consensus;
use crate::consensus::types::Runtime;
use crate::driver::DriverHandle;
use crate::knock::Knocks;
use crate::outside::{Clock, Outside, Prober, SelfCheck};
use futures_util::{StreamExt as _, stream};
use ha_core::check::{CheckResult, Kind, Probe};
use ha_core::controller::{Event, NodeReport};
use ha_core::id::ServerId;
use ha_core::model::Role;
use ha_core::own_address;
use ha_core::placement;
use ha_core::version::Speaks;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How long it waits between two reports.
const EVERY: Duration = Duration::from_millis(250);
/// The data plane and the own servers are looked at every so many reports.
const LOOK_EACH: u32 = 4;
/// How long a check of a server on this machine may take, if its own timeout is not shorter.
const OWN_SERVER_WITHIN: Duration = Duration::from_millis(300);
/// A probe that has not ended by itself after so long says nothing of its server: this machine did not come to it.
const PROBE_LOST: Duration = Duration::from_millis(900);
/// Own servers that are probed side by side.
const SIDE_BY_SIDE: usize = 64;

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Runs,
    /// It hands over and reports no more by itself.
    HandsOver,
    Stops,
}

/// Tells the leader how this node is, as long as the node runs.
pub(crate) struct Reporter<R: Runtime> {
    pub(crate) role: Role,
    pub(crate) agent_version: String,
    pub(crate) speaks: Speaks,
    pub(crate) outside: Outside,
    pub(crate) self_check: Arc<dyn SelfCheck>,
    pub(crate) consensus: Consensus<R>,
    pub(crate) driver: DriverHandle,
    pub(crate) stage: watch::Receiver<Life>,
    pub(crate) knocks: Knocks,
    pub(crate) knock_every: Duration,
}

/// What the last look found.
#[derive(Clone, Default)]
pub(crate) struct Found {
    fault: Option<String>,
    down: BTreeSet<ServerId>,
}

impl<R: Runtime> Reporter<R> {
    /// One full look, and the report of it.
    pub(crate) async fn look(&self, before: &Found) -> Found {
        let fault = self.self_check.data_plane().await;
        let down = self.own_servers_down(&before.down).await;
        let found = Found { fault, down };
        self.tell(&found);
        found
    }

    /// Looks and tells until consensus fails; then the agent must end, so that nothing is answered that is not stored.
    pub(crate) async fn run(self, mut found: Found) {
        for turn in 1u32.. {
            self.outside.clock.sleep(EVERY).await;
            if turn.is_multiple_of(LOOK_EACH) {
                found = self.look(&found).await;
            } else {
                self.tell(&found);
            }
            self.driver
                .tell(Event::Sessions(self.self_check.sessions()));
            if self.consensus.failure().is_some() {
                return;
            }
        }
    }

    fn tell(&self, found: &Found) {
        if *self.stage.borrow() != Life::Runs {
            // What the others hear of it now is said by who hands over.
            return;
        }
        let witness = (self.role == Role::Witness).then(|| "it is a witness".to_owned());
        let fault = found.fault.as_ref();
        let why_not = witness
            .or_else(|| fault.map(|f| format!("its proxy does not work: {f}")))
            .or_else(|| self.own_address())
            .or_else(|| self.self_check.obstacle());
        let report = NodeReport {
            eligible: why_not.is_none(),
            why_not: why_not.unwrap_or_default(),
            fence: self.outside.addresses.fence(),
            down: found.down.clone(),
            credentials: self.self_check.credentials(),
            agent_version: self.agent_version.clone(),
            speaks: self.speaks,
            checks: Kind::known_set(),
            stalls: self.self_check.stalls(),
            unheard: self
                .knocks
                .unheard(self.outside.clock.now(), self.knock_every),
        };
        self.consensus.set_report(report.clone());
        self.driver.tell(Event::Own(report));
    }

    /// A virtual IP that is a member's own address: an agent that did not look has accepted it.
    fn own_address(&self) -> Option<String> {
        let facts = self.consensus.read().facts;
        let members = facts.members.values().flat_map(own_address::of);
        let own = own_address::among(&facts.config.virtual_ips, members);
        let own = own.first()?;
        Some(format!(
            "virtual_ip {}: {own}: {}",
            own.virtual_ip,
            own_address::REMEDY
        ))
    }

    /// Servers on this node that do not accept: its agent sees that first. `before`: those that did not last time.
    async fn own_servers_down(&self, before: &BTreeSet<ServerId>) -> BTreeSet<ServerId> {
        let facts = self.consensus.read().facts;
        let own = placement::on_node(&facts, self.consensus.me())
            .filter_map(|place| Some((place.id, place.probe()?.at_most(OWN_SERVER_WITHIN))))
            .collect();
        down_of(own, before, &*self.outside.prober, &*self.outside.clock).await
    }
}

/// Which of these do not accept; of one about which nothing was found out, what was known `before`.
async fn down_of(
    servers: Vec<(ServerId, Probe)>,
    before: &BTreeSet<ServerId>,
    prober: &dyn Prober,
    clock: &dyn Clock,
) -> BTreeSet<ServerId> {
    let is_down = |(id, probe)| async move {
        let down = tokio::select! {
            biased;
            result = prober.probe(probe) => result != CheckResult::Passed,
            () = clock.sleep(PROBE_LOST) => before.contains(&id),
        };
        down.then_some(id)
    };
    stream::iter(servers)
        .map(is_down)
        .buffer_unordered(SIDE_BY_SIDE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::Boxed;
    use ha_core::time::{Instant, Timestamp};
    use std::net::SocketAddr;

    struct Tokio(tokio::time::Instant);

    impl Clock for Tokio {
        fn now(&self) -> Instant {
            Instant::from(self.0.elapsed())
        }
        fn wall(&self) -> Timestamp {
            Timestamp(0)
        }
        fn sleep(&self, duration: Duration) -> Boxed<()> {
            Box::pin(tokio::time::sleep(duration))
        }
    }

    /// By the last digit of the port: 0 answers, 1 is silent, of 2 nothing is ever heard.
    struct ByPort;

    impl Prober for ByPort {
        fn probe(&self, probe: Probe) -> Boxed<CheckResult> {
            Box::pin(async move {
                match probe.port % 10 {
                    0 => CheckResult::Passed,
                    1 => {
                        tokio::time::sleep(probe.within).await;
                        CheckResult::TimedOut
                    }
                    _ => std::future::pending().await,
                }
            })
        }
    }

    async fn look(ports: impl Iterator<Item = u16>, before: &[u16]) -> (BTreeSet<u32>, Duration) {
        let clock = Tokio(tokio::time::Instant::now());
        let probe = |port| {
            let at = SocketAddr::from(([10, 0, 0, 1], port));
            (ServerId(port.into()), Probe::connect(at, OWN_SERVER_WITHIN))
        };
        let before = before.iter().map(|port| ServerId((*port).into())).collect();
        let down = down_of(ports.map(probe).collect(), &before, &ByPort, &clock).await;
        (down.iter().map(|id| id.0).collect(), clock.0.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn silent_servers_are_waited_for_side_by_side() {
        let silent = (0..SIDE_BY_SIDE as u16).map(|n| n * 10 + 1);
        let (down, took) = look(silent.chain([500]), &[]).await;
        assert_eq!(down.len(), SIDE_BY_SIDE);
        assert!(took < 2 * OWN_SERVER_WITHIN, "{took:?}");
    }

    /// The threads that probe are busy: that is no fault of the server.
    #[tokio::test(start_paused = true)]
    async fn of_a_server_that_was_not_come_to_the_last_word_stands() {
        let (down, took) = look([10, 11, 12, 22].into_iter(), &[10, 22]).await;
        assert_eq!(down, BTreeSet::from([11, 22]));
        assert!(took < 2 * PROBE_LOST, "{took:?}");
    }
}
