//! The packet socket of the observer: every frame that enters the switch at a
//! port, with the kernel's own timestamp, in the order of arrival.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Log, Reign, packet};
use crate::sys::{self, check};

const SNAP: usize = 128;
const BUFFER: i32 = 64 << 20;
const PACKET_IGNORE_OUTGOING: i32 = 23;

pub(super) struct Capture {
    socket: OwnedFd,
    bridge: i32,
}

impl Capture {
    /// Opens the socket in the namespace of the calling thread.
    pub(super) fn open(bridge: &str) -> io::Result<Capture> {
        let name = std::ffi::CString::new(bridge).expect("no zero byte in a name");
        let protocol = i32::from((libc::ETH_P_ALL as u16).to_be());
        // SAFETY: the descriptor is owned from here on; the name is terminated.
        let (socket, bridge) = unsafe {
            let fd = libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                protocol,
            );
            check(fd)?;
            (
                OwnedFd::from_raw_fd(fd),
                libc::if_nametoindex(name.as_ptr()) as i32,
            )
        };
        let capture = Capture { socket, bridge };
        let truncate = [libc::sock_filter {
            code: 0x06,
            jt: 0,
            jf: 0,
            k: SNAP as u32,
        }];
        let program = libc::sock_fprog {
            len: 1,
            filter: truncate.as_ptr().cast_mut(),
        };
        capture.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
        capture.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &BUFFER)?;
        capture.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1_i32)?;
        capture.set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)?;
        let brief = libc::timeval {
            tv_sec: 0,
            tv_usec: 10_000,
        };
        capture.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &brief)?;
        Ok(capture)
    }

    /// Reads until told to stop; each sign extends the last reign or begins a new one.
    pub(super) fn watch(&self, addresses: &[IpAddr], stop: &AtomicBool, log: &Mutex<Log>) {
        let mut frame = [0_u8; SNAP];
        let mut counted = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let began = sys::wall();
            let received = self.next(&mut frame);
            let mut log = log.lock().expect("reports do not panic while they hold it");
            if began.saturating_sub(counted) > Duration::from_millis(20) {
                counted = began;
                log.lost += self.lost();
            }
            let Some((length, interface, at)) = received else {
                log.read_until = began;
                continue;
            };
            log.read_until = log.read_until.max(at);
            // What the bridge hands up to its own machine was seen at the port before.
            if interface != self.bridge
                && let Some(sign) = packet::sign(&frame[..length], addresses)
            {
                record(&mut log, sign, at);
            }
        }
    }

    fn next(&self, frame: &mut [u8; SNAP]) -> Option<(usize, i32, Duration)> {
        // SAFETY: every buffer outlives the call and its length is the one given.
        unsafe {
            let mut from: libc::sockaddr_ll = zeroed();
            let mut control = [0_u64; 16];
            let mut part = libc::iovec {
                iov_base: frame.as_mut_ptr().cast(),
                iov_len: SNAP,
            };
            let mut message: libc::msghdr = zeroed();
            message.msg_name = (&raw mut from).cast();
            message.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of_val(&control);
            let length = libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0);
            let length = usize::try_from(length).ok()?;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            let mut at = sys::wall();
            if !header.is_null() && (*header).cmsg_type == libc::SCM_TIMESTAMPNS {
                let time = libc::CMSG_DATA(header)
                    .cast::<libc::timespec>()
                    .read_unaligned();
                at = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
            }
            Some((length.min(SNAP), from.sll_ifindex, at))
        }
    }

    /// Packets lost since the last call (reading the counter resets it).
    fn lost(&self) -> u64 {
        let mut counts = [0_u32; 2];
        let mut size = size_of_val(&counts) as u32;
        // SAFETY: the buffer and its size belong together.
        let done = unsafe {
            let fd = self.socket.as_raw_fd();
            libc::getsockopt(
                fd,
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                counts.as_mut_ptr().cast(),
                &raw mut size,
            )
        };
        if done == 0 { u64::from(counts[1]) } else { 0 }
    }

    fn set<T>(&self, level: i32, option: i32, value: &T) -> io::Result<()> {
        // SAFETY: the value outlives the call and its size is its own.
        check(unsafe {
            let fd = self.socket.as_raw_fd();
            libc::setsockopt(
                fd,
                level,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as u32,
            )
        })
    }
}

fn record(log: &mut Log, sign: packet::Sign, at: Duration) {
    let phase = log.phases.iter().filter(|(began, _)| *began <= at).count();
    let last = log
        .reigns
        .iter_mut()
        .rev()
        .find(|reign| reign.address == sign.address);
    if let Some(reign) = last.filter(|reign| reign.mac == sign.mac && reign.phase == phase) {
        reign.last = at;
        reign.signs += 1;
        reign.claims += u64::from(sign.claim);
    } else {
        let claims = u64::from(sign.claim);
        let (address, mac) = (sign.address, sign.mac);
        log.reigns.push(Reign {
            address,
            mac,
            phase,
            first: at,
            last: at,
            signs: 1,
            claims,
            first_kind: sign.kind,
        });
    }
}
