//! Packet sockets: frames to and from an interface, below IP.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use super::frames::Mac;
use super::netlink::{set_option, set_receive_timeout};

/// What a packet socket hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hears {
    /// Nothing: it only sends.
    Nothing,
    /// ARP requests and replies, for IPv4.
    Arp,
    Advertisements,
    /// TCP SYNs that come to this machine on one interface. Unlike the others it hears them before
    /// the fence drops them: the kernel serves sockets for all protocols before the ingress chain,
    /// and sockets for one protocol after it.
    Syns(u32),
}

impl Hears {
    fn protocol(self) -> u16 {
        match self {
            Hears::Nothing => 0,
            Hears::Arp => libc::ETH_P_ARP as u16,
            Hears::Advertisements => libc::ETH_P_IPV6 as u16,
            Hears::Syns(_) => libc::ETH_P_ALL as u16,
        }
    }

    /// The index of the interface; zero stands for all.
    fn index(self) -> u32 {
        if let Hears::Syns(index) = self {
            index
        } else {
            0
        }
    }
}

/// A packet socket on all interfaces, or on one.
pub(super) struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket; receiving never blocks longer than `patience` (none: not at all).
    pub(super) fn open(hears: Hears, patience: Option<Duration>) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        let kind = if patience.is_none() {
            kind | libc::SOCK_NONBLOCK
        } else {
            kind
        };
        // With protocol 0 it hears nothing until it is bound, so no frame slips past the filter.
        // SAFETY: plain values; the result is checked.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        if let Some(patience) = patience {
            set_receive_timeout(fd.as_raw_fd(), patience)?;
        }
        match hears {
            Hears::Advertisements => only_advertisements(fd.as_raw_fd())?,
            Hears::Syns(_) => {
                only_syns(fd.as_raw_fd())?;
                set_option(
                    fd.as_raw_fd(),
                    libc::SOL_SOCKET,
                    libc::SO_RCVBUFFORCE,
                    &SYN_BUFFER,
                )?;
            }
            Hears::Nothing | Hears::Arp => {}
        }
        if hears != Hears::Nothing {
            let address = link_address(hears.index(), hears.protocol());
            // SAFETY: the pointer and the length describe `address`, which outlives the call.
            let outcome =
                unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(&address).cast(), LENGTH) };
            if outcome < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self { fd })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Sends a whole frame; never waits.
    pub(super) fn send(&self, index: u32, frame: &[u8]) -> io::Result<()> {
        let protocol = frame
            .get(12..14)
            .map_or(0, |p| u16::from_be_bytes([p[0], p[1]]));
        let address = link_address(index, protocol);
        // SAFETY: both pointers come with the length of what they point to, which outlives the
        // call.
        let sent = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                libc::MSG_DONTWAIT,
                std::ptr::from_ref(&address).cast(),
                LENGTH,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// The next frame's beginning and the interface it came in on. Frames that this machine sent
    /// are left out.
    pub(super) fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<(u32, &'a [u8])> {
        loop {
            let mut from = link_address(0, 0);
            let mut length = LENGTH;
            // SAFETY: as in `send`; the kernel writes at most the lengths given.
            let received = unsafe {
                libc::recvfrom(
                    self.fd.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                    std::ptr::from_mut(&mut from).cast(),
                    &mut length,
                )
            };
            let Ok(received) = usize::try_from(received) else {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                return Err(error);
            };
            if from.sll_pkttype != libc::PACKET_OUTGOING {
                let index = u32::try_from(from.sll_ifindex).unwrap_or(0);
                return Ok((index, &buffer[..received.min(buffer.len())]));
            }
        }
    }
}

const LENGTH: libc::socklen_t = size_of::<libc::sockaddr_ll>() as libc::socklen_t;

fn link_address(index: u32, protocol: u16) -> libc::sockaddr_ll {
    libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: size_of::<Mac>() as u8,
        sll_addr: [0; 8],
    }
}

/// Room for what comes while the reader waits for its processor; a frame takes some 2 KiB of it.
const SYN_BUFFER: libc::c_int = 1 << 20;
/// Longer frames with a SYN are not let through.
pub(super) const LONGEST_SYN: usize = 256;

/// Lets through what is ICMPv6 of type 136, so that this thread does not see all IPv6 traffic.
fn only_advertisements(fd: RawFd) -> io::Result<()> {
    filter(
        fd,
        &mut [
            op(LOAD_BYTE, 0, 0, 14 + 6),
            op(EQUAL, 0, 3, 58),
            op(LOAD_BYTE, 0, 0, 14 + 40),
            op(EQUAL, 0, 1, 136),
            op(libc::BPF_RET | libc::BPF_K, 0, 0, 256),
            op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ],
    )
}

/// Lets through short frames to this machine's own hardware address, outside of any VLAN (whose
/// interface gets its own), that are whole TCP segments with SYN and without FIN, RST and ACK.
fn only_syns(fd: RawFd) -> io::Result<()> {
    let half = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    let any_bit = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    let about = |what: libc::c_int| {
        op(
            libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
            0,
            0,
            (libc::SKF_AD_OFF + what).cast_unsigned(),
        )
    };
    filter(
        fd,
        &mut [
            op(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0),
            op(
                libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K,
                20,
                0,
                LONGEST_SYN as u32,
            ),
            about(libc::SKF_AD_PKTTYPE),
            op(EQUAL, 0, 18, u32::from(libc::PACKET_HOST)),
            about(libc::SKF_AD_VLAN_TAG_PRESENT),
            op(EQUAL, 0, 16, 0),
            op(half, 0, 0, 12),
            op(EQUAL, 0, 7, libc::ETH_P_IP as u32),
            // IPv4: TCP, not a fragment, and the flags behind a header of any length.
            op(LOAD_BYTE, 0, 0, 14 + 9),
            op(EQUAL, 0, 12, 6),
            op(half, 0, 0, 14 + 6),
            op(any_bit, 10, 0, 0x3fff),
            op(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0, 0, 14),
            op(libc::BPF_LD | libc::BPF_B | libc::BPF_IND, 0, 0, 14 + 13),
            op(libc::BPF_JMP | libc::BPF_JA, 0, 0, 4),
            op(EQUAL, 0, 6, libc::ETH_P_IPV6 as u32),
            op(LOAD_BYTE, 0, 0, 14 + 6),
            op(EQUAL, 0, 4, 6),
            op(LOAD_BYTE, 0, 0, 14 + 40 + 13),
            op(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, 0x17),
            op(EQUAL, 0, 1, 0x02),
            op(libc::BPF_RET | libc::BPF_K, 0, 0, LONGEST_SYN as u32),
            op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ],
    )
}

const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;

fn op(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

fn filter(fd: RawFd, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &filter)
}
