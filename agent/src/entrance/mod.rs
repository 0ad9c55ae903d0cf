//! Where connections come in: TLS on the node's address, and the local socket for who sits at the machine.
//! Whoever gets further has shown what it has to show; what it may ask is decided for each question.
//!
//! ```text
//!   TCP --limits per address--> handshake (bounded in time) --> Accepted + ConnectionInfo --> server
//!   local socket --who may open the file---------------------------^
//! ```

mod accepted;
mod admission;
pub mod limiter;
mod local;

pub use accepted::Accepted;
pub use local::local_socket;

use accepted::{Io, StrangerDeadline};
use admission::{ConnectionLimiter, lock};
use ha_node::outside::Outside;
use ha_trust::identity::CertificateClaims;
use ha_trust::store::TrustStore;
use ha_trust::tls::{ServerStream, TlsAcceptor};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// How long a caller may take for its handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long somebody may stay who shows no certificate that counts: long enough to join.
const STRANGER_STAYS: Duration = Duration::from_secs(60);
/// After an `accept` that failed, for want of file descriptors most of all.
const AGAIN: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// From where; `None`: from this machine, by the local socket.
    pub from: Option<IpAddr>,
    /// What it shows.
    pub shows: Presented,
}

/// What a visitor shows.
#[derive(Clone, Debug)]
pub enum Presented {
    /// Nothing.
    Nothing,
    /// A certificate that was good when the connection was made.
    Certificate(Arc<CertificateClaims>),
    /// That it may open the local socket; its user.
    Local(String),
}

/// Whether an address is one of a member: its connections are not counted.
pub type Familiar = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Whether what is shown lets somebody in at this moment: such connections are not counted.
pub type Known = Arc<dyn Fn(&Presented) -> bool + Send + Sync>;

/// What was bound.
pub struct Entrance {
    /// For the network.
    pub listener: TcpListener,
    /// For this machine.
    pub local: Option<UnixListener>,
    /// Whom to believe and what to show.
    pub trust: Arc<TrustStore>,
    /// See [`Familiar`].
    pub familiar: Familiar,
    /// See [`Known`].
    pub known: Known,
}

impl Entrance {
    /// Lets visitors in until the stream is dropped.
    pub fn open(self, outside: &Outside) -> ReceiverStream<io::Result<Accepted>> {
        let (tell, accepted) = mpsc::channel(64);
        if let Some(local) = self.local {
            outside.tasks.spawn(
                "local-entrance",
                Box::pin(local::let_in_local(local, outside.clone(), tell.clone())),
            );
        }
        let context = AcceptContext {
            limiter: Arc::default(),
            trust: self.trust,
            familiar: self.familiar,
            known: self.known,
            tell,
        };
        outside.tasks.spawn(
            "entrance",
            Box::pin(let_in(self.listener, outside.clone(), context)),
        );
        ReceiverStream::new(accepted)
    }
}

#[derive(Clone)]
struct AcceptContext {
    limiter: Arc<Mutex<ConnectionLimiter>>,
    trust: Arc<TrustStore>,
    familiar: Familiar,
    known: Known,
    tell: mpsc::Sender<io::Result<Accepted>>,
}

async fn let_in(listener: TcpListener, outside: Outside, context: AcceptContext) {
    loop {
        let (stream, from) = tokio::select! {
            biased;
            () = context.tell.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    outside.clock.sleep(AGAIN).await;
                    continue;
                }
            }
        };
        let (from, now) = (from.ip().to_canonical(), outside.clock.now());
        let familiar = (context.familiar)(from);
        let Some(pass) = ConnectionLimiter::admit(&context.limiter, now, from, familiar) else {
            continue;
        };
        let (context, clock) = (context.clone(), outside.clock.clone());
        let task = async move {
            let why =
                match tokio::time::timeout(HANDSHAKE_WITHIN, handshake(stream, &context.trust))
                    .await
                {
                    Ok(Ok((stream, shows))) => {
                        let stay = if (context.known)(&shows) {
                            None
                        } else {
                            let Some(pass) =
                                ConnectionLimiter::keep(&context.limiter, clock.now(), from, pass)
                            else {
                                return;
                            };
                            Some(StrangerDeadline {
                                _pass: pass,
                                end: Box::pin(tokio::time::sleep(STRANGER_STAYS)),
                            })
                        };
                        let visitor = ConnectionInfo {
                            from: Some(from),
                            shows,
                        };
                        return context
                            .tell
                            .send(Ok(Accepted {
                                io: Io::Tls(Box::new(stream)),
                                visitor,
                                stay,
                            }))
                            .await
                            .unwrap_or(());
                    }
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => format!("not done within {HANDSHAKE_WITHIN:?}"),
                };
            lock(&context.limiter).failed(clock.now(), from, familiar, &why);
        };
        outside.tasks.spawn("handshake", Box::pin(task));
    }
}

async fn handshake(stream: TcpStream, trust: &TrustStore) -> io::Result<(ServerStream, Presented)> {
    stream.set_nodelay(true)?;
    let stream = TlsAcceptor::from(trust.live().server.clone())
        .accept(stream)
        .await?;
    let shows = match stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first)
    {
        None => Presented::Nothing,
        Some(certificate) => Presented::Certificate(Arc::new(
            CertificateClaims::of(certificate).map_err(io::Error::other)?,
        )),
    };
    Ok((stream, shows))
}
