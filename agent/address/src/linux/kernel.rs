//! The handle that the rest of the agent has: starts the threads, leaves them orders, stops them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::Sender;

use super::check::check;
use super::cleanup::remove_leftovers;
use super::clock::boot_now;
use super::elements::Elements;
use super::netlink::Netlink;
use super::only::Only;
use super::own::Machine;
use super::packet::{Hears, PacketSocket};
use super::parking::Parking;
use super::place::{Plan, place};
use super::shared::Shared;
use super::tables_thread::{Request, Wanted};
use super::trial::choose_fence;
use super::watch_thread::{Ears, judge_carrier, news_socket};
use super::{address_thread, fence_thread, links, parking, probe, tables_thread, watch_thread};
use crate::types::{ActiveFence, Done, Intercept, Taken, Vip, VipError, VipEvent, VipSettings};

const PATIENCE: Duration = Duration::from_millis(500);
/// Two runs of `nft` at their bound, and a little.
const CONFIGURE: Duration = Duration::from_secs(5);
/// What `shutdown` may take in all, and how much of it deleting the tables.
const SHUTDOWN: Duration = Duration::from_secs(1);
const TABLES_END: Duration = Duration::from_millis(400);
const TABLES: &str = "ha-tables";
const MAX_REQUESTS: usize = 16;

/// The kernel's network state, as far as it is ours.
pub struct Kernel {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Closed to stop the watch thread.
    stop: Option<UnixStream>,
    /// Given back last, when the tables are away.
    _only: Only,
}

impl Kernel {
    /// Removes what a crashed run left, tries the fence, opens the sockets, starts the threads.
    /// Needs `CAP_NET_ADMIN` and `CAP_NET_RAW`. Takes about 50 ms, at most about 10 s.
    /// `events` is never waited for. While another process manages addresses here, nothing is touched.
    pub fn start(settings: VipSettings, events: Sender<VipEvent>) -> Result<Kernel, VipError> {
        let only = Only::take()?;
        remove_leftovers(&only, &settings, &[])?;
        let (fence, features) = choose_fence(&settings)?;
        let route = || {
            Netlink::open(libc::NETLINK_ROUTE as isize, PATIENCE)
                .map_err(VipError::kernel("open rtnetlink"))
        };
        let packet = |hears| {
            PacketSocket::open(hears, None).map_err(VipError::kernel("open a packet socket"))
        };
        let elements = match fence.nftables() {
            true => Some(Elements::open(features).map_err(VipError::kernel("open nfnetlink"))?),
            false => None,
        };
        let netfilter = Netlink::open(libc::NETLINK_NETFILTER as isize, PATIENCE)
            .map_err(VipError::kernel("open nfnetlink"))?;
        let (stop, stopped) = UnixStream::pair().map_err(VipError::kernel("open a socket pair"))?;
        let ears = Ears {
            route: route()?,
            news: news_socket().map_err(VipError::kernel("listen to rtnetlink"))?,
            arp: packet(Hears::Arp)?,
            advertisements: packet(Hears::Advertisements).ok(),
            stop: stopped,
        };
        let (desk, bell) = Parking::new().map_err(VipError::kernel("open a socket pair"))?;
        let (for_addresses, for_tables, sender) = (route()?, route()?, packet(Hears::Nothing)?);
        let shared = Arc::new(Shared::new(settings, fence, events, desk));
        shared.set_plan(first_plan(&shared.settings, &mut route()?)?);
        judge_carrier(&shared, &shared.plan().interfaces());
        let mut kernel = Kernel {
            shared,
            threads: Vec::new(),
            stop: Some(stop),
            _only: only,
        };
        kernel.spawn("ha-fence", move |s| fence_thread::run(s, elements))?;
        kernel.spawn("ha-address", move |s| {
            address_thread::run(s, for_addresses, sender)
        })?;
        kernel.spawn(TABLES, move |s| {
            tables_thread::run(s, netfilter, for_tables, features)
        })?;
        kernel.spawn("ha-parking", move |s| parking::run(s, bell))?;
        kernel.spawn("ha-watch", move |s| watch_thread::run(s, ears))?;
        Ok(kernel)
    }

    /// As it was started.
    pub fn settings(&self) -> &VipSettings {
        &self.shared.settings
    }

    /// What is really in force.
    pub fn fence(&self) -> ActiveFence {
        self.shared.fence
    }

    /// Which addresses are managed (at most 256) and what is intercepted. Level-triggered: the
    /// same again changes nothing; what is unchanged is not disturbed. After an error of the
    /// outside world (no such interface, nft failed) it is tried again every second. Blocking,
    /// at most 5 s; about 2 ms after a change of addresses or
    /// ports, 10 to 50 ms when `nft` must write rules (another interface, another proxy port).
    pub fn configure(&self, vips: Vec<Vip>, intercepts: Vec<Intercept>) -> Result<(), VipError> {
        check(&vips, &intercepts)?;
        let (reply, answer) = mpsc::sync_channel(1);
        let request = Request {
            wanted: Wanted { vips, intercepts },
            reply,
        };
        let accepted = self.shared.tables.change(|o| {
            let room = o.requests.len() < MAX_REQUESTS;
            if room {
                o.requests.push_back(request);
            }
            room
        });
        if !accepted {
            return Err(VipError::TimedOut("the configuration before this one"));
        }
        match answer.recv_timeout(CONFIGURE) {
            Ok(outcome) => outcome,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(VipError::TimedOut("configuring")),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(VipError::Stopped),
        }
    }

    /// Hold the addresses until this instant (time since boot). The first call after `release`
    /// claims, further ones renew; an earlier instant than before changes nothing. Never waits.
    /// Instants nearer than about 25 ms are too short to be sent.
    pub fn hold(&self, until: Duration) {
        self.shared.lease.change(|o| {
            if o.until.is_none_or(|before| before < until) {
                o.until = Some(until);
                o.parking = false;
                o.asked += 1;
            }
        });
    }

    /// Before `release_for_handover`: from now on connection attempts are kept for the next holder
    /// and not answered, for at most 200 ms; what is open goes on. Ends with the next `hold`. Never waits.
    pub fn prepare_handover(&self) {
        self.shared.lease.change(|o| {
            if o.until.is_some() {
                o.parking = true;
                o.asked += 1;
            }
        });
    }

    /// Drop the addresses now: fence first, then the addresses. Never waits; `done` is called
    /// from a thread of this module when the kernel no longer answers (typically within 1 ms).
    pub fn release(&self, done: Done) {
        self.give_up(false, done);
    }

    /// As `release`, for another node that will hold the addresses next: connection attempts that
    /// still come to this one are kept for up to 500 ms, and until 1 s after the release sent on
    /// to the node that announces the address. Once this node holds again, at `shutdown`, and
    /// where nothing was held any more, nothing is sent on. A plain `release` afterwards changes
    /// nothing. To be of use, keep this handle for as long.
    pub fn release_for_handover(&self, done: Done) {
        self.give_up(true, done);
    }

    fn give_up(&self, for_handover: bool, done: Done) {
        self.shared.lease.change(|o| {
            o.until = None;
            o.parking = false;
            // Of two the first one drops the addresses.
            o.handover |= for_handover && o.releases.is_empty();
            o.releases.push(done);
            o.asked += 1;
        });
    }

    /// Announce what is held, at once. Never waits.
    pub fn announce(&self) {
        self.shared.address.change(|o| {
            o.announce = true;
            o.asked += 1;
        });
    }

    /// Asks the network who has a managed address: somebody else's hardware address, or `None`
    /// after `wait`. Blocking. Not for an address that is held here.
    pub fn probe_duplicate(
        &self,
        address: IpAddr,
        wait: Duration,
    ) -> Result<Option<[u8; 6]>, VipError> {
        let plan = self.shared.plan();
        let missing = || VipError::NoInterface {
            address,
            reason: "it is not configured".to_owned(),
        };
        let placed = plan.find(address).ok_or_else(missing)?;
        let mut route = Netlink::open(libc::NETLINK_ROUTE as isize, PATIENCE)
            .map_err(VipError::kernel("open rtnetlink"))?;
        let links = links::list(&mut route).map_err(VipError::kernel("list interfaces"))?;
        let link = links
            .iter()
            .find(|l| l.index == placed.index)
            .ok_or_else(missing)?;
        probe::ask(link, &links, address, wait).map_err(VipError::kernel("ask for a duplicate"))
    }

    /// Whether every interface that carries a virtual IP is up and has its carrier.
    pub fn carrier(&self) -> bool {
        self.shared.carrier.load(Ordering::Relaxed)
    }

    /// Why this node stays away from an address that another machine claims, if it yields to that.
    pub fn yielded(&self) -> Option<String> {
        self.shared.claims().obstacle()
    }

    /// Asks whether machines that were yielded to still have the addresses. Blocking, for `wait` each.
    pub fn ask_claimants(&self, wait: Duration) {
        let due = self.shared.claims().due(boot_now());
        for (address, mac) in due {
            let there = self.probe_duplicate(address, wait);
            // Another answer is a member's that holds.
            let still_there = there.map_or(true, |found| found == Some(mac));
            let now = boot_now();
            self.shared.claims().asked(address, still_there, now);
        }
    }

    /// Managed addresses that somebody else has put on this machine. They are fenced as long as this handle is there
    /// and its fence has nftables, and not longer.
    pub fn left(&self) -> Vec<(IpAddr, Taken)> {
        self.shared.plan().left().collect()
    }

    /// Releases, removes the tables, ends the threads. Blocking, at most about 1 s.
    pub fn shutdown(self) {
        drop(self);
    }

    fn spawn(
        &mut self,
        name: &'static str,
        run: impl FnOnce(&Arc<Shared>) + Send + 'static,
    ) -> Result<(), VipError> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&shared))
            .map_err(VipError::kernel("start a thread"))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        // Wakes them; each looks at `stopping` after its wait. The address thread removes the
        // addresses however it is ended, so the order among them does not matter.
        self.shared.lease.change(|o| o.asked += 1);
        self.shared.address.change(|o| o.asked += 1);
        self.shared.parking.end();
        self.shared.parking.ring();
        self.stop = None;
        let end = boot_now() + SHUTDOWN;
        let tables = self
            .threads
            .iter()
            .position(|t| t.thread().name() == Some(TABLES));
        let tables = tables.map(|at| self.threads.swap_remove(at));
        wait_for_end(&self.threads, end - TABLES_END);
        let lease = self
            .shared
            .lease
            .change(|o| std::mem::take(&mut o.releases));
        let address = self
            .shared
            .address
            .change(|o| std::mem::take(&mut o.releases));
        for done in lease.into_iter().chain(address) {
            done(Err(VipError::Stopped));
        }
        let left = end.saturating_sub(boot_now());
        self.shared.tables.change(|o| o.stop = Some(left));
        wait_for_end(tables.as_slice(), end);
    }
}

fn wait_for_end(threads: &[JoinHandle<()>], end: Duration) {
    while boot_now() < end && threads.iter().any(|t| !t.is_finished()) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn first_plan(settings: &VipSettings, route: &mut Netlink) -> Result<Plan, VipError> {
    let links = links::list(route).map_err(VipError::kernel("list interfaces"))?;
    let have = super::addresses::list(route).map_err(VipError::kernel("list addresses"))?;
    let (nothing, nobody) = (BTreeSet::new(), Machine::default());
    Ok(place(settings, &[], &links, &have, &nobody, &nothing).0)
}
