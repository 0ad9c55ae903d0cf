//! What changes in a run, and what is found wrong in it.

use super::counts::Counts;
use super::invariants::Invariants;
use super::machine::{Node, Service};
use super::network::Network;
use super::scheduler::world_now;
use super::segment::Segment;
use super::story;
use ha_node::outside::Call;

pub struct State {
    pub network: Network,
    pub segment: Segment,
    /// From 1 on; number 0 is the world and has nothing.
    pub nodes: Vec<Node>,
    pub invariants: Invariants,
    pub counts: Counts,
    /// What was violated first.
    pub violation: Option<String>,
}

impl State {
    /// A peer was heard.
    pub fn note_call(&mut self, call: Call) {
        match call {
            Call::InstallSnapshot => self.counts.add("snapshots installed"),
            Call::TransferLeader => self.counts.add("transfers heard"),
            _ => {}
        }
    }

    /// The server of a node behaves so from now on.
    pub fn serve(&mut self, node: usize, service: Service) {
        let (is_up, now) = (service == Service::Up, world_now());
        self.nodes[node].service = service;
        let since = self.nodes[node].broken_since;
        self.nodes[node].broken_since = since.or(Some(now)).filter(|_| !is_up);
        if is_up {
            let outcome = self.invariants.turn_around.on_back(node, now);
            self.check(outcome);
        }
    }

    /// Keeps the first violation.
    pub fn check(&mut self, outcome: Result<(), String>) {
        if let Err(what) = outcome
            && self.violation.is_none()
        {
            story::note(&format!("VIOLATION {what}"));
            self.violation = Some(what);
        }
    }
}
