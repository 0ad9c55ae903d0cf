//! How this node is: whether its proxy accepts, its interface has carrier, its own servers answer.
//! Looked at a few times a second and told to the controller, and through it to the leader.

use crate::config::AgentConfig;
use crate::hands::Hands;
use crate::outside::Consensus;
use ha_core::check::{CheckResult, Kind};
use ha_core::controller::{Event, NodeReport};
use ha_core::id::ServerId;
use ha_core::model::Role;
use ha_core::own_address;
use ha_core::placement;
use ha_core::version::CURRENT;
use ha_node::driver::DriverHandle;
use ha_node::outside::{Addresses as _, Outside};
use ha_proxy::Proxy;
use ha_trust::store::TrustStore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// The proxy and the own servers are looked at every so many looks.
const SELF_CHECK_EACH: u32 = 4;
/// How long a check of a server on this machine may take, if its own timeout is not shorter.
const OWN_SERVER_WITHIN: Duration = Duration::from_millis(300);

/// See the module.
pub struct Reporter {
    pub(super) config: AgentConfig,
    pub(super) hands: Hands,
    pub(super) proxy: Arc<Proxy>,
    pub(super) consensus: Consensus,
    pub(super) driver: DriverHandle,
    pub(super) outside: Outside,
    pub(super) trust: Arc<TrustStore>,
    pub(super) stop: CancellationToken,
}

impl Reporter {
    /// One full look.
    pub async fn look(&self) -> (Option<String>, BTreeSet<ServerId>) {
        let fault = self.proxy.self_check().await.err();
        let down = self.own_servers_down().await;
        self.tell(fault.clone(), down.clone());
        (fault, down)
    }

    /// Looks until consensus fails; then the agent must end.
    pub async fn run(self) {
        let (mut fault, mut down) = self.look().await;
        for turn in 1u32.. {
            self.outside.clock.sleep(EVERY).await;
            if turn.is_multiple_of(SELF_CHECK_EACH) {
                (fault, down) = self.look().await;
            } else {
                self.tell(fault.clone(), down.clone());
            }
            let sessions: BTreeMap<ServerId, u32> = self
                .proxy
                .counters()
                .servers
                .iter()
                .map(|(id, c)| (*id, c.now + c.queued))
                .collect();
            self.driver.tell(Event::Sessions(sessions));
            if let Some(why) = self.consensus.failure() {
                tracing::error!(
                    why,
                    "consensus has failed on this node; the agent ends, so that nothing is answered that is not stored"
                );
                return;
            }
        }
    }

    fn tell(&self, fault: Option<String>, down: BTreeSet<ServerId>) {
        if self.stop.is_cancelled() {
            // What the others hear of it now is said by who hands over.
            return;
        }
        let witness = (self.config.role == Role::Witness).then(|| "it is a witness".to_owned());
        let why_not = witness
            .or_else(|| fault.map(|f| format!("its proxy does not work: {f}")))
            .or_else(|| self.own_address())
            .or_else(|| self.hands.obstacle());
        let report = NodeReport {
            eligible: why_not.is_none(),
            why_not: why_not.unwrap_or_default(),
            fence: self.hands.fence(),
            down,
            credentials: self.trust.live().credentials(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            speaks: CURRENT,
            checks: Kind::known_set(),
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

    /// Servers on this node that do not accept: its agent sees that first.
    async fn own_servers_down(&self) -> BTreeSet<ServerId> {
        let facts = self.consensus.read().facts;
        let mut down = BTreeSet::new();
        for place in placement::on_node(&facts, self.consensus.me()) {
            let Some(probe) = place.probe() else {
                continue;
            };
            let probe = probe.at_most(OWN_SERVER_WITHIN);
            if self.outside.prober.probe(probe).await != CheckResult::Passed {
                down.insert(place.id);
            }
        }
        down
    }
}
