//! Moving bytes from socket to socket inside the kernel, through a pipe. Owns the pipes and their number.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::net::TcpStream;

/// What a pipe is asked to hold, in bytes. The kernel gives less to users who have many.
pub(crate) const PIPE_SIZE: usize = 256 * 1024;
/// Empty pipes that a worker keeps for the next large flow.
const SPARE_MAX: usize = 32;

/// A pipe and how much is in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
    /// Counted out of `Pipes::open` when it goes.
    open: Arc<AtomicUsize>,
}

/// The pipes of one worker; `open` is shared with the others and bounds them all.
#[derive(Debug)]
pub(crate) struct Pipes {
    spare: RefCell<Vec<Pipe>>,
    open: Arc<AtomicUsize>,
    max: usize,
}

impl Pipes {
    pub(crate) fn new(open: Arc<AtomicUsize>, max: usize) -> Pipes {
        Pipes {
            spare: RefCell::default(),
            open,
            max,
        }
    }

    /// An empty pipe; `None` when there are too many or no descriptors, and then copying has to do.
    pub(crate) fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.spare.borrow_mut().pop() {
            return Some(pipe);
        }
        if self.open.fetch_add(1, Relaxed) >= self.max {
            self.open.fetch_sub(1, Relaxed);
            return None;
        }
        match Pipe::new(self.open.clone()) {
            Ok(pipe) => Some(pipe),
            Err(_) => {
                self.open.fetch_sub(1, Relaxed);
                None
            }
        }
    }

    /// Takes a pipe back; one that still holds bytes is closed.
    pub(crate) fn give_back(&self, pipe: Pipe) {
        let mut spare = self.spare.borrow_mut();
        if pipe.held == 0 && spare.len() < SPARE_MAX {
            spare.push(pipe);
        }
    }
}

impl Pipe {
    fn new(open: Arc<AtomicUsize>) -> io::Result<Pipe> {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both descriptors are new and nobody else's. A refused size leaves a smaller pipe that works.
        let (read, write) = unsafe {
            libc::fcntl(ends[1], libc::F_SETPIPE_SZ, PIPE_SIZE as libc::c_int);
            (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1]))
        };
        Ok(Pipe {
            read,
            write,
            held: 0,
            open,
        })
    }

    /// Bytes in the pipe.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// Socket to pipe. To be called on an empty pipe only: else "would block" may mean either of the two.
    pub(crate) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        debug_assert_eq!(self.held, 0);
        let n = splice(from.as_raw_fd(), self.write.as_raw_fd(), PIPE_SIZE)?;
        self.held = n;
        Ok(n)
    }

    /// Moves what is in the pipe to the socket.
    pub(crate) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let n = splice(self.read.as_raw_fd(), to.as_raw_fd(), self.held)?;
        self.held -= n;
        Ok(n)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Relaxed);
    }
}

fn splice(from: libc::c_int, to: libc::c_int, len: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    // SAFETY: both are open descriptors; null offsets are what pipes and sockets need.
    let n = unsafe {
        libc::splice(
            from,
            std::ptr::null_mut(),
            to,
            std::ptr::null_mut(),
            len,
            flags,
        )
    };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}
