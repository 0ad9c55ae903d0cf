//! `ha-watch`: what happens to us: carrier, addresses taken away, other machines' claims.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr};

use super::addresses::{self, RTM_DELADDR};
use super::clock::boot_now;
use super::frames::{Claim, read_advertisement, read_arp};
use super::links::{self, Link, RTM_DELLINK};
use super::netlink::Netlink;
use super::packet::PacketSocket;
use super::shared::Shared;
use super::wire::messages;
use crate::types::VipEvent;

const RTMGRP_LINK: u32 = 1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;
/// In case news were missed.
const LOOK_EVERY_MS: libc::c_int = 1000;
/// Frames read in a row before the other sockets get their turn.
const BURST: usize = 64;

/// Everything that is listened to.
pub(super) struct Ears {
    pub(super) route: Netlink,
    pub(super) news: Socket,
    pub(super) arp: PacketSocket,
    /// Absent where the kernel has no IPv6.
    pub(super) advertisements: Option<PacketSocket>,
    /// Its other end is closed when it is time to stop.
    pub(super) stop: UnixStream,
}

/// A non-blocking socket that hears of links and addresses.
pub(super) fn news_socket() -> io::Result<Socket> {
    let mut socket = Socket::new(libc::NETLINK_ROUTE as isize)?;
    let groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR;
    socket.bind(&SocketAddr::new(0, groups))?;
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// The carrier is there when every interface that carries a virtual IP has one.
pub(super) fn judge_carrier(shared: &Shared, interfaces: &BTreeMap<u32, String>) {
    let Ok(mut route) = Netlink::open(libc::NETLINK_ROUTE as isize, Duration::from_millis(200))
    else {
        return;
    };
    if let Ok(links) = links::list(&mut route) {
        set_carrier(shared, interfaces, &links);
    }
}

fn set_carrier(shared: &Shared, interfaces: &BTreeMap<u32, String>, links: &[Link]) {
    let has = |index: &u32| links.iter().any(|l| l.index == *index && l.carrier);
    let up = !interfaces.is_empty() && interfaces.keys().all(has);
    shared.carrier.store(up, Ordering::Relaxed);
}

/// Runs until the shared `stopping`.
pub(super) fn run(shared: &Arc<Shared>, ears: Ears) {
    let mut watch = Watch {
        shared: shared.clone(),
        links: Vec::new(),
        buffer: vec![0; 64 * 1024],
        ears,
    };
    watch.look_at_links();
    while !shared.is_stopping() {
        let ears = &watch.ears;
        let mut fds = vec![
            poll_in(ears.stop.as_raw_fd()),
            poll_in(ears.news.as_raw_fd()),
            poll_in(ears.arp.fd()),
        ];
        fds.extend(ears.advertisements.as_ref().map(|s| poll_in(s.fd())));
        // SAFETY: the pointer and the count describe `fds`, which outlives the call.
        unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, LOOK_EVERY_MS) };
        watch.hear_news();
        watch.hear_claims();
    }
}

pub(super) fn poll_in(fd: libc::c_int) -> libc::pollfd {
    libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }
}

struct Watch {
    shared: Arc<Shared>,
    links: Vec<Link>,
    buffer: Vec<u8>,
    ears: Ears,
}

impl Watch {
    fn hear_news(&mut self) {
        let mut links_changed = false;
        for _ in 0..BURST {
            let length = match self.ears.news.recv(&mut &mut self.buffer[..], 0) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // News were lost (ENOBUFS): look at everything.
                Err(_) => {
                    links_changed = true;
                    self.wake_address_thread(false);
                    break;
                }
            };
            for message in messages(&self.buffer[..length]) {
                links_changed |= links::read(message).is_some() || message.kind == RTM_DELLINK;
                let gone = (message.kind == RTM_DELADDR).then(|| addresses::read(message));
                let plan = self.shared.plan();
                if gone
                    .flatten()
                    .is_some_and(|a| plan.find(a.address).is_some())
                {
                    self.wake_address_thread(false);
                }
            }
        }
        if links_changed {
            self.look_at_links();
        }
    }

    /// Compares with the last look, tells what changed, announces when a link came up or has another address.
    fn look_at_links(&mut self) {
        let links = match links::list(&mut self.ears.route) {
            Ok(links) => links,
            Err(error) => return self.shared.fail(format!("looking at interfaces: {error}")),
        };
        let interfaces = self.shared.plan().interfaces();
        for (index, name) in &interfaces {
            let carrier = |links: &[Link]| links.iter().any(|l| l.index == *index && l.carrier);
            let known = self.links.iter().any(|l| l.index == *index);
            let (was, up) = (carrier(&self.links), carrier(&links));
            if known && was != up {
                tracing::info!(interface = name, up, "carrier");
                self.shared.tell(VipEvent::Carrier {
                    interface: name.clone(),
                    up,
                });
                if up {
                    self.wake_address_thread(true);
                }
            }
            let mac = |links: &[Link]| links.iter().find(|l| l.index == *index)?.mac;
            if known && was && up && mac(&self.links) != mac(&links) {
                tracing::info!(interface = name, "new hardware address");
                self.wake_address_thread(true);
            }
        }
        let indexes = |links: &[Link]| links.iter().map(|l| l.index).collect::<Vec<_>>();
        if indexes(&links) != indexes(&self.links) {
            self.shared.tables.change(|o| o.check = true);
        }
        set_carrier(&self.shared, &interfaces, &links);
        self.links = links;
    }

    fn hear_claims(&mut self) {
        let mut buffer = [0; 256];
        for _ in 0..BURST {
            let Ok((index, frame)) = self.ears.arp.receive(&mut buffer) else {
                break;
            };
            self.judge_claim(index, read_arp(frame));
        }
        for _ in 0..BURST {
            let Some(socket) = &self.ears.advertisements else {
                break;
            };
            let Ok((index, frame)) = socket.receive(&mut buffer) else {
                break;
            };
            self.judge_claim(index, read_advertisement(frame));
        }
    }

    fn judge_claim(&mut self, index: u32, claim: Option<Claim>) {
        let Some(Claim { address, mac }) = claim else {
            return;
        };
        let now = boot_now();
        let ours = self
            .shared
            .plan()
            .find(address)
            .is_some_and(|p| p.index == index);
        let foreign = !self.links.iter().any(|l| l.mac == Some(mac));
        if !ours || !foreign {
            return;
        }
        self.shared.parking.claimed(address, mac);
        if !self.is_held(now) {
            return;
        }
        let on_claim = self.shared.settings.on_claim;
        let claim = Claim { address, mac };
        if !self.shared.claims().heard(claim, on_claim, now) {
            return;
        }
        self.shared.tell(VipEvent::ForeignClaim { address, mac });
        self.wake_address_thread(true);
    }

    fn is_held(&self, now: Duration) -> bool {
        self.shared
            .address
            .change(|o| o.held.is_some_and(|until| until > now))
    }

    fn wake_address_thread(&self, announce: bool) {
        self.shared.address.change(|o| {
            o.announce |= announce;
            o.asked += 1;
        });
    }
}
