//! A netlink socket whose every call is bounded in time.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr};

use super::wire::{Message, Messages, messages};

pub(super) const NLM_F_REQUEST: u16 = 1;
pub(super) const NLM_F_ACK: u16 = 4;
pub(super) const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_CREATE: u16 = 0x400;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// The kernel sends dumps in pieces of at most 32 KiB.
const BUFFER: usize = 64 * 1024;
const DUMP_TRIES: usize = 4;

/// A socket that is talked to one request at a time.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
    out: Messages,
}

impl Netlink {
    /// Opens a socket of `protocol`; no reply is waited for longer than `patience`.
    pub(super) fn open(protocol: isize, patience: Duration) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        // Connected, so that other processes cannot put words into the kernel's mouth.
        socket.connect(&SocketAddr::new(0, 0))?;
        set_receive_timeout(socket.as_raw_fd(), patience)?;
        Ok(Self {
            socket,
            sequence: 1,
            buffer: vec![0; BUFFER],
            out: Messages::default(),
        })
    }

    /// Sends one request and waits for its acknowledgement.
    pub(super) fn request(
        &mut self,
        kind: u16,
        flags: u16,
        head: &[u8],
        fill: impl FnOnce(&mut Messages),
    ) -> io::Result<()> {
        self.transaction(|out, sequence| {
            out.begin(kind, NLM_F_REQUEST | NLM_F_ACK | flags, sequence, head);
            fill(out);
            out.end();
            1
        })
    }

    /// Sends what `build` writes, numbered from the sequence it is given, in one datagram; `build`
    /// returns how many numbers it used and must ask for exactly one acknowledgement or more.
    /// The first error that comes back is the result.
    pub(super) fn transaction(
        &mut self,
        build: impl FnOnce(&mut Messages, u32) -> u32,
    ) -> io::Result<()> {
        self.drain();
        self.out.clear();
        let first = self.sequence;
        let used = build(&mut self.out, first);
        self.sequence = self.sequence.wrapping_add(used.max(1));
        self.socket.send(self.out.bytes(), 0)?;
        let mut outcome: Option<io::Result<()>> = None;
        // The kernel works inside `send`, so all answers are here after the first.
        loop {
            let flags = if outcome.is_some() {
                libc::MSG_DONTWAIT
            } else {
                0
            };
            let length = match self.receive(flags) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return outcome.unwrap_or(Err(io::ErrorKind::TimedOut.into()));
                }
                Err(error) => return Err(error),
            };
            for message in messages(&self.buffer[..length]) {
                let ours = message.sequence.wrapping_sub(first) < used;
                if !ours || message.kind != NLMSG_ERROR {
                    continue;
                }
                match message.code().unwrap_or(-libc::EPROTO) {
                    0 => outcome = outcome.or(Some(Ok(()))),
                    code if !matches!(outcome, Some(Err(_))) => {
                        outcome = Some(Err(io::Error::from_raw_os_error(code.saturating_neg())));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Asks for a whole table, again when it changed meanwhile; `read` turns each message into
    /// what the caller keeps.
    pub(super) fn dump<T>(
        &mut self,
        kind: u16,
        head: &[u8],
        fill: impl Fn(&mut Messages),
        read: impl Fn(Message<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        for _ in 0..DUMP_TRIES {
            if let Some(found) = self.ask(NLM_F_DUMP, kind, head, &fill, &read)? {
                return Ok(found);
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// Asks for one thing.
    pub(super) fn get<T>(
        &mut self,
        kind: u16,
        head: &[u8],
        fill: impl Fn(&mut Messages),
        read: impl Fn(Message<'_>) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let found = self.ask(NLM_F_ACK, kind, head, &fill, &read)?;
        Ok(found.into_iter().flatten().next())
    }

    fn ask<T>(
        &mut self,
        flags: u16,
        kind: u16,
        head: &[u8],
        fill: &impl Fn(&mut Messages),
        read: &impl Fn(Message<'_>) -> Option<T>,
    ) -> io::Result<Option<Vec<T>>> {
        self.drain();
        self.out.clear();
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        self.out.begin(kind, NLM_F_REQUEST | flags, sequence, head);
        fill(&mut self.out);
        self.out.end();
        self.socket.send(self.out.bytes(), 0)?;
        let (mut found, mut torn) = (Vec::new(), false);
        loop {
            let length = self.receive(0)?;
            for message in messages(&self.buffer[..length]) {
                if message.sequence != sequence {
                    continue;
                }
                torn |= message.flags & NLM_F_DUMP_INTR != 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        let code = message.code().unwrap_or(0);
                        if code < 0 {
                            return Err(io::Error::from_raw_os_error(code.saturating_neg()));
                        }
                        return Ok((!torn).then_some(found));
                    }
                    _ => found.extend(read(message)),
                }
            }
        }
    }

    /// Throws away answers that came after their patience was over.
    fn drain(&mut self) {
        while self.receive(libc::MSG_DONTWAIT).is_ok() {}
    }

    fn receive(&mut self, flags: libc::c_int) -> io::Result<usize> {
        loop {
            match self.socket.recv(&mut &mut self.buffer[..], flags) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

/// Bounds every `recv` on a socket.
pub(super) fn set_receive_timeout(fd: RawFd, patience: Duration) -> io::Result<()> {
    let value = libc::timeval {
        tv_sec: patience.as_secs() as libc::time_t,
        tv_usec: patience.subsec_micros().max(1) as libc::suseconds_t,
    };
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &value)
}

/// `setsockopt` with a plain value.
pub(super) fn set_option<T>(
    fd: RawFd,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call; the kernel
    // only reads it.
    let outcome = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
