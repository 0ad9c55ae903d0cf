//! The load generator of the proxy benchmark: single-threaded, epoll, as little
//! work per unit as it can do, so that the proxy is what is measured.
//!
//! The small wrappers around the socket calls are shared with [`super::echo`].

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use crate::sys::check;

/// What a measurement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Bytes a second from server to client over this many connections.
    Download(usize),
    /// Small requests a second, one at a time on each of this many kept-open connections.
    Requests(usize),
    /// New connections a second, one small request each, this many at a time.
    Connections(usize),
}

pub(super) const REQUEST: &[u8; 64] =
    b"a request of sixty-four bytes, that is sent back as it came.....";
pub(super) const REQUEST_AND_CLOSE: &[u8; 64] =
    b"Closes when it has been answered: sixty-four bytes, sent back...";

/// Loads an address for a time and gives units (bytes, requests, connections) per second, and failures.
pub fn run(work: Work, to: SocketAddr, time: Duration) -> (f64, u64) {
    let mut load = Load {
        work,
        to,
        poll: Poll::new(),
        heard: vec![Heard::Closed; 4096],
        units: 0,
        failures: 0,
        open: 0,
    };
    let (Work::Download(count) | Work::Requests(count) | Work::Connections(count)) = work;
    (0..count).for_each(|_| load.begin());
    let mut buffer = vec![0_u8; 1 << 20];
    let began = Instant::now();
    while began.elapsed() < time && load.open > 0 {
        for fd in load.poll.wait(100) {
            match load.step(fd, &mut buffer) {
                Step::On => {}
                Step::Done => load.replace(fd),
                Step::Failed => {
                    load.failures += 1;
                    load.replace(fd);
                }
            }
        }
    }
    let rate = load.units as f64 / began.elapsed().as_secs_f64();
    (rate, load.failures)
}

struct Load {
    work: Work,
    to: SocketAddr,
    poll: Poll,
    heard: Vec<Heard>,
    units: u64,
    failures: u64,
    open: usize,
}

/// How far a connection is, by its descriptor.
#[derive(Clone, Copy, PartialEq)]
enum Heard {
    Closed,
    Connecting,
    Answer(usize),
}

enum Step {
    On,
    Done,
    Failed,
}

impl Load {
    fn begin(&mut self) {
        match connect(self.to) {
            Ok(fd) => {
                self.poll.add(fd, false, true);
                self.heard[fd as usize] = Heard::Connecting;
                self.open += 1;
            }
            Err(_) => self.failures += 1,
        }
    }

    fn replace(&mut self, fd: RawFd) {
        close(fd);
        self.heard[fd as usize] = Heard::Closed;
        self.open -= 1;
        self.begin();
    }

    fn step(&mut self, fd: RawFd, buffer: &mut [u8]) -> Step {
        let so_far = match self.heard[fd as usize] {
            Heard::Closed => return Step::On,
            Heard::Connecting => return self.say_first(fd),
            Heard::Answer(so_far) => so_far,
        };
        let got = match read(fd, buffer, matches!(self.work, Work::Download(_))) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::On,
            Err(_) => return Step::Failed,
            Ok(got) => got,
        };
        let whole = so_far + got == REQUEST.len();
        match self.work {
            Work::Connections(_) if got == 0 && whole => {
                self.units += 1;
                return Step::Done;
            }
            _ if got == 0 => return Step::Failed,
            Work::Download(_) => self.units += got as u64,
            Work::Requests(_) if whole => {
                self.units += 1;
                self.heard[fd as usize] = Heard::Answer(0);
                return if write(fd, &REQUEST[..]).is_ok() {
                    Step::On
                } else {
                    Step::Failed
                };
            }
            Work::Requests(_) | Work::Connections(_) => {
                self.heard[fd as usize] = Heard::Answer(so_far + got)
            }
        }
        Step::On
    }

    fn say_first(&mut self, fd: RawFd) -> Step {
        self.heard[fd as usize] = Heard::Answer(0);
        self.poll.change(fd, true, false);
        let first = match self.work {
            Work::Download(_) => &b"S"[..],
            Work::Requests(_) => &REQUEST[..],
            Work::Connections(_) => &REQUEST_AND_CLOSE[..],
        };
        if write(fd, first).is_ok() {
            Step::On
        } else {
            Step::Failed
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let open = (0..)
            .zip(&self.heard)
            .filter(|(_, heard)| **heard != Heard::Closed);
        open.for_each(|(fd, _)| close(fd));
    }
}

/// An epoll instance, closed when it is dropped.
pub(super) struct Poll(RawFd);

impl Poll {
    pub(super) fn new() -> Poll {
        // SAFETY: no preconditions.
        Poll(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
    }

    pub(super) fn add(&self, fd: RawFd, read: bool, write: bool) {
        self.control(libc::EPOLL_CTL_ADD, fd, read, write);
    }

    pub(super) fn change(&self, fd: RawFd, read: bool, write: bool) {
        self.control(libc::EPOLL_CTL_MOD, fd, read, write);
    }

    pub(super) fn wait(&self, millis: i32) -> Vec<RawFd> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 128];
        // SAFETY: the list and its length belong together.
        let count =
            unsafe { libc::epoll_wait(self.0, events.as_mut_ptr(), events.len() as i32, millis) };
        events[..count.max(0) as usize]
            .iter()
            .map(|event| event.u64 as RawFd)
            .collect()
    }

    fn control(&self, operation: i32, fd: RawFd, read: bool, write: bool) {
        let wanted = if read { libc::EPOLLIN } else { 0 } | if write { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event {
            events: wanted as u32,
            u64: fd as u64,
        };
        // SAFETY: the event outlives the call; a wrong descriptor is an error, not undefined.
        unsafe { libc::epoll_ctl(self.0, operation, fd, &raw mut event) };
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        close(self.0);
    }
}

pub(super) fn listen(address: SocketAddr) -> io::Result<RawFd> {
    let fd = socket()?;
    for option in [libc::SO_REUSEADDR, libc::SO_REUSEPORT] {
        set(fd, libc::SOL_SOCKET, option)?;
    }
    let (raw, length) = raw(address);
    // SAFETY: the address outlives the calls.
    unsafe {
        check(libc::bind(fd, (&raw const raw).cast(), length))?;
        check(libc::listen(fd, 4096))?;
    }
    Ok(fd)
}

pub(super) fn accept(listener: RawFd) -> Option<RawFd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: null addresses are allowed.
    let fd = unsafe { libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
    (fd >= 0).then(|| {
        let _ = set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY);
        fd
    })
}

pub(super) fn read(fd: RawFd, buffer: &mut [u8], discard: bool) -> io::Result<usize> {
    // MSG_TRUNC throws the bytes away without copying them: a sink should cost nothing.
    let flags = if discard { libc::MSG_TRUNC } else { 0 };
    // SAFETY: the buffer and its length belong together.
    let got = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

pub(super) fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the buffer and its length belong together.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

pub(super) fn close(fd: RawFd) {
    // SAFETY: callers own the descriptor and forget it here.
    unsafe { libc::close(fd) };
}

fn connect(to: SocketAddr) -> io::Result<RawFd> {
    let fd = socket()?;
    set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
    begin(fd, to)
}

/// The same from an address of this machine's choice; the kernel chooses the port when it knows the other end.
pub(super) fn connect_from(source: Ipv4Addr, to: SocketAddr) -> io::Result<RawFd> {
    let fd = socket()?;
    let bound = set(fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT).and_then(|()| {
        let (raw, length) = raw((source, 0).into());
        // SAFETY: the address outlives the call.
        check(unsafe { libc::bind(fd, (&raw const raw).cast(), length) })
    });
    match bound {
        Ok(()) => begin(fd, to),
        Err(error) => {
            close(fd);
            Err(error)
        }
    }
}

fn begin(fd: RawFd, to: SocketAddr) -> io::Result<RawFd> {
    let (raw, length) = raw(to);
    // SAFETY: the address outlives the call.
    match check(unsafe { libc::connect(fd, (&raw const raw).cast(), length) }) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
            close(fd);
            Err(error)
        }
        _ => Ok(fd),
    }
}

fn socket() -> io::Result<RawFd> {
    // SAFETY: no preconditions.
    let fd = unsafe {
        libc::socket(
            libc::AF_INET,
            libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            0,
        )
    };
    check(fd).map(|()| fd)
}

fn set(fd: RawFd, level: i32, option: i32) -> io::Result<()> {
    let on = 1_i32;
    // SAFETY: the value outlives the call.
    check(unsafe { libc::setsockopt(fd, level, option, (&raw const on).cast(), 4) })
}

fn raw(address: SocketAddr) -> (libc::sockaddr_in, u32) {
    let SocketAddr::V4(four) = address else {
        panic!("the proxy benchmark is IPv4 only: {address}")
    };
    let sin_addr = libc::in_addr {
        s_addr: u32::from_ne_bytes(four.ip().octets()),
    };
    let raw = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: four.port().to_be(),
        sin_addr,
        sin_zero: [0; 8],
    };
    (raw, size_of::<libc::sockaddr_in>() as u32)
}
