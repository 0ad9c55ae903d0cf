//! A connection that is let in, as the server takes it.

use super::ConnectionInfo;
use super::admission::Pass;
use ha_trust::tls::ServerStream;
use socket2::SockRef;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tonic::transport::server::Connected;

/// How long somebody may stay who shows no certificate that counts: long enough to join.
const STRANGER_STAYS: Duration = Duration::from_secs(60);

/// A connection that is let in.
pub struct Accepted {
    io: Io,
    visitor: ConnectionInfo,
    stay: Option<StrangerDeadline>,
}

impl Accepted {
    pub(super) const fn local(stream: UnixStream, visitor: ConnectionInfo) -> Self {
        Accepted {
            io: Io::Local(stream),
            visitor,
            stay: None,
        }
    }

    /// To be served on threads of `on`, wherever its handshake was made. `pass`: of somebody who may not stay.
    ///
    /// # Errors
    /// The system gives no more files.
    pub(super) fn tls(
        mut stream: ServerStream,
        visitor: ConnectionInfo,
        pass: Option<Pass>,
        on: &Handle,
    ) -> io::Result<Self> {
        // Sockets and timers belong to the threads on which they are made.
        let _on = on.enter();
        let socket = stream.get_mut().0;
        *socket = TcpStream::from_std(SockRef::from(&*socket).try_clone()?.into())?;
        let stay = pass.map(|pass| StrangerDeadline {
            _pass: pass,
            end: Box::pin(tokio::time::sleep(STRANGER_STAYS)),
        });
        Ok(Accepted {
            io: Io::Tls(Box::new(stream)),
            visitor,
            stay,
        })
    }
}

/// Of somebody who shows no certificate.
struct StrangerDeadline {
    _pass: Pass,
    end: Pin<Box<tokio::time::Sleep>>,
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
        if let Some(stay) = &mut self.stay
            && stay.end.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no certificate was shown",
            )));
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
