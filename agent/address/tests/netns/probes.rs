//! Probes that note when the last answer came.

use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ha_address::platform::boot_now;

use crate::net::{Net, ip};
use crate::tools::{ms, socket, wait_for};

/// Asks every 2 ms from a node until dropped; knows when a question was last answered, and the
/// longest time between answers.
pub struct Prober {
    stop: Arc<AtomicBool>,
    last: Arc<AtomicU64>,
    gap: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Clone, Copy)]
pub enum Ask {
    Icmp,
    Arp,
    /// Asks nothing: takes note of each frame from the address.
    Sniff,
}

impl Prober {
    pub fn start(net: &Net, node: &str, ask: Ask, address: &str) -> Prober {
        let stop = Arc::<AtomicBool>::default();
        let [last, gap, lost] = std::array::from_fn(|_| Arc::<AtomicU64>::default());
        let (s, l, g, o) = (stop.clone(), last.clone(), gap.clone(), lost.clone());
        let address = ip(address);
        let thread = net.spawn(node, move || match ask {
            Ask::Icmp => icmp(address, &s, &l, &g, &o),
            Ask::Arp => arp(address, &s, &l, &g),
            Ask::Sniff => sniff(address, &s, &l, &g),
        });
        Prober {
            stop,
            last,
            gap,
            lost,
            thread: Some(thread),
        }
    }

    /// When the last answer came; zero before the first.
    pub fn last(&self) -> Duration {
        Duration::from_nanos(self.last.load(Ordering::Relaxed))
    }

    pub fn longest_gap(&self) -> Duration {
        Duration::from_nanos(self.gap.load(Ordering::Relaxed))
    }

    /// Questions by ICMP that were not answered within 100 ms or so.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    pub fn forget_gap(&self) {
        self.lost.store(0, Ordering::Relaxed);
        self.gap.store(0, Ordering::Relaxed);
    }

    pub fn wait_answer(&self) -> Duration {
        let since = boot_now();
        wait_for("an answer", ms(3000), || self.last() > since)
    }

    pub fn is_silent_for(&self, time: Duration) -> bool {
        boot_now().saturating_sub(self.last()) > time
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Asks the kernel to say when each packet came: this thread may be late to read it.
fn with_stamps(fd: &impl std::os::fd::AsRawFd) {
    let one: libc::c_int = 1;
    // SAFETY: the pointer comes with its length.
    let set = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const one).cast(),
            4,
        )
    };
    assert_eq!(set, 0, "timestamps");
}

/// The next packet's length, and when it came.
fn receive(fd: &impl std::os::fd::AsRawFd, buffer: &mut [u8]) -> Option<(usize, Duration)> {
    let mut control = [0_u64; 16];
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: msghdr is plain data; every pointer comes with its length and outlives the call;
    // the control message is read only when the kernel says that it is a timespec.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        let length = libc::recvmsg(fd.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT);
        let length = usize::try_from(length).ok()?;
        let message = libc::CMSG_FIRSTHDR(&raw const header);
        assert!(!message.is_null() && (*message).cmsg_type == libc::SCM_TIMESTAMPNS);
        let stamp: libc::timespec = std::ptr::read_unaligned(libc::CMSG_DATA(message).cast());
        let came = Duration::new(stamp.tv_sec as u64, stamp.tv_nsec as u32);
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let age = wall.expect("after 1970").saturating_sub(came);
        Some((length, boot_now() - age))
    }
}

fn note(came: Duration, last: &AtomicU64, gap: &AtomicU64) {
    let now = came.as_nanos() as u64;
    let before = last.swap(now, Ordering::Relaxed);
    if before != 0 {
        gap.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
    }
}

fn icmp(address: IpAddr, stop: &AtomicBool, last: &AtomicU64, gap: &AtomicU64, lost: &AtomicU64) {
    // Bit n: the question n before the newest is unanswered.
    let (mut open, mut sequence) = (0_u64, 0_u16);
    let v4 = address.is_ipv4();
    let fd = match v4 {
        true => socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
        false => socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6),
    };
    let to = std::net::SocketAddr::new(address, 0);
    // A raw socket's read and write are those of a UDP socket.
    let fd = std::net::UdpSocket::from(fd);
    fd.connect(to).expect("a route");
    with_stamps(&fd);
    let mut buffer = [0; 512];
    while !stop.load(Ordering::Relaxed) {
        sequence = sequence.wrapping_add(1);
        lost.fetch_add(open >> 63, Ordering::Relaxed);
        open = open << 1 | 1;
        let [high, low] = sequence.to_be_bytes();
        let mut echo = [if v4 { 8 } else { 128 }, 0, 0, 0, 0, 7, high, low];
        if v4 {
            let sum = 0x800_u32 + 7 + u32::from(sequence);
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            echo[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        let _ = fd.send(&echo);
        std::thread::sleep(ms(2));
        while let Some((length, came)) = receive(&fd, &mut buffer) {
            let echo = buffer[..length]
                .get(if v4 { 20 } else { 0 }..)
                .unwrap_or(&[]);
            if echo.len() >= 8 && echo[0] == if v4 { 0 } else { 129 } {
                let back = sequence.wrapping_sub(u16::from_be_bytes([echo[6], echo[7]]));
                open &= !1_u64.checked_shl(back.into()).unwrap_or(0);
                note(came, last, gap);
            }
        }
    }
}

fn arp(address: IpAddr, stop: &AtomicBool, last: &AtomicU64, gap: &AtomicU64) {
    let IpAddr::V4(address) = address else {
        panic!("ARP is IPv4")
    };
    let fd = socket(
        libc::AF_PACKET,
        libc::SOCK_RAW,
        i32::from((libc::ETH_P_ARP as u16).to_be()),
    );
    let mac = std::fs::read_to_string("/proc/net/arp")
        .map(|_| [2, 0, 0, 0, 0, 99])
        .expect("arp");
    let mut frame = vec![0xff; 6];
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend_from_slice(&mac);
    frame.extend_from_slice(&[10, 77, 0, 99, 0, 0, 0, 0, 0, 0]);
    frame.extend_from_slice(&address.octets());
    // SAFETY: sockaddr_ll is plain data; pointers come with their lengths.
    unsafe {
        let mut to: libc::sockaddr_ll = std::mem::zeroed();
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_protocol = (libc::ETH_P_ARP as u16).to_be();
        to.sll_ifindex = libc::if_nametoindex(c"eth0".as_ptr()).cast_signed();
        libc::bind(
            fd.as_raw_fd(),
            (&raw const to).cast(),
            size_of_val(&to) as u32,
        );
        // The answers go to an address that is not this interface's.
        let mut all: libc::packet_mreq = std::mem::zeroed();
        all.mr_ifindex = to.sll_ifindex;
        all.mr_type = libc::PACKET_MR_PROMISC as u16;
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const all).cast(),
            size_of_val(&all) as u32,
        );
    }
    let mut buffer = [0_u8; 128];
    with_stamps(&fd);
    while !stop.load(Ordering::Relaxed) {
        // SAFETY: pointers come with their lengths.
        unsafe { libc::send(fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        std::thread::sleep(ms(2));
        while let Some((length, came)) = receive(&fd, &mut buffer) {
            if length >= 42
                && buffer[20..22] == [0, 2]
                && buffer[28..32] == address.octets()
                && buffer[..6] == mac
            {
                note(came, last, gap);
            }
        }
    }
}

fn sniff(address: IpAddr, stop: &AtomicBool, last: &AtomicU64, gap: &AtomicU64) {
    let protocol = if address.is_ipv4() {
        libc::ETH_P_IP
    } else {
        libc::ETH_P_IPV6
    };
    let fd = socket(
        libc::AF_PACKET,
        libc::SOCK_RAW,
        i32::from((protocol as u16).to_be()),
    );
    with_stamps(&fd);
    let mut buffer = [0_u8; 128];
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(ms(2));
        while let Some((length, came)) = receive(&fd, &mut buffer) {
            let from = match address {
                IpAddr::V4(v4) => length >= 30 && buffer[26..30] == v4.octets(),
                IpAddr::V6(v6) => length >= 38 && buffer[22..38] == v6.octets(),
            };
            if from {
                note(came, last, gap);
            }
        }
    }
}
