//! One connection attempt, without blocking: connect, say a line, expect the
//! banner of a sample server and the line back, close.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use crate::sys::check;

const HELLO: &[u8] = b"hello\n";

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// This server gave its banner and echoed the line.
    Answered(String),
    Refused,
    Reset,
    /// Closed before the answer was complete.
    Closed,
    /// Not connected within the bound.
    TimedOut,
    /// Connected, and no answer within the bound.
    Unanswered,
    /// Anything else, in the words of the system.
    Failed(String),
}

impl Outcome {
    /// Whether there never was a connection: that is the fault of who forwards, and of no session.
    pub fn never_connected(&self) -> bool {
        matches!(
            self,
            Outcome::Refused | Outcome::TimedOut | Outcome::Failed(_)
        )
    }
}

#[derive(Clone, Debug)]
pub struct Attempt {
    /// When the connection was asked for.
    pub started: Instant,
    /// When it ended, well or not.
    pub ended: Instant,
    pub outcome: Outcome,
}

/// An attempt under way.
pub(super) struct Pending {
    pub(super) started: Instant,
    socket: OwnedFd,
    connected: bool,
    heard: Vec<u8>,
}

impl Pending {
    pub(super) fn start(
        to: SocketAddr,
        source: Option<IpAddr>,
        now: Instant,
    ) -> Result<Pending, Outcome> {
        let family = if to.is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: plain calls; addresses outlive them; the descriptor is owned from its birth.
        let socket = unsafe {
            let fd = libc::socket(family, kind, 0);
            check(fd).map_err(|error| outcome_of(&error, false))?;
            let socket = OwnedFd::from_raw_fd(fd);
            if let Some(source) = source {
                let (from, length) = raw(SocketAddr::new(source, 0));
                check(libc::bind(fd, (&raw const from).cast(), length))
                    .map_err(|error| outcome_of(&error, false))?;
            }
            let (target, length) = raw(to);
            match check(libc::connect(fd, (&raw const target).cast(), length)) {
                Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                    return Err(outcome_of(&error, false));
                }
                _ => socket,
            }
        };
        Ok(Pending {
            started: now,
            socket,
            connected: false,
            heard: vec![],
        })
    }

    /// How it ends when its time is over.
    pub(super) fn late(&self) -> Outcome {
        if self.connected {
            Outcome::Unanswered
        } else {
            Outcome::TimedOut
        }
    }

    /// What to poll for.
    pub(super) fn interest(&self) -> libc::pollfd {
        let events = if self.connected {
            libc::POLLIN
        } else {
            libc::POLLOUT
        };
        libc::pollfd {
            fd: self.fd(),
            events,
            revents: 0,
        }
    }

    /// Goes on after poll said that it can; gives the outcome when it has ended.
    pub(super) fn advance(&mut self) -> Option<Outcome> {
        if !self.connected {
            return match self.say_hello() {
                Ok(()) => None,
                Err(error) => Some(outcome_of(&error, false)),
            };
        }
        let mut buffer = [0_u8; 256];
        // SAFETY: the buffer and its length belong together.
        let got = unsafe { libc::recv(self.fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        match usize::try_from(got) {
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => None,
                error => Some(outcome_of(&error, true)),
            },
            Ok(0) => Some(Outcome::Closed),
            Ok(length) => {
                self.heard.extend(&buffer[..length]);
                self.answer()
            }
        }
    }

    fn say_hello(&mut self) -> io::Result<()> {
        let mut code = 0_i32;
        let mut size = size_of::<i32>() as u32;
        // SAFETY: buffers and sizes belong together.
        let sent = unsafe {
            let pointer = (&raw mut code).cast();
            check(libc::getsockopt(
                self.fd(),
                libc::SOL_SOCKET,
                libc::SO_ERROR,
                pointer,
                &raw mut size,
            ))?;
            if code != 0 {
                return Err(io::Error::from_raw_os_error(code));
            }
            libc::send(
                self.fd(),
                HELLO.as_ptr().cast(),
                HELLO.len(),
                libc::MSG_NOSIGNAL,
            )
        };
        self.connected = true;
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    fn answer(&self) -> Option<Outcome> {
        let text = String::from_utf8_lossy(&self.heard);
        let mut lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let (banner, echo) = (lines.next()?, lines.next()?);
        Some(match echo.as_bytes() == HELLO {
            true => Outcome::Answered(banner.trim_end().into()),
            false => Outcome::Failed(format!("echo of {banner:?} was {echo:?}")),
        })
    }

    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn outcome_of(error: &io::Error, connected: bool) -> Outcome {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Outcome::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Outcome::Reset,
        io::ErrorKind::TimedOut => Outcome::TimedOut,
        _ => Outcome::Failed(format!(
            "{}: {error}",
            if connected { "read" } else { "connect" }
        )),
    }
}

fn raw(address: SocketAddr) -> (libc::sockaddr_storage, u32) {
    // SAFETY: a zeroed storage is valid, and large and aligned enough for both kinds.
    unsafe {
        let mut storage: libc::sockaddr_storage = zeroed();
        let length = match address {
            SocketAddr::V4(four) => {
                let to = (&raw mut storage).cast::<libc::sockaddr_in>();
                (*to).sin_family = libc::AF_INET as u16;
                (*to).sin_port = four.port().to_be();
                (*to).sin_addr.s_addr = u32::from_ne_bytes(four.ip().octets());
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(six) => {
                let to = (&raw mut storage).cast::<libc::sockaddr_in6>();
                (*to).sin6_family = libc::AF_INET6 as u16;
                (*to).sin6_port = six.port().to_be();
                (*to).sin6_addr.s6_addr = six.ip().octets();
                size_of::<libc::sockaddr_in6>()
            }
        };
        (storage, length as u32)
    }
}
