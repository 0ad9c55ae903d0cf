//! Carries out one action. Nothing here waits: what takes time becomes a task that reports back.

use super::DriverHandle;
use crate::consensus::Consensus;
use crate::consensus::types::Runtime;
use crate::consensus::versions::Versions;
use crate::outside::{Addressee, Addresses, Call, Intercepted, Outside, Release};
use ha_core::command::{Command, Stamped};
use ha_core::controller::{Action, DropReason, Event, NodeReport};
use ha_core::id::NodeId;
use ha_core::lease::Lease;
use ha_core::model::VirtualIp;
use ha_core::own_address;
use ha_core::state::Facts;
use ha_record::lease::LeaseAnswer;
use std::collections::BTreeSet;
use std::time::Duration;

/// An answer to a `Lease` or `Release` that takes longer is of no use any more.
const LEASE_CALL_WITHIN: Duration = Duration::from_secs(1);

/// Largest answer to a `Lease`, in bytes, which says how a node is: larger ones are no answer.
const LEASE_ANSWER_MAX: usize = 256 << 10;

/// Borrows what acting needs.
pub struct Actor<'a, R: Runtime> {
    pub outside: &'a Outside,
    pub consensus: &'a Consensus<R>,
    pub handle: &'a DriverHandle,
    /// Nobody has held before, as far as the log says.
    pub first_ever: bool,
}

impl<R: Runtime> Actor<'_, R> {
    /// Acts; says whether a new view is wanted.
    pub fn act(&self, action: Action) -> bool {
        match action {
            Action::Refresh => return true,
            Action::SendLease { lease, to } => self.send_lease(lease, &to),
            Action::SendRelease { release, to } => self.send_release(release, &to),
            Action::Hold { until, .. } => self.outside.addresses.hold(until, self.first_ever),
            Action::Drop { why, number } => self.drop_addresses(why, number),
            Action::Announce => self.outside.addresses.announce(),
            Action::Campaign => {
                let consensus = self.consensus.clone();
                self.outside.tasks.spawn(
                    "campaign",
                    Box::pin(async move { consensus.campaign().await }),
                );
            }
            Action::Transfer { to } => {
                let consensus = self.consensus.clone();
                self.outside.tasks.spawn(
                    "transfer",
                    Box::pin(async move { consensus.transfer(to).await }),
                );
            }
            Action::Propose(command) => self.propose(command),
            Action::ChangeVoters { from, to } => {
                let consensus = self.consensus.clone();
                let change = async move {
                    if let Err(e) = consensus.set_voters(&from, to).await {
                        tracing::info!(error = %e, "the voters are not changed yet");
                    }
                };
                self.outside.tasks.spawn("voters", Box::pin(change));
            }
            Action::SettleMembership { forward } => {
                let consensus = self.consensus.clone();
                let settle = async move {
                    match consensus.settle_membership(forward).await {
                        Ok(()) if forward => tracing::info!(
                            "a membership change that another leader began is completed"
                        ),
                        Ok(()) => tracing::info!(
                            "a membership change that another leader began is undone: it would have taken this node out while it leads"
                        ),
                        Err(e) => tracing::info!(error = %e, "the membership is still joint"),
                    }
                };
                self.outside.tasks.spawn("settle", Box::pin(settle));
            }
            Action::Probe {
                server,
                probe,
                purpose,
            } => {
                let (probe, handle) = (self.outside.prober.probe(probe), self.handle.clone());
                self.outside.tasks.spawn(
                    "probe",
                    Box::pin(async move {
                        handle.tell(Event::Checked {
                            server,
                            purpose,
                            result: probe.await,
                        })
                    }),
                );
            }
        }
        false
    }

    /// The own promise first: refused there, nothing is sent.
    fn send_lease(&self, lease: Lease, to: &BTreeSet<NodeId>) {
        let me = self.consensus.me();
        let own = self
            .consensus
            .promise_to_self(self.outside.clock.now(), lease);
        let refused = own.is_err();
        self.handle.tell(Event::LeaseAnswered {
            from: me,
            lease,
            result: own,
            report: NodeReport::default(),
        });
        if refused {
            return;
        }
        self.call_all(
            Call::Lease,
            lease,
            to,
            move |versions, handle, from, body| {
                if body.len() <= LEASE_ANSWER_MAX
                    && let Ok(LeaseAnswer { result, report }) = versions.hear(from, body)
                {
                    handle.tell(Event::LeaseAnswered {
                        from,
                        lease,
                        result,
                        report,
                    });
                }
            },
        );
    }

    fn send_release(&self, release: Lease, to: &BTreeSet<NodeId>) {
        self.consensus.release_self(release);
        self.call_all(Call::Release, release, to, move |_, handle, from, _| {
            handle.tell(Event::ReleaseAnswered { from, release })
        });
    }

    fn call_all(
        &self,
        call: Call,
        lease: Lease,
        to: &BTreeSet<NodeId>,
        answered: impl Fn(&Versions, &DriverHandle, NodeId, &[u8]) + Clone + Send + 'static,
    ) {
        let versions = self.consensus.versions();
        let addresses = self.consensus.news().addresses;
        for node in to {
            let Some(at) = addresses.get(node).cloned() else {
                continue;
            };
            let Ok(body) = versions.tell(*node, &lease) else {
                continue;
            };
            let asking = self.outside.peers.call(
                Addressee { node: *node, at },
                call,
                body,
                LEASE_CALL_WITHIN,
            );
            let (handle, node, answered) = (self.handle.clone(), *node, answered.clone());
            let versions = versions.clone();
            let task = async move {
                match asking.await {
                    Ok(body) => answered(&versions, &handle, node, &body),
                    Err(_) => versions.forget(node),
                }
            };
            self.outside.tasks.spawn("lease", Box::pin(task));
        }
    }

    fn drop_addresses(&self, why: DropReason, number: u64) {
        if why != DropReason::Handover {
            tracing::info!(?why, "the virtual IP is dropped");
        }
        let handle = self.handle.clone();
        let release = if why == DropReason::Handover {
            Release::Handover
        } else {
            Release::Ended
        };
        self.outside.addresses.release(
            release,
            Box::new(move || handle.tell(Event::Dropped { number })),
        );
    }

    fn propose(&self, command: Command) {
        // What is for the event log is for this node's own as well: who hands over may not live to see it there.
        if let Command::Note { text, .. } = &command {
            tracing::info!("{text}");
        }
        let (consensus, at) = (self.consensus.clone(), self.outside.clock.wall());
        let task = async move {
            match consensus
                .propose(Stamped {
                    at,
                    by: String::new(),
                    command: command.clone(),
                    request: None,
                })
                .await
            {
                Ok(Ok(_)) => {}
                Ok(Err(rejection)) => tracing::info!(?command, %rejection, "refused"),
                Err(e) => tracing::info!(?command, error = %e, "not committed"),
            }
        };
        self.outside.tasks.spawn("propose", Box::pin(task));
    }
}

/// Tells the kernel side which addresses there are and which of their ports go to the proxy. An address that is a
/// member's own, as an agent that did not look has accepted it, is never touched: its machine would be cut off.
pub fn configure_addresses(addresses: &dyn Addresses, facts: &Facts) {
    let config = &facts.config;
    let own = own_address::among(
        &config.virtual_ips,
        facts.members.values().flat_map(own_address::of),
    );
    for own in &own {
        tracing::error!(virtual_ip = %own.virtual_ip, remedy = own_address::REMEDY, "{own}, and is left alone");
    }
    let virtual_ips: Vec<VirtualIp> = config
        .virtual_ips
        .iter()
        .filter(|v| own.iter().all(|o| o.virtual_ip != v.name))
        .cloned()
        .collect();
    let intercepted: Vec<Intercepted> = virtual_ips
        .iter()
        .map(|v| Intercepted {
            address: v.address,
            ports: config
                .frontends
                .iter()
                .filter(|f| f.virtual_ips.contains(&v.name))
                .flat_map(|f| f.listeners.iter().map(|r| (r.first, r.last)))
                .collect(),
        })
        .collect();
    addresses.configure(&virtual_ips, &intercepted);
}
