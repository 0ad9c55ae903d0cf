//! `ha-fence`: keeps the lease elements alive, and does nothing else.
//!
//! ```text
//!  hold(until) ──> late? ──> not sent, FenceLate
//!                  in time ─> claim what is not alive (20 ms), renew all until `until`
//!                             └─ took long? shorter again, or removed
//!  release ──────> remove, then the address thread
//!  parking ───────> connection attempts are kept, not answered; a hold ends it
//! ```
//!
//! Why an element never outlives its lease:
//! 1. its life is computed from the clock right before sending, less a margin, rounded down;
//! 2. a renewal that enters the kernel after the element died is refused by the kernel;
//! 3. a claim, which cannot be refused that way, is for 20 ms only;
//! 4. a transaction that took longer than the margin is corrected at once.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::clock::boot_now;
use super::elements::{Elements, SHORTEST};
use super::shared::Shared;
use crate::types::{Done, VipEvent};

/// How long a transaction may take without being corrected; measured: 0.1 ms.
const MARGIN: Duration = Duration::from_millis(2);
const TRIES: usize = 3;
const IDLE: Duration = Duration::from_secs(1);

/// What is wanted of this thread.
#[derive(Default)]
pub(super) struct FenceOrders {
    pub(super) until: Option<Duration>,
    pub(super) releases: Vec<Done>,
    /// A handover is coming: nobody begins a connection here any more.
    pub(super) parking: bool,
    /// The first of the releases is for a handover.
    pub(super) handover: bool,
    pub(super) members: BTreeSet<IpAddr>,
    /// Counts changes; `done` follows.
    pub(super) asked: u64,
    pub(super) done: u64,
}

/// Runs until the shared `stopping`; without `elements` it only passes the orders on.
pub(super) fn run(shared: &Arc<Shared>, elements: Option<Elements>) {
    let mut fence = Fence {
        shared: shared.clone(),
        elements,
        alive: BTreeSet::new(),
        seen: None,
        parked: false,
        silenced: false,
    };
    while !shared.is_stopping() {
        let order = shared.lease.wait(IDLE, |o| {
            (o.asked != o.done).then(|| FenceOrders {
                releases: std::mem::take(&mut o.releases),
                handover: std::mem::take(&mut o.handover),
                members: o.members.clone(),
                ..*o
            })
        });
        if let Some(order) = order {
            let asked = order.asked;
            fence.carry_out(order);
            shared.lease.change(|o| o.done = asked);
        }
    }
    fence.remove();
    let last = shared.lease.change(|o| std::mem::take(&mut o.releases));
    fence.pass_on(None, last);
}

enum Renewal {
    Sent,
    /// Nothing that reaches beyond the lease is in the kernel.
    NotSent,
    TableLost,
    Failed(io::Error),
}

struct Fence {
    shared: Arc<Shared>,
    elements: Option<Elements>,
    /// Members that have had an element since the last removal.
    alive: BTreeSet<IpAddr>,
    seen: Option<Duration>,
    /// Connection attempts are kept for the next holder.
    parked: bool,
    /// The kernel was told not to answer them.
    silenced: bool,
}

impl Fence {
    fn carry_out(&mut self, order: FenceOrders) {
        if !order.releases.is_empty() {
            if order.handover && order.until.is_none() {
                self.park(&order.members);
            }
            self.parked = false;
            self.remove();
            self.pass_on(None, order.releases);
        }
        let gone: Vec<IpAddr> = self.alive.difference(&order.members).copied().collect();
        if !gone.is_empty() {
            self.remove_these(&gone);
        }
        if let Some(until) = order.until {
            match order.parking {
                true => self.park(&order.members),
                false => self.unpark(&order.members),
            }
            self.hold(until, &order.members);
        }
    }

    /// Keeps connection attempts for the next holder, unless the lease has run out already. The
    /// kernel here answers them no more: half a connection would be lost in the handover.
    fn park(&mut self, members: &BTreeSet<IpAddr>) {
        if self.parked {
            return;
        }
        let held = self
            .shared
            .address
            .change(|o| o.held.is_some_and(|until| until > boot_now()));
        if !held {
            return;
        }
        if let Err(error) = self.shared.parking.begin(self.shared.plan()) {
            return self
                .shared
                .fail(format!("listening for connection attempts: {error}"));
        }
        (self.parked, self.silenced) = (true, true);
        self.stop_attempts(members, true);
    }

    /// This node holds (again).
    fn unpark(&mut self, members: &BTreeSet<IpAddr>) {
        self.shared.parking.end();
        self.parked = false;
        if std::mem::take(&mut self.silenced) {
            self.stop_attempts(members, false);
        }
    }

    fn stop_attempts(&mut self, members: &BTreeSet<IpAddr>, stop: bool) {
        let members: Vec<IpAddr> = members.iter().copied().collect();
        match self.elements.as_mut().map(|e| e.park(&members, stop)) {
            // The elements end by themselves, and with their table.
            Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => self
                .shared
                .fail(format!("parking connection attempts: {error}")),
            _ => {}
        }
    }

    fn hold(&mut self, until: Duration, members: &BTreeSet<IpAddr>) {
        let is_new = self.seen.replace(until) != Some(until);
        let late = boot_now().checked_sub(until);
        if let Some(by) = late {
            if is_new {
                self.shared.tell(VipEvent::FenceLate { by });
            }
            return;
        }
        match self.renew(until, members) {
            Renewal::Sent => self.pass_on(Some(until), Vec::new()),
            Renewal::NotSent => {}
            Renewal::TableLost => {
                self.shared.tables.change(|o| o.check = true);
                // An address that is held stays: the table is back in milliseconds. One that is
                // not held yet waits for it.
                let held = self
                    .shared
                    .address
                    .change(|o| o.held.is_some_and(|h| h > boot_now()));
                if held {
                    self.pass_on(Some(until), Vec::new());
                }
            }
            Renewal::Failed(error) => {
                self.shared
                    .fail(format!("renewing the lease in the kernel: {error}"));
            }
        }
    }

    fn renew(&mut self, until: Duration, members: &BTreeSet<IpAddr>) -> Renewal {
        let Some(elements) = &mut self.elements else {
            return Renewal::Sent;
        };
        let all: Vec<IpAddr> = members.iter().copied().collect();
        let (mut margin, mut too_long) = (MARGIN, None);
        for _ in 0..TRIES {
            let missing: Vec<IpAddr> = members.difference(&self.alive).copied().collect();
            if until.saturating_sub(boot_now() + margin) < SHORTEST {
                break;
            }
            match elements.claim(&missing, SHORTEST) {
                Ok(()) => self.alive.extend(missing),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Renewal::TableLost,
                Err(e) => return Renewal::Failed(e),
            }
            let before = boot_now();
            let life = until.saturating_sub(before + margin);
            if life < SHORTEST {
                break;
            }
            match elements.renew(&all, life) {
                Ok(()) => {
                    let took = boot_now().saturating_sub(before);
                    if took <= margin {
                        return Renewal::Sent;
                    }
                    too_long = Some(took);
                    margin = took * 2;
                }
                // Died meanwhile, or the table is gone: the claim will tell.
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.alive.clear(),
                Err(e) => return Renewal::Failed(e),
            }
        }
        if let Some(took) = too_long {
            self.remove();
            self.shared.tell(VipEvent::FenceLate { by: took });
        }
        Renewal::NotSent
    }

    fn remove(&mut self) {
        let all: Vec<IpAddr> = self.alive.iter().copied().collect();
        self.remove_these(&all);
    }

    fn remove_these(&mut self, members: &[IpAddr]) {
        let Some(elements) = &mut self.elements else {
            return;
        };
        match elements.remove(members) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.shared
                    .fail(format!("ending the lease in the kernel: {error}"));
            }
            _ => self.alive.retain(|m| !members.contains(m)),
        }
    }

    /// Hands over to the address thread; wakes it only when there is something to do at once.
    fn pass_on(&self, held: Option<Duration>, releases: Vec<Done>) {
        let refresh_now = !self.shared.fence.nftables();
        self.shared.address.change(|o| {
            let begins = o.held.is_none_or(|h| h <= boot_now());
            if begins || refresh_now || held.is_none() {
                o.asked += 1;
            }
            o.held = held;
            o.releases.extend(releases);
        });
    }
}
