//! This node's hands on the virtual IPs: the proxy's gate, and the kernel where there is privilege.
//!
//! ```text
//!   driver --hold(until)--> gate opens until then   +   kernel: fence, address, announce
//!          --release------> gate closes, sessions end; then the kernel drops; then `done`
//! ```

use crate::proxy::Gate;
use crate::world::{Addresses, Intercepted};
use ha_core::model::VirtualIp;
use ha_core::time::Instant;
use std::sync::Arc;

/// For machines without privilege: the addresses are there already, the leader's proxy binds them.
pub struct BoundAddresses {
    gate: Arc<Gate>,
}

impl BoundAddresses {
    /// Over the proxy's gate.
    pub const fn new(gate: Arc<Gate>) -> Self {
        BoundAddresses { gate }
    }
}

impl Addresses for BoundAddresses {
    fn configure(&self, _: &[VirtualIp], _: &[Intercepted], _: bool) {}

    fn hold(&self, until: Instant) {
        self.gate.open(until);
    }

    fn release(&self, done: Box<dyn FnOnce() + Send>) {
        // The kernel lets one process at a time bind an address and port: that is the fence here.
        self.gate.close();
        done();
    }

    fn announce(&self) {}

    fn fence(&self) -> String {
        "agent (vip = \"bind\": one process binds the address)".to_owned()
    }
}

#[cfg(target_os = "linux")]
pub use kernel::KernelAddresses;

#[cfg(target_os = "linux")]
mod kernel {
    use super::{Addresses, Arc, Gate, Instant, Intercepted, VirtualIp};
    use crate::vip::{Intercept, Kernel, Vip};
    use std::collections::BTreeMap;
    use std::net::IpAddr;
    use std::sync::mpsc;
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    /// How long a foreign holder has to answer before the first claim ever.
    const PROBE: Duration = Duration::from_millis(250);
    /// Between two looks whether a foreign holder is gone.
    const PROBE_AGAIN: Duration = Duration::from_secs(3);
    /// Configurations that may wait for the kernel; each replaces the one before.
    const QUEUE_MAX: usize = 64;

    /// Addresses on an interface, enforced by the kernel.
    pub struct KernelAddresses {
        gate: Arc<Gate>,
        kernel: Arc<Kernel>,
        state: Arc<Mutex<State>>,
        plans: mpsc::SyncSender<Plan>,
    }

    #[derive(Default)]
    struct State {
        /// Whether the kernel knows the addresses, and nobody else has them.
        ready: bool,
        /// Why not.
        obstacle: String,
    }

    #[derive(Clone)]
    struct Plan {
        vips: Vec<Vip>,
        intercepts: Vec<Intercept>,
        never_held: bool,
    }

    impl KernelAddresses {
        /// Over a started kernel side. `intercept`: send traffic to the proxy's transparent listener.
        ///
        /// # Errors
        /// No thread could be started.
        pub fn new(gate: Arc<Gate>, kernel: Arc<Kernel>) -> std::io::Result<Self> {
            let state = Arc::new(Mutex::new(State { ready: false, obstacle: "the virtual IPs are not configured yet".to_owned() }));
            let (plans, inbox) = mpsc::sync_channel(QUEUE_MAX);
            let (k, s) = (kernel.clone(), state.clone());
            std::thread::Builder::new().name("ha-configure".to_owned()).spawn(move || configure_loop(&k, &s, &inbox))?;
            Ok(KernelAddresses { gate, kernel, state, plans })
        }

        /// Why this node cannot hold, if it cannot.
        pub fn obstacle(&self) -> Option<String> {
            if !self.kernel.carrier() {
                return Some("the interface of the virtual IP has no carrier (cable, switch port, link down?)".to_owned());
            }
            let state = lock(&self.state);
            (!state.ready).then(|| state.obstacle.clone())
        }
    }

    fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn configure_loop(kernel: &Kernel, state: &Mutex<State>, inbox: &mpsc::Receiver<Plan>) {
        let mut plan: Option<Plan> = None;
        loop {
            let ready = lock(state).ready;
            let next = match (&plan, ready) {
                (Some(_), false) => inbox.recv_timeout(PROBE_AGAIN),
                _ => inbox.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            };
            match next {
                Ok(newest) => plan = Some(inbox.try_iter().last().unwrap_or(newest)),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            let Some(plan) = &plan else { continue };
            let obstacle = carry_out(kernel, plan);
            if let Some(obstacle) = &obstacle {
                tracing::warn!(%obstacle, "this node cannot hold the virtual IP");
            }
            *lock(state) = State { ready: obstacle.is_none(), obstacle: obstacle.unwrap_or_default() };
        }
    }

    fn carry_out(kernel: &Kernel, plan: &Plan) -> Option<String> {
        if let Err(e) = kernel.configure(plan.vips.clone(), plan.intercepts.clone()) {
            return Some(format!("the kernel did not take the virtual IPs: {e}"));
        }
        if !plan.never_held {
            return None;
        }
        for vip in &plan.vips {
            match kernel.probe_duplicate(vip.address, PROBE) {
                Ok(None) => {}
                Ok(Some(mac)) => {
                    let mac: Vec<String> = mac.iter().map(|b| format!("{b:02x}")).collect();
                    return Some(format!("{} is used by another machine ({}): take it away there, or give virtual_ip {} another address", vip.address, mac.join(":"), vip.name));
                }
                Err(e) => return Some(format!("whether {} is free could not be found out: {e}", vip.address)),
            }
        }
        None
    }

    impl Addresses for KernelAddresses {
        fn configure(&self, virtual_ips: &[VirtualIp], intercepted: &[Intercepted], never_held: bool) {
            let vips = virtual_ips.iter().map(|v| Vip { name: v.name.clone(), address: v.address, interface: None }).collect();
            // One entry per address, also when no frontend uses it: it is guarded all the same.
            let mut by_address: BTreeMap<IpAddr, Intercept> = BTreeMap::new();
            for i in intercepted {
                let entry = by_address.entry(i.address).or_insert_with(|| Intercept { address: i.address, ports: Vec::new(), to_port: i.to_port });
                entry.ports.extend(i.ports.iter().map(|(first, last)| *first..=*last));
            }
            let plan = Plan { vips, intercepts: by_address.into_values().collect(), never_held };
            if never_held {
                *lock(&self.state) = State { ready: false, obstacle: "whether the virtual IPs are free is being found out".to_owned() };
            }
            if self.plans.try_send(plan).is_err() {
                tracing::error!("the kernel side does not take configurations any more");
            }
        }

        fn hold(&self, until: Instant) {
            if lock(&self.state).ready {
                self.gate.open(until);
                self.kernel.hold(until.since_boot());
            }
        }

        fn release(&self, done: Box<dyn FnOnce() + Send>) {
            self.gate.close();
            self.kernel.release(Box::new(move |result| {
                if let Err(error) = result {
                    tracing::warn!(%error, "the virtual IP could not be dropped cleanly; its lease runs out in the kernel");
                }
                done();
            }));
        }

        fn announce(&self) {
            self.kernel.announce();
        }

        fn fence(&self) -> String {
            let active = self.kernel.fence();
            let mut by = vec!["agent"];
            if active.nftables() {
                by.push("nftables");
            }
            if active.lifetime() {
                by.push("address lifetime");
            }
            by.join(", ")
        }
    }
}
