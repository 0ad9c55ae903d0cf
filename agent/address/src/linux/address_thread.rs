//! `ha-address`: the addresses on the interfaces, and their announcements.
//!
//! Level-triggered: five times a second while held, and whenever something changes, what the
//! kernel has is compared with what is wanted, and mended. Nothing here waits for the `nft`
//! program, and the fence waits for nothing here.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::addresses::{self, KernelAddress, Life, full_prefix};
use super::announce::{Timetable, announce};
use super::clock::boot_now;
use super::links;
use super::netlink::Netlink;
use super::packet::PacketSocket;
use super::place::{Placed, Plan};
use super::shared::Shared;
use super::warden::Post;
use crate::types::{ActiveFence, Done, VipError, VipEvent};

/// Several refreshes fit into the second that an address lives.
const TICK: Duration = Duration::from_millis(200);
/// The longest that announcing waits for the kernel to take packets in; measured: below 1 ms.
const SETTLE: Duration = Duration::from_millis(20);
const IDLE: Duration = Duration::from_secs(1);
/// The longest that the kernel keeps an address of one second: it lets the timer be late by up to
/// a quarter of a second to share a wake-up with others (`ADDRCONF_TIMER_FUZZ`).
const KERNEL_SECOND: Duration = Duration::from_millis(1280);

/// What is wanted of this thread.
#[derive(Default)]
pub(super) struct AddressOrders {
    pub(super) held: Option<Duration>,
    pub(super) releases: Vec<Done>,
    pub(super) announce: bool,
    /// Counts changes; `done` follows.
    pub(super) asked: u64,
    pub(super) done: u64,
}

/// Runs until the fence thread has ended and its last orders are carried out.
pub(super) fn run(shared: &Arc<Shared>, netlink: Netlink, socket: PacketSocket) {
    let mut keeper = Keeper {
        shared: shared.clone(),
        netlink,
        socket,
        present: BTreeSet::new(),
        known: BTreeSet::new(),
        timetable: None,
    };
    let mut post = Post::new(shared.settings.warden.clone(), shared.settings.mark);
    while !shared.is_stopping() {
        let patience = keeper.patience();
        let order = shared.address.wait(patience, |o| {
            (o.asked != o.done).then(|| AddressOrders {
                releases: std::mem::take(&mut o.releases),
                announce: std::mem::take(&mut o.announce),
                ..*o
            })
        });
        let order = order.unwrap_or_default();
        keeper.step(order.releases, order.announce);
        post.say(
            shared,
            keeper.held().unwrap_or_default(),
            keeper.present.iter().map(|(_, address)| address),
        );
        shared.address.change(|o| o.done = o.done.max(order.asked));
    }
    keeper.step_down();
    let last = shared.address.change(|o| std::mem::take(&mut o.releases));
    keeper.release(last);
}

struct Keeper {
    shared: Arc<Shared>,
    netlink: Netlink,
    socket: PacketSocket,
    /// What was there when last looked.
    present: BTreeSet<(u32, IpAddr)>,
    /// Every address that was ever in a plan.
    known: BTreeSet<IpAddr>,
    timetable: Option<Timetable>,
}

impl Keeper {
    fn held(&self) -> Option<Duration> {
        self.shared
            .address
            .change(|o| o.held)
            .filter(|until| *until > boot_now())
    }

    fn patience(&self) -> Duration {
        let now = boot_now();
        let Some(until) = self.held() else {
            return IDLE;
        };
        let due = self.timetable.map_or(TICK, |t| t.due().saturating_sub(now));
        TICK.min(due)
            .min(until.saturating_sub(now))
            .max(Duration::from_millis(1))
    }

    fn step(&mut self, releases: Vec<Done>, announce_now: bool) {
        let plan = self.shared.plan();
        self.known.extend(plan.addresses());
        if !releases.is_empty() {
            self.release(releases);
        }
        let Some(until) = self.held() else {
            return self.step_down();
        };
        if let Err(error) = self.reconcile(&plan, until) {
            self.shared
                .fail(format!("looking at the kernel's addresses: {error}"));
        }
        let due = self.timetable.is_some_and(|t| t.due() <= boot_now());
        if (due || (announce_now && self.timetable.is_some())) && self.is_settled(&plan) {
            self.announce(&plan);
        }
    }

    fn reconcile(&mut self, plan: &Plan, until: Duration) -> io::Result<()> {
        let listed = addresses::list(&mut self.netlink)?;
        self.remove_strays(&listed, plan);
        for placed in &plan.placed {
            let key = (placed.index, placed.address);
            let full = full_prefix(placed.address);
            let there = listed
                .iter()
                .any(|a| (a.index, a.address, a.prefix) == (key.0, key.1, full));
            let was_there = self.present.contains(&key);
            if !there && was_there {
                self.present.remove(&key);
                self.shared.tell(VipEvent::AddressGone {
                    address: placed.address,
                    interface: placed.interface.clone(),
                });
            }
            if (there && !self.shared.fence.lifetime()) || !self.may_put(until) {
                continue;
            }
            match self.put(placed) {
                Ok(()) if there && was_there => {}
                Ok(()) => {
                    self.present.insert(key);
                    self.timetable = Some(Timetable::claimed(boot_now()));
                    if was_there {
                        let what = format!("{} on {}", placed.address, placed.interface);
                        self.shared.tell(VipEvent::Mended { what });
                    }
                }
                Err(error) => self.shared.fail(format!(
                    "adding {} to {}: {error}",
                    placed.address, placed.interface
                )),
            }
        }
        Ok(())
    }

    /// Whether what would be announced now is answered for, too: who hears it asks at once.
    fn is_settled(&mut self, plan: &Plan) -> bool {
        if self.timetable.is_none_or(|t| t.age(boot_now()) >= SETTLE) {
            return true;
        }
        let mut added = plan
            .placed
            .iter()
            .filter(|p| p.address.is_ipv6() && self.present.contains(&(p.index, p.address)));
        added.all(|p| addresses::is_local(&mut self.netlink, p.address).unwrap_or(false))
    }

    /// Whether an address that is given its second now is gone in time.
    fn may_put(&self, until: Duration) -> bool {
        let now = boot_now();
        match self.shared.fence {
            ActiveFence::Lifetime => until + self.shared.settings.overrun >= now + KERNEL_SECOND,
            ActiveFence::Nftables | ActiveFence::NftablesAndLifetime => now < until,
        }
    }

    fn put(&mut self, placed: &Placed) -> io::Result<()> {
        let life = if self.shared.fence.lifetime() {
            Life::OneSecond
        } else {
            Life::Permanent
        };
        let mark = self.shared.settings.mark;
        addresses::put(&mut self.netlink, placed.index, placed.address, life, mark)
    }

    fn announce(&mut self, plan: &Plan) {
        let links = match links::list(&mut self.netlink) {
            Ok(links) => links,
            Err(error) => return self.shared.fail(format!("looking at interfaces: {error}")),
        };
        for placed in &plan.placed {
            if let Err(error) = announce(&self.socket, placed, &links) {
                self.shared
                    .fail(format!("announcing {}: {error}", placed.address));
            }
        }
        if let Some(timetable) = &mut self.timetable {
            timetable.announced(boot_now());
        }
    }

    /// Not held (any more): no managed address stays.
    fn step_down(&mut self) {
        if let Err(error) = self.remove_all() {
            self.shared.fail(format!("removing addresses: {error}"));
        }
    }

    fn release(&mut self, releases: Vec<Done>) {
        let error = self.remove_all().err();
        for done in releases {
            done(match &error {
                None => Ok(()),
                Some(error) => {
                    let source = match error.raw_os_error() {
                        Some(code) => io::Error::from_raw_os_error(code),
                        None => error.kind().into(),
                    };
                    Err(VipError::Kernel {
                        what: "removing addresses",
                        source,
                    })
                }
            });
        }
    }

    fn remove_all(&mut self) -> io::Result<()> {
        self.timetable = None;
        self.present.clear();
        let listed = addresses::list(&mut self.netlink)?;
        self.remove_strays(&listed, &Plan::default())
            .map_or(Ok(()), Err)
    }

    /// Deletes managed addresses that are not in the plan; the last error, if any.
    fn remove_strays(&mut self, listed: &[KernelAddress], plan: &Plan) -> Option<io::Error> {
        let mark = self.shared.settings.mark;
        let mut last = None;
        for a in listed.iter().filter(|a| a.is_managed(mark, &self.known)) {
            let wanted = plan.find(a.address).is_some_and(|p| p.index == a.index);
            if wanted {
                continue;
            }
            self.present.remove(&(a.index, a.address));
            if let Err(error) = addresses::delete(&mut self.netlink, a.index, a.address, a.prefix) {
                self.shared.fail(format!("removing {}: {error}", a.address));
                last = Some(error);
            }
        }
        last
    }
}
