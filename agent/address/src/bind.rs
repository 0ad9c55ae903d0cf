//! For machines without privilege: the addresses are there already, and the holder's proxy binds them.

use crate::{Intercept, Release, Taken, Traffic, Vip, VirtualIps};
use ha_core::time::Instant;
use std::net::IpAddr;
use std::sync::Arc;

/// Holds by letting the traffic in. The kernel lets one process at a time bind an address and port: that is the
/// fence here.
pub struct Bound {
    traffic: Arc<dyn Traffic>,
}

impl Bound {
    /// Over what passes through the addresses.
    pub fn new(traffic: Arc<dyn Traffic>) -> Self {
        Bound { traffic }
    }
}

impl VirtualIps for Bound {
    fn configure(&self, _: Vec<Vip>, _: Vec<Intercept>) {}

    fn taken(&self, _: &[Vip]) -> Vec<(IpAddr, Taken)> {
        // They are on the machine already.
        Vec::new()
    }

    fn hold(&self, until: Instant, _: bool) {
        self.traffic.open(until);
    }

    fn release(&self, _: Release, done: Box<dyn FnOnce() + Send>) {
        self.traffic.close();
        done();
    }

    fn announce(&self) {}

    fn fence(&self) -> String {
        "agent (vip = \"bind\": one process binds the address)".to_owned()
    }

    fn obstacle(&self) -> Option<String> {
        None
    }
}
