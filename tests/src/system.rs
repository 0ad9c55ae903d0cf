//! What a benchmark or a fault scenario needs from a highly available system,
//! so that the product and its peer go through the very same fault.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::netns::Topology;
use crate::wait;

/// Nodes that hold one address together and forward its traffic to servers on them.
pub trait System {
    /// Its name in tables.
    fn name(&self) -> &str;

    /// The machines that it runs on.
    fn topology(&self) -> &Topology;

    fn address(&self) -> SocketAddr;

    /// Which node has the address, when exactly one has.
    fn holder(&self) -> Option<u8>;

    /// Cuts the power of a machine; gives the instant of the fault.
    fn kill_machine(&mut self, node: u8) -> Instant;

    /// `kill -9` of every process of the system on a node (not of its servers).
    fn kill_process(&mut self, node: u8) -> Instant;

    /// `SIGSTOP` of every process of the system on a node (not of its servers): they are there and do nothing.
    fn stop_process(&mut self, node: u8) -> Instant;

    /// Moves the address away from a node by intention, in the way that the system's manual says.
    fn graceful_move(&mut self, from: u8) -> Instant;

    /// Brings a node back after any of these, and waits until it could take over.
    fn restore(&mut self, node: u8);

    /// Waits until one node has the address and gives it.
    #[track_caller]
    fn wait_for_holder(&self, bound: Duration) -> u8 {
        wait::until("exactly one node to have the address", bound, || {
            self.holder().ok_or_else(|| {
                format!("{:?} have it", self.topology().who_has(self.address().ip()))
            })
        })
    }

    /// Waits until another node than `old` has the address, whatever the old one still shows.
    #[track_caller]
    fn wait_for_other_holder(&self, old: u8, bound: Duration) -> u8 {
        wait::until(
            &format!("another node than node-{old} to have the address"),
            bound,
            || {
                let others = self
                    .topology()
                    .who_has(self.address().ip())
                    .into_iter()
                    .filter(|&node| node != old);
                others.min().ok_or_else(|| "no other has it".into())
            },
        )
    }
}
