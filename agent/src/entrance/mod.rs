//! Where connections come in: TLS on the node's address, and the local socket for who sits at the machine.
//! Whoever gets further has shown what it has to show; what it may ask is decided for each question.
//!
//! ```text
//!   TCP --[ha-entrance: limits per address]--member's address--> handshake on ha-lease --+--of a member--> members
//!                                         \--else------------> handshake on ha-control --+--else---------> others
//!   local socket --who may open the file---------------------------------------------------------------> others
//! ```
//!
//! An address says only where a handshake is made; where the connection is served is said by the certificate.

mod accepted;
mod admission;
pub mod limiter;
mod local;
mod seats;

pub use accepted::{Accepted, STRANGER_ASKS_WITHIN, STRANGER_STAYS};
pub use admission::{
    FAILURES_MAX, FAILURES_WINDOW, HANDSHAKES, KNOWN, MEMBERS_HANDSHAKES, PREFERRED_MAX, STRANGERS,
    STRANGERS_MAX,
};
pub use local::local_socket;
pub use seats::{Asking, Visit};

use crate::threads::Handles;
use admission::{ConnectionLimiter, Pass, Preferred, lock};
use ha_core::time::Instant;
use ha_node::outside::Clock;
use ha_trust::identity::{CertificateClaims, Subject};
use ha_trust::store::TrustStore;
use ha_trust::tls::{ServerStream, TlsAcceptor};
use seats::Whose;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// How long a caller may take for its handshake.
pub const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// That no more files are there is said once in so long.
const FULL_SAID_EVERY: Duration = Duration::from_secs(10);
/// After an `accept` that failed, for want of file descriptors most of all.
const AGAIN: Duration = Duration::from_millis(50);

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// From where; `None`: from this machine, by the local socket.
    pub from: Option<IpAddr>,
    pub shows: Presented,
    /// Its place among those that may be closed for others; `None`: it is not.
    pub visit: Option<Visit>,
}

/// What a visitor shows.
#[derive(Clone, Debug)]
pub enum Presented {
    Nothing,
    /// A certificate that was good when the connection was made.
    Certificate(Arc<CertificateClaims>),
    /// That it may open the local socket; its user.
    Local(String),
}

impl Presented {
    fn a_node(&self) -> bool {
        matches!(self, Presented::Certificate(claims) if matches!(claims.subject, Subject::Node(_)))
    }

    fn whose(&self, from: IpAddr) -> Whose {
        match self {
            Presented::Certificate(claims) => match &claims.subject {
                Subject::Node(id) => Whose::Node(*id),
                Subject::User { name, .. } => Whose::User(name.clone()),
            },
            Presented::Nothing | Presented::Local(_) => Whose::Address(from),
        }
    }
}

/// Whether an address is one of a member: its handshakes are counted apart from strangers'.
pub type Familiar = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// Whether what is shown lets somebody in at this moment: who does not is a stranger.
pub type Known = Arc<dyn Fn(&Presented) -> bool + Send + Sync>;

/// The sockets on which callers are taken.
pub struct Entrance {
    pub listener: TcpListener,
    pub local: Option<UnixListener>,
    /// Whom to believe and what to show.
    pub trust: Arc<TrustStore>,
    pub familiar: Familiar,
    pub known: Known,
}

/// Connections that are let in; when either half is dropped, nobody is any more.
pub struct Incoming {
    /// Of members, to be served where the lease is kept.
    pub members: ReceiverStream<io::Result<Accepted>>,
    pub others: ReceiverStream<io::Result<Accepted>>,
}

/// Connections that wait to be served, of each kind; more wait at the door.
const WAITING_MAX: usize = 64;

impl Entrance {
    /// Lets visitors in.
    ///
    /// # Errors
    /// The system gives no more threads or files.
    pub fn open(self, clock: Arc<dyn Clock>, threads: &Handles) -> io::Result<Incoming> {
        let (to_members, members) = mpsc::channel(WAITING_MAX);
        let (to_others, others) = mpsc::channel(WAITING_MAX);
        if let Some(socket) = self.local {
            let served = local::let_in_local(socket, clock.clone(), to_others.clone());
            threads.others.spawn(served);
        }
        let context = AcceptContext {
            limiter: Arc::default(),
            trust: self.trust,
            familiar: self.familiar,
            known: self.known,
            clock,
            threads: threads.clone(),
            to_members,
            to_others,
        };
        on_a_thread(self.listener.into_std()?, context)?;
        Ok(Incoming {
            members: ReceiverStream::new(members),
            others: ReceiverStream::new(others),
        })
    }
}

/// Of its own: however many strangers knock, nothing but the next knock waits for it.
fn on_a_thread(listener: std::net::TcpListener, context: AcceptContext) -> io::Result<()> {
    let own = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let accept = async move {
        match TcpListener::from_std(listener) {
            Ok(listener) => let_in(listener, context).await,
            Err(error) => tracing::error!(%error, "nobody can be let in"),
        }
    };
    std::thread::Builder::new()
        .name("ha-entrance".to_owned())
        .spawn(move || own.block_on(accept))?;
    Ok(())
}

#[derive(Clone)]
struct AcceptContext {
    limiter: Arc<Mutex<ConnectionLimiter>>,
    trust: Arc<TrustStore>,
    familiar: Familiar,
    known: Known,
    clock: Arc<dyn Clock>,
    threads: Handles,
    to_members: mpsc::Sender<io::Result<Accepted>>,
    to_others: mpsc::Sender<io::Result<Accepted>>,
}

async fn let_in(listener: TcpListener, context: AcceptContext) {
    let mut said: Option<Instant> = None;
    loop {
        let (stream, from) = tokio::select! {
            biased;
            () = context.to_members.closed() => return,
            () = context.to_others.closed() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Full is not broken: who has shown nothing makes room for who comes.
                    let made = lock(&context.limiter).make_room();
                    let now = context.clock.now();
                    if said.is_none_or(|at| now.saturating_since(at) >= FULL_SAID_EVERY) {
                        said = Some(now);
                        tracing::warn!(%error, made_room = made, "a connection could not be accepted: raise LimitNOFILE= when files are short");
                    }
                    context.clock.sleep(AGAIN).await;
                    continue;
                }
            }
        };
        let (from, now) = (from.ip().to_canonical(), context.clock.now());
        let familiar = (context.familiar)(from);
        let Some(pass) = lock(&context.limiter).admit(now, from, familiar) else {
            continue;
        };
        let Ok(stream) = stream.into_std() else {
            continue;
        };
        let preferred = familiar
            .then(|| ConnectionLimiter::prefer(&context.limiter, from))
            .flatten();
        let threads = match preferred {
            Some(_) => context.threads.lease.clone(),
            None => context.threads.others.clone(),
        };
        threads.spawn(
            context
                .clone()
                .visit(stream, from, familiar, pass, preferred),
        );
    }
}

impl AcceptContext {
    async fn visit(
        self,
        stream: std::net::TcpStream,
        from: IpAddr,
        familiar: bool,
        pass: Pass,
        preferred: Option<Preferred>,
    ) {
        let (_seat, told) = pass;
        let shaken = tokio::select! {
            biased;
            // For others that come, not for what it did itself.
            _ = told => return,
            shaken = tokio::time::timeout(HANDSHAKE_WITHIN, handshake(stream, &self.trust)) => shaken,
        };
        drop(preferred);
        let why = match shaken {
            Ok(Ok((stream, shows))) => match self.arrived(stream, shows, from).await {
                Ok(()) => return,
                Err(error) => error.to_string(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not done within {HANDSHAKE_WITHIN:?}"),
        };
        lock(&self.limiter).failed(self.clock.now(), from, familiar, &why);
    }

    /// Its handshake is done: to be served, if there is room for it.
    async fn arrived(
        &self,
        stream: ServerStream,
        shows: Presented,
        from: IpAddr,
    ) -> io::Result<()> {
        let known = (self.known)(&shows);
        let seat = if known {
            lock(&self.limiter).welcome(shows.whose(from))
        } else {
            lock(&self.limiter).keep(self.clock.now(), from)
        };
        let Some(seat) = seat else {
            return Ok(());
        };
        let (threads, tell) = if known && shows.a_node() {
            (&self.threads.lease, &self.to_members)
        } else {
            (&self.threads.others, &self.to_others)
        };
        let visitor = ConnectionInfo {
            from: Some(from),
            shows,
            visit: None,
        };
        let accepted = Accepted::tls(stream, visitor, seat, !known, threads)?;
        // Nobody is served any more when this fails.
        tell.send(Ok(accepted)).await.unwrap_or(());
        Ok(())
    }
}

async fn handshake(
    stream: std::net::TcpStream,
    trust: &TrustStore,
) -> io::Result<(ServerStream, Presented)> {
    let stream = TcpStream::from_std(stream)?;
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
