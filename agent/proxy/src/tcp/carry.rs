//! Carrying the bytes of one session, both ways, until both sides have said all or one breaks off.
//!
//! ```text
//!   client --read--> worker's buffer --write--> server     what does not fit waits in `pending`,
//!   client <-write-- worker's buffer <--read--- server     and nothing more is read meanwhile
//!          \-- a direction that proves large goes through a pipe instead (splice) --/
//! ```
//!
//! An end of file is passed on as a shutdown of the other side's writing half, and the other direction
//! goes on. Timers and counters are the worker's.

use crate::entry::{Entry, Side};
use crate::platform::splice::Pipe;
use crate::worker::{BUFFER, Worker};
use ha_core::close::CloseReason;
use socket2::SockRef;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A read of at least so many bytes speaks for a large flow.
const LARGE: usize = BUFFER / 2;
/// So many of them in a row decide it.
const PROVEN: u8 = 4;
/// A splice of fewer bytes speaks against it; `PROVEN` of them in a row decide.
const SMALL: usize = 4 * 1024;
/// Reads after which a direction lets other sessions of the worker have a turn.
const ROUNDS: usize = 8;

/// How the sockets are to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// All that was said has been passed on.
    Close,
    /// Something was cut short, and both sides must see that.
    Reset,
}

/// A side that broke off.
struct Lost {
    side: Side,
    /// Whether it was noticed while reading: then nothing more can come from it.
    reading: bool,
}

struct Direction {
    from: Side,
    pending: Vec<u8>,
    sent: usize,
    eof: bool,
    done: bool,
    streak: u8,
    splicing: bool,
    pipe: Option<Pipe>,
}

/// Carries bytes until the session is over.
pub(super) async fn carry(
    worker: &Worker,
    (entry, place): (&Arc<Entry>, usize),
    client: &mut TcpStream,
    server: &mut TcpStream,
) -> (CloseReason, Ending) {
    let (mut inward, mut outward) = (Direction::new(Side::Client), Direction::new(Side::Server));
    let mut lost: Option<Side> = None;
    let ended = poll_fn(|cx| {
        // The worker looks at the lease every few milliseconds, but later when many sessions are busy; here no byte passes after its end.
        if !worker.may_serve() {
            return Poll::Ready((CloseReason::LeaseEnded, Ending::Reset));
        }
        for inwards in [true, false] {
            let (this, other, from, to) = if inwards {
                (&mut inward, &outward, &mut *client, &mut *server)
            } else {
                (&mut outward, &inward, &mut *server, &mut *client)
            };
            if this.done {
                continue;
            }
            match this.pump(cx, worker, entry, from, to, other.done) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    this.done = true;
                    worker
                        .sweep
                        .half_closed(entry, place, this.to(), worker.coarse());
                }
                Poll::Ready(Err(l)) if l.reading => {
                    return Poll::Ready((reason(lost.unwrap_or(l.side)), Ending::Reset));
                }
                // It takes no more, but what it said before may still be on its way to the other side.
                Poll::Ready(Err(l)) => {
                    this.done = true;
                    lost.get_or_insert(l.side);
                }
            }
        }
        match (inward.done && outward.done, lost) {
            (false, _) => Poll::Pending,
            (true, None) => Poll::Ready((CloseReason::Finished, Ending::Close)),
            // The side that took no more had finished what it had to say: the other has all of it.
            (true, Some(side)) => {
                let said_all = if side == Side::Client {
                    inward.eof
                } else {
                    outward.eof
                };
                Poll::Ready((
                    reason(side),
                    if said_all {
                        Ending::Close
                    } else {
                        Ending::Reset
                    },
                ))
            }
        }
    })
    .await;
    for pipe in [inward.pipe.take(), outward.pipe.take()]
        .into_iter()
        .flatten()
    {
        worker.pipes.give_back(pipe);
    }
    ended
}

const fn reason(lost: Side) -> CloseReason {
    match lost {
        Side::Client => CloseReason::ClientAbort,
        Side::Server => CloseReason::ServerAbort,
    }
}

impl Direction {
    const fn new(from: Side) -> Direction {
        Direction {
            from,
            pending: Vec::new(),
            sent: 0,
            eof: false,
            done: false,
            streak: 0,
            splicing: false,
            pipe: None,
        }
    }

    const fn to(&self) -> Side {
        match self.from {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    /// Moves what can be moved now. Ready when this direction is over; `last`: the other one is already.
    fn pump(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        entry: &Arc<Entry>,
        from: &mut TcpStream,
        to: &mut TcpStream,
        last: bool,
    ) -> Poll<Result<(), Lost>> {
        for _ in 0..ROUNDS {
            match ready!(self.flush(cx, worker, entry, to)) {
                Ok(()) => {}
                Err(_) => {
                    return Poll::Ready(Err(Lost {
                        side: self.to(),
                        reading: false,
                    }));
                }
            }
            if self.eof {
                // When the other direction is over the close that follows says it as well.
                if !last {
                    let _ = SockRef::from(&*to).shutdown(Shutdown::Write);
                }
                return Poll::Ready(Ok(()));
            }
            let read = if self.uses_pipe(worker) {
                ready!(self.fill_pipe(cx, from))
            } else {
                ready!(self.copy(cx, worker, entry, from, to))
            };
            match read {
                Ok(0) => self.eof = true,
                Ok(n) => {
                    worker.sweep.count(entry, self.from, n, worker.coarse());
                    self.learn(n);
                }
                Err(lost) => return Poll::Ready(Err(lost)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sends on what was read before.
    fn flush(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        entry: &Entry,
        to: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        let to_side = self.to();
        if let Some(pipe) = &mut self.pipe {
            while pipe.held() > 0 {
                ready!(to.poll_write_ready(cx))?;
                match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
                    Ok(_) => entry.touch(to_side, worker.coarse()),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => return Poll::Ready(Err(e)),
                }
            }
        }
        if !self.splicing
            && let Some(pipe) = self.pipe.take()
        {
            worker.pipes.give_back(pipe);
        }
        while self.sent < self.pending.len() {
            self.sent += ready!(Pin::new(&mut *to).poll_write(cx, &self.pending[self.sent..]))?;
            entry.touch(to_side, worker.coarse());
        }
        if self.sent > 0 {
            (self.pending, self.sent) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// One read into the worker's buffer and one write out of it; what does not fit becomes `pending`.
    fn copy(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        entry: &Arc<Entry>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<Result<usize, Lost>> {
        let mut buffer = worker.buffer.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        if ready!(Pin::new(from).poll_read(cx, &mut read)).is_err() {
            return Poll::Ready(Err(Lost {
                side: self.from,
                reading: true,
            }));
        }
        let bytes = read.filled();
        let mut sent = 0;
        while sent < bytes.len() {
            match Pin::new(&mut *to).poll_write(cx, &bytes[sent..]) {
                Poll::Ready(Ok(n)) => {
                    sent += n;
                    entry.touch(self.to(), worker.coarse());
                }
                Poll::Ready(Err(_)) => {
                    return Poll::Ready(Err(Lost {
                        side: self.to(),
                        reading: false,
                    }));
                }
                Poll::Pending => {
                    self.pending = bytes[sent..].to_vec();
                    break;
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn fill_pipe(&mut self, cx: &mut Context<'_>, from: &TcpStream) -> Poll<Result<usize, Lost>> {
        let lost = Err(Lost {
            side: self.from,
            reading: true,
        });
        // `uses_pipe` has just said that there is one; without it nothing would be lost but this session.
        let Some(pipe) = &mut self.pipe else {
            return Poll::Ready(lost);
        };
        loop {
            if ready!(from.poll_read_ready(cx)).is_err() {
                return Poll::Ready(lost);
            }
            match from.try_io(Interest::READABLE, || pipe.fill(from)) {
                Ok(n) => return Poll::Ready(Ok(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Poll::Ready(lost),
            }
        }
    }

    /// Whether the next bytes go through a pipe; gets one if need be.
    fn uses_pipe(&mut self, worker: &Worker) -> bool {
        if self.splicing && self.pipe.is_none() {
            self.pipe = worker.pipes.take();
            // None to be had: copying does as well, and asking again waits until the flow has proven large again.
            self.splicing = self.pipe.is_some();
        }
        self.splicing
    }

    /// Finds out whether this flow is large, from the size of its reads.
    fn learn(&mut self, n: usize) {
        let speaks_for_change = if self.splicing { n < SMALL } else { n >= LARGE };
        self.streak = if speaks_for_change {
            self.streak + 1
        } else {
            0
        };
        if self.streak < PROVEN {
            return;
        }
        self.streak = 0;
        // Back to copying, the next `flush` empties the pipe and gives it back.
        self.splicing = !self.splicing;
    }
}
