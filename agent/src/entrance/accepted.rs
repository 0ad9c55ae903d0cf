//! A connection that is let in, as the server takes it.

use super::ConnectionInfo;
use super::admission::Pass;
use super::seats::Seated;
use ha_trust::tls::ServerStream;
use socket2::SockRef;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::time::Sleep;
use tonic::transport::server::Connected;

/// How long somebody may deadline who shows no certificate that counts: long enough to join.
pub const STRANGER_STAYS: Duration = Duration::from_secs(60);
/// How long of that without asking anything.
pub const STRANGER_ASKS_WITHIN: Duration = Duration::from_secs(5);

/// A connection that is let in.
pub struct Accepted {
    io: Io,
    visitor: ConnectionInfo,
    seat: Option<Pass>,
    deadline: Option<StrangerDeadline>,
}

impl Accepted {
    pub(super) const fn local(stream: UnixStream, visitor: ConnectionInfo) -> Self {
        Accepted {
            io: Io::Local(stream),
            visitor,
            seat: None,
            deadline: None,
        }
    }

    /// To be served on threads of `on`, wherever its handshake was made. `stranger`: it may not stay for long.
    ///
    /// # Errors
    /// The system gives no more files.
    pub(super) fn tls(
        mut stream: ServerStream,
        mut visitor: ConnectionInfo,
        seat: Pass,
        stranger: bool,
        on: &Handle,
    ) -> io::Result<Self> {
        // Sockets and timers belong to the threads on which they are made.
        let _on = on.enter();
        let socket = stream.get_mut().0;
        *socket = TcpStream::from_std(SockRef::from(&*socket).try_clone()?.into())?;
        visitor.visit = Some(seat.0.visit());
        let deadline = stranger.then(|| StrangerDeadline {
            end: Box::pin(tokio::time::sleep(STRANGER_STAYS)),
            idle: Box::pin(tokio::time::sleep(STRANGER_ASKS_WITHIN)),
            asked: 0,
        });
        Ok(Accepted {
            io: Io::Tls(Box::new(stream)),
            visitor,
            seat: Some(seat),
            deadline,
        })
    }

    /// `Err`: it must leave.
    fn may_stay(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some((seat, told)) = &mut self.seat else {
            return Ok(());
        };
        if Pin::new(told).poll(cx).is_ready() {
            return Err(out("others come, and it asks nothing"));
        }
        match &mut self.deadline {
            Some(deadline) => deadline.goes_on(seat, cx),
            None => Ok(()),
        }
    }
}

/// Of somebody who shows no certificate.
struct StrangerDeadline {
    end: Pin<Box<Sleep>>,
    /// Looks whether something was asked since it was set.
    idle: Pin<Box<Sleep>>,
    asked: u64,
}

impl StrangerDeadline {
    fn goes_on(&mut self, seat: &Seated, cx: &mut Context<'_>) -> io::Result<()> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Err(out("no certificate was shown"));
        }
        while self.idle.as_mut().poll(cx).is_ready() {
            let (asks, asked) = seat.asks();
            if !asks && asked == self.asked {
                return Err(out("no certificate was shown and nothing asked"));
            }
            self.asked = asked;
            self.idle.set(tokio::time::sleep(STRANGER_ASKS_WITHIN));
        }
        Ok(())
    }
}

fn out(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

enum Io {
    Tls(Box<ServerStream>),
    Local(UnixStream),
}

impl Connected for Accepted {
    type ConnectInfo = ConnectionInfo;
    fn connect_info(&self) -> ConnectionInfo {
        self.visitor.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Err(out) = self.may_stay(cx) {
            return Poll::Ready(Err(out));
        }
        match &mut self.io {
            Io::Tls(s) => Pin::new(s).poll_read(cx, buf),
            Io::Local(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Also while it does not take what it is sent, and is not read from.
        if let Err(out) = self.may_stay(cx) {
            return Poll::Ready(Err(out));
        }
        match &mut self.io {
            Io::Tls(s) => Pin::new(s).poll_write(cx, buf),
            Io::Local(s) => Pin::new(s).poll_write(cx, buf),
        }
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tls(s) => Pin::new(s).poll_flush(cx),
            Io::Local(s) => Pin::new(s).poll_flush(cx),
        }
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tls(s) => Pin::new(s).poll_shutdown(cx),
            Io::Local(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
