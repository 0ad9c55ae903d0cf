//! `ha-parking`: connection attempts that reach the old holder while an address is handed over.
//!
//! For some 30 ms of a handover nobody answers, and a client whose SYN is lost then asks again
//! only after 1 s. So the node that released for a handover keeps the SYNs that still come to it,
//! and sends them on to whoever announces the address:
//!
//! ```text
//!  released          claim heard                500 ms                  1 s
//!  |--- SYNs kept ---|--- those sent on, later ones at once ------------|
//!  |--- SYNs kept, no claim --------------------| forgotten; after a claim later ones at once
//!  ends at once when this node holds again, and at shutdown
//! ```
//!
//! At the bound of 512 frames the newest is not kept: the oldest waits longest already, and a
//! flood does not push out who came before it. What is not kept asks again, as without this.
//!
//! Why still at most one node answers for the address:
//! 1. what is sent from here is no answer but the client's own packet, from the client's address
//!    to the virtual IP; only the hardware addresses differ, as behind a router;
//! 2. a packet that says it comes from a virtual IP is not kept;
//! 3. the receiver's fence judges it like any other: without a lease it is dropped there;
//! 4. the frame's source is this node's own hardware address, so no switch learns a wrong place.
//!
//! Nothing goes in circles: no frame is sent back to where it came from, each handover sends at
//! most 4096 frames on, and none after its second. Only a lease that was still held is handed
//! over; after one that ran out nothing is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::clock::boot_now;
use super::frames::{Mac, Syn, forwarded, read_syn};
use super::packet::{Hears, LONGEST_SYN, PacketSocket};
use super::place::Plan;
use super::shared::Shared;
use super::watch_thread::poll_in;

/// A frame waits for a claim until this long after the release.
const KEEP: Duration = Duration::from_millis(500);
/// Frames are sent on until this long after the release.
const PASS: Duration = Duration::from_secs(1);
const MAX_KEPT: usize = 512;
const MAX_PASSED: usize = 4096;
const IDLE: Duration = Duration::from_secs(1);
/// Until an interface whose queue is full is tried again.
const QUEUE_FULL: Duration = Duration::from_millis(1);

/// Where the other threads leave word; none of them waits here.
pub(super) struct Parking {
    orders: Mutex<ParkingOrders>,
    bell: UnixStream,
}

#[derive(Default)]
struct ParkingOrders {
    begin: Option<ParkingHandover>,
    /// Cleared to end the handover that began last.
    live: Option<Arc<AtomicBool>>,
    claims: BTreeMap<IpAddr, Mac>,
}

impl Parking {
    /// Itself, and what its thread is woken by.
    pub(super) fn new() -> io::Result<(Parking, UnixStream)> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        Ok((
            Parking {
                orders: Mutex::default(),
                bell,
            },
            heard,
        ))
    }

    /// Listens from now on. To be called right before the fence closes: a SYN that comes between
    /// the two is answered here and sent on as well, which ends a connection that is cut anyway.
    pub(super) fn begin(&self, plan: Arc<Plan>) -> io::Result<()> {
        let indexes: BTreeSet<u32> = plan.placed.iter().map(|p| p.index).collect();
        let tap =
            |index| PacketSocket::open(Hears::Syns(index), None).map(|socket| (index, socket));
        let taps = indexes.into_iter().map(tap).collect::<io::Result<_>>()?;
        let live = Arc::new(AtomicBool::new(true));
        let handover = ParkingHandover {
            live: live.clone(),
            released: boot_now(),
            plan,
            taps,
            kept: VecDeque::new(),
            holders: BTreeMap::new(),
            came: 0,
            passed: 0,
        };
        self.end();
        // One that was not begun yet is dropped here, which takes milliseconds; never the usual case.
        *self.lock() = ParkingOrders {
            begin: Some(handover),
            live: Some(live),
            claims: BTreeMap::new(),
        };
        self.ring();
        Ok(())
    }

    /// Nothing is sent on any more once this returns, but for the one frame that is on its way.
    pub(super) fn end(&self) {
        if let Some(live) = self.lock().live.take() {
            live.store(false, Ordering::Relaxed);
            self.ring();
        }
    }

    /// A managed address was claimed by another machine on its interface.
    pub(super) fn claimed(&self, address: IpAddr, mac: Mac) {
        let mut orders = self.lock();
        // A group's address is nobody's.
        if orders.live.is_some() && mac[0] & 1 == 0 && mac != [0; 6] {
            orders.claims.insert(address, mac);
            drop(orders);
            self.ring();
        }
    }

    /// Wakes the thread. When the pipe is full it is awake already.
    pub(super) fn ring(&self) {
        let _ = (&self.bell).write(&[1]);
    }

    fn lock(&self) -> MutexGuard<'_, ParkingOrders> {
        // Nothing is left half changed where a holder of the lock could panic.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until the shared `stopping`.
pub(super) fn run(shared: &Arc<Shared>, mut bell: UnixStream) {
    let mut current: Option<ParkingHandover> = None;
    while !shared.is_stopping() {
        wait(&bell, current.as_ref());
        while bell.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        let (begin, claims) = {
            let mut orders = shared.parking.lock();
            (orders.begin.take(), std::mem::take(&mut orders.claims))
        };
        current = begin.or(current);
        let Some(handover) = &mut current else {
            continue;
        };
        handover.step(claims);
        if handover.is_over() {
            let ParkingHandover { came, passed, .. } = handover;
            tracing::info!(came, passed, "connection attempts during the handover");
            current = None;
        }
    }
}

fn wait(bell: &UnixStream, handover: Option<&ParkingHandover>) {
    let mut fds = vec![poll_in(bell.as_raw_fd())];
    fds.extend(
        handover
            .iter()
            .flat_map(|h| h.taps.values())
            .map(|tap| poll_in(tap.fd())),
    );
    let patience = handover.map_or(IDLE, ParkingHandover::patience);
    let patience = libc::c_int::try_from(patience.as_millis() + 1).unwrap_or(1000);
    // SAFETY: the pointer and the count describe `fds`, which outlives the call.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, patience) };
}

/// One release for a handover and what came of it.
struct ParkingHandover {
    live: Arc<AtomicBool>,
    released: Duration,
    plan: Arc<Plan>,
    taps: BTreeMap<u32, PacketSocket>,
    kept: VecDeque<Kept>,
    holders: BTreeMap<IpAddr, Mac>,
    came: usize,
    passed: usize,
}

struct Kept {
    index: u32,
    syn: Syn,
    frame: Vec<u8>,
}

impl ParkingHandover {
    fn step(&mut self, claims: BTreeMap<IpAddr, Mac>) {
        self.forget();
        self.holders.extend(claims);
        self.collect();
        self.pass_on();
    }

    fn is_over(&self) -> bool {
        !self.live.load(Ordering::Relaxed) || boot_now() >= self.released + PASS
    }

    fn patience(&self) -> Duration {
        if self
            .kept
            .iter()
            .any(|k| self.holders.contains_key(&k.syn.to))
        {
            return QUEUE_FULL;
        }
        let end = if self.kept.is_empty() { PASS } else { KEEP };
        (self.released + end).saturating_sub(boot_now())
    }

    /// What waited too long for a claim is not sent on when one comes.
    fn forget(&mut self) {
        if boot_now() >= self.released + KEEP {
            self.kept.retain(|k| self.holders.contains_key(&k.syn.to));
        }
    }

    fn collect(&mut self) {
        let may_wait = boot_now() < self.released + KEEP;
        let mut buffer = [0; LONGEST_SYN];
        for (index, tap) in &self.taps {
            for _ in 0..MAX_KEPT {
                let Ok((_, frame)) = tap.receive(&mut buffer) else {
                    break;
                };
                let Some(syn) = read_syn(frame) else { continue };
                let ours = self.plan.find(syn.to).is_some_and(|p| p.index == *index);
                if !ours || self.plan.find(syn.from).is_some() {
                    continue;
                }
                self.came += 1;
                if self.kept.len() < MAX_KEPT && (may_wait || self.holders.contains_key(&syn.to)) {
                    self.kept.push_back(Kept {
                        index: *index,
                        syn,
                        frame: frame.to_vec(),
                    });
                }
            }
        }
    }

    fn pass_on(&mut self) {
        let ParkingHandover {
            live,
            released,
            taps,
            kept,
            holders,
            passed,
            ..
        } = self;
        let may_send = || live.load(Ordering::Relaxed) && boot_now() < *released + PASS;
        kept.retain(|k| {
            let Some(mac) = holders.get(&k.syn.to) else {
                return true;
            };
            let (Some(tap), Some(frame)) = (taps.get(&k.index), forwarded(&k.frame, *mac)) else {
                return false;
            };
            if *mac == k.syn.from_mac || *passed >= MAX_PASSED || !may_send() {
                return false;
            }
            match tap.send(k.index, &frame) {
                Err(e)
                    if e.kind() == io::ErrorKind::WouldBlock
                        || e.raw_os_error() == Some(libc::ENOBUFS) =>
                {
                    true
                }
                Err(_) => false,
                Ok(()) => {
                    *passed += 1;
                    false
                }
            }
        });
    }
}
