//! Very many clients, an address each, all of them local to one machine by one route.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use super::load::{Poll, REQUEST, REQUEST_AND_CLOSE, close, connect_from, read, write};

/// Where they all are: two million addresses.
pub const NETWORK: &str = "10.96.0.0/11";
/// What has not come through by then is tried again.
const WITHIN: Duration = Duration::from_secs(5);
/// Times that one client tries.
const TRIES: u8 = 20;

/// The address of client `index`, from 0.
pub fn address(index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 0)) + 256 + index)
}

/// What came of a crowd.
#[derive(Debug, Default)]
pub struct Crowd {
    /// Clients that were answered.
    pub answered: u32,
    /// Clients that gave up.
    pub gave_up: u32,
    /// Attempts that failed and were made again.
    pub again: u32,
    /// How long all took.
    pub took: Duration,
    open: Vec<RawFd>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.open.drain(..).for_each(close);
    }
}

struct Client {
    index: u32,
    tries: u8,
    began: Instant,
    heard: Option<usize>,
}

/// Lets each of these clients make one session, so many at a time. `stay`: the session stays open, idle, as long as
/// what is returned. `progress` is told how many are through.
pub fn visit(
    clients: Range<u32>,
    to: SocketAddr,
    at_a_time: usize,
    stay: bool,
    mut progress: impl FnMut(u32),
) -> Crowd {
    let began = Instant::now();
    let (poll, mut crowd) = (Poll::new(), Crowd::default());
    let mut waiting: VecDeque<(u32, u8)> = VecDeque::new();
    let mut next = clients.clone();
    let mut inside: Vec<Option<Client>> = Vec::new();
    let (mut count, mut buffer, mut swept) = (0_usize, [0_u8; 4096], began);
    loop {
        while count < at_a_time {
            let Some((index, tries)) = waiting
                .pop_front()
                .or_else(|| next.next().map(|index| (index, 0)))
            else {
                break;
            };
            match connect_from(address(index), to) {
                Ok(fd) => {
                    poll.add(fd, false, true);
                    inside.resize_with(inside.len().max(fd as usize + 1), || None);
                    inside[fd as usize] = Some(Client {
                        index,
                        tries,
                        began: Instant::now(),
                        heard: None,
                    });
                    count += 1;
                }
                Err(_) => {
                    again(&mut crowd, &mut waiting, index, tries);
                    break;
                }
            }
        }
        if count == 0 && waiting.is_empty() && next.is_empty() {
            crowd.took = began.elapsed();
            return crowd;
        }
        for fd in poll.wait(20) {
            let Some(client) = inside[fd as usize].as_mut() else {
                continue;
            };
            match step(&poll, fd, client, stay, &mut buffer) {
                Ok(false) => {}
                Ok(true) => {
                    inside[fd as usize] = None;
                    count -= 1;
                    crowd.answered += 1;
                    if stay {
                        crowd.open.push(fd);
                    } else {
                        close(fd);
                    }
                    progress(crowd.answered);
                }
                Err(_) => {
                    let (index, tries) = (client.index, client.tries);
                    inside[fd as usize] = None;
                    count -= 1;
                    close(fd);
                    again(&mut crowd, &mut waiting, index, tries);
                }
            }
        }
        if swept.elapsed() > WITHIN / 5 {
            swept = Instant::now();
            for (fd, client) in (0..).zip(&mut inside) {
                if let Some(late) = client.take_if(|c| c.began.elapsed() > WITHIN) {
                    count -= 1;
                    close(fd);
                    again(&mut crowd, &mut waiting, late.index, late.tries);
                }
            }
        }
    }
}

fn again(crowd: &mut Crowd, waiting: &mut VecDeque<(u32, u8)>, index: u32, tries: u8) {
    if tries + 1 >= TRIES {
        crowd.gave_up += 1;
    } else {
        crowd.again += 1;
        waiting.push_back((index, tries + 1));
    }
}

/// One readiness of one client; `true`: it has its answer.
fn step(
    poll: &Poll,
    fd: RawFd,
    client: &mut Client,
    stay: bool,
    buffer: &mut [u8],
) -> io::Result<bool> {
    let Some(heard) = client.heard else {
        let request = if stay { REQUEST } else { REQUEST_AND_CLOSE };
        write(fd, request)?;
        client.heard = Some(0);
        poll.change(fd, true, false);
        return Ok(false);
    };
    let got = match read(fd, buffer, false) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        got => got?,
    };
    if got == 0 && (stay || heard < REQUEST.len()) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    client.heard = Some(heard + got);
    Ok(if stay {
        heard + got == REQUEST.len()
    } else {
        got == 0
    })
}
