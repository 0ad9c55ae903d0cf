//! The server of the proxy benchmark: one epoll loop per thread, no allocation
//! per request. It does what the first byte of a connection says:
//!
//! * `D`: discards everything that comes (upload).
//! * `S`: sends until the client closes (download).
//! * `C`: sends back what came and closes: the side that closes first keeps the
//!   closed connection in mind, and here that is never the one that needs a free port.
//! * anything else: sends back what comes, one message at a time.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::load::{Poll, accept, close, listen, read, write};

#[derive(Clone, Copy, PartialEq)]
enum Job {
    Unknown,
    Discard,
    Send,
    Once,
    Echo,
}

/// Serves on one address with so many threads, for the rest of the process.
pub fn serve(address: SocketAddr, threads: usize) -> io::Result<()> {
    for _ in 0..threads {
        let listener = listen(address)?;
        std::thread::spawn(move || run(listener));
    }
    Ok(())
}

fn run(listener: RawFd) {
    let poll = Poll::new();
    poll.add(listener, true, false);
    let mut jobs: Vec<Job> = vec![];
    let mut buffer = vec![0_u8; 256 << 10];
    loop {
        for fd in poll.wait(1000) {
            if fd == listener {
                while let Some(fd) = accept(listener) {
                    jobs.resize(jobs.len().max(fd as usize + 1), Job::Unknown);
                    jobs[fd as usize] = Job::Unknown;
                    poll.add(fd, true, false);
                }
            } else if step(&poll, fd, &mut jobs[fd as usize], &mut buffer).is_none() {
                close(fd);
            }
        }
    }
}

/// One readiness of one connection; `None` when it is over.
fn step(poll: &Poll, fd: RawFd, job: &mut Job, buffer: &mut [u8]) -> Option<()> {
    if *job == Job::Send {
        return send_all(fd, buffer);
    }
    let got = match read(fd, buffer, *job == Job::Discard) {
        Ok(0) => return None,
        Ok(got) => got,
        Err(error) => return (error.kind() == io::ErrorKind::WouldBlock).then_some(()),
    };
    if *job == Job::Unknown {
        *job = match buffer[0] {
            b'D' => Job::Discard,
            b'S' => Job::Send,
            b'C' => Job::Once,
            _ => Job::Echo,
        };
    }
    match *job {
        Job::Send => {
            poll.change(fd, true, true);
            send_all(fd, buffer)
        }
        // A request is far smaller than a socket buffer: it is written whole or the connection is broken.
        Job::Echo => write(fd, &buffer[..got])
            .ok()
            .filter(|&sent| sent == got)
            .map(drop),
        Job::Once => {
            let _ = write(fd, &buffer[..got]);
            None
        }
        _ => Some(()),
    }
}

fn send_all(fd: RawFd, buffer: &[u8]) -> Option<()> {
    match write(fd, buffer) {
        Ok(_) => Some(()),
        Err(error) => (error.kind() == io::ErrorKind::WouldBlock).then_some(()),
    }
}
