//! Where connections come in: TLS on the node's address, and the local socket for who sits at the machine.
//! Whoever gets further has shown what it has to show; what it may ask is decided for each question.
//!
//! ```text
//!   TCP --limits per address--> handshake (bounded in time) --> Accepted + ConnectionInfo --> server
//!   local socket --who may open the file---------------------------^
//! ```

pub mod limiter;

use ha_core::time::Instant;
use ha_node::outside::Outside;
use ha_trust::identity::CertificateClaims;
use ha_trust::store::TrustStore;
use ha_trust::tls::{ServerStream, TlsAcceptor};
use limiter::{Limiter, share_of};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// How long a caller may take for its handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long somebody may stay who shows no certificate that counts: long enough to join.
const STRANGER_STAYS: Duration = Duration::from_secs(60);
/// Connections of one address without a certificate that counts; a member's address is exempt until that is known.
const OPEN_PER_ADDRESS: u32 = 16;
/// The same of all addresses together.
const OPEN_MAX: u32 = 256;
/// Handshakes that may fail from one address in [`FAILURES_WINDOW`]; then it is not listened to until that is over.
const FAILURES_MAX: u32 = 20;
const FAILURES_WINDOW: Duration = Duration::from_secs(10);
/// Handshakes of one address that show nothing, in [`FAILURES_WINDOW`]: each costs as much as a good one.
const STRANGERS_MAX: u32 = 100;
/// After an `accept` that failed, for want of file descriptors most of all.
const AGAIN: Duration = Duration::from_millis(50);
/// Who may use the local socket beside root.
const GROUP: &str = "ha-admin";

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
                Box::pin(let_in_local(local, outside.clone(), tell.clone())),
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

async fn let_in_local(
    listener: UnixListener,
    outside: Outside,
    tell: mpsc::Sender<io::Result<Accepted>>,
) {
    loop {
        let stream = tokio::select! {
            biased;
            () = tell.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match stream.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream))) {
            Ok((uid, stream)) => {
                let visitor = ConnectionInfo {
                    from: None,
                    shows: Presented::Local(user_name(uid)),
                };
                tell.send(Ok(Accepted {
                    io: Io::Local(stream),
                    visitor,
                    stay: None,
                }))
                .await
                .unwrap_or(());
            }
            Err(error) => {
                tracing::warn!(%error, "a local connection could not be accepted");
                outside.clock.sleep(AGAIN).await;
            }
        }
    }
}

/// The local socket: for root, and for the group `ha-admin` where there is one.
///
/// # Errors
/// A path that cannot be used.
pub fn local_socket(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    match std::fs::symlink_metadata(path) {
        // What an agent left that was killed: this one has the lock of the data directory.
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket is there",
            ));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    let grouped = group_id(GROUP).map(|gid| std::os::unix::fs::chown(path, None, Some(gid)));
    if let Some(Err(error)) = &grouped {
        tracing::warn!(%error, group = GROUP, path = %path.display(), "the local socket could not be given to its group: only root and this agent's user can use it");
    }
    let mode = if matches!(grouped, Some(Ok(()))) {
        0o660
    } else {
        0o600
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn user_name(uid: u32) -> String {
    by_number("/etc/passwd", uid).unwrap_or_else(|| format!("uid {uid}"))
}

fn by_number(file: &str, number: u32) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    })
}

fn group_id(name: &str) -> Option<u32> {
    let text = std::fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(':')?
            .split(':')
            .nth(1)?
            .parse()
            .ok()
    })
}

/// Counts who is inside and who failed.
#[derive(Debug)]
struct ConnectionLimiter {
    open: BTreeMap<IpAddr, u32>,
    failures: Limiter,
    strangers: Limiter,
}

impl Default for ConnectionLimiter {
    fn default() -> Self {
        ConnectionLimiter {
            open: BTreeMap::new(),
            failures: Limiter::new(FAILURES_MAX, FAILURES_WINDOW),
            strangers: Limiter::new(STRANGERS_MAX, FAILURES_WINDOW),
        }
    }
}

impl ConnectionLimiter {
    /// `None`: not now.
    fn admit(
        this: &Arc<Mutex<ConnectionLimiter>>,
        now: Instant,
        from: IpAddr,
        familiar: bool,
    ) -> Option<Pass> {
        // Whoever shares a member's address does not shut that member out.
        if familiar {
            return Some(Pass(None));
        }
        let over =
            |d: &ConnectionLimiter| d.failures.is_over(now, from) || d.strangers.is_over(now, from);
        if over(&lock(this)) {
            None
        } else {
            ConnectionLimiter::count(this, from)
        }
    }

    /// For who has shown nothing that counts: from now on it is counted, wherever it comes from. `None`: no room.
    fn keep(
        this: &Arc<Mutex<ConnectionLimiter>>,
        now: Instant,
        from: IpAddr,
        pass: Pass,
    ) -> Option<Pass> {
        lock(this).strangers.note(now, from);
        if pass.0.is_some() {
            Some(pass)
        } else {
            ConnectionLimiter::count(this, from)
        }
    }

    fn count(this: &Arc<Mutex<ConnectionLimiter>>, from: IpAddr) -> Option<Pass> {
        let from = share_of(from);
        let mut limiter = lock(this);
        let inside = limiter.open.get(&from).copied().unwrap_or(0);
        if inside >= OPEN_PER_ADDRESS || limiter.open.values().sum::<u32>() >= OPEN_MAX {
            return None;
        }
        *limiter.open.entry(from).or_default() += 1;
        Some(Pass(Some((this.clone(), from))))
    }

    fn failed(&mut self, now: Instant, from: IpAddr, familiar: bool, why: &str) {
        tracing::debug!(%from, why, "a handshake failed");
        let was_over = self.failures.is_over(now, from);
        self.failures.note(now, from);
        if was_over || !self.failures.is_over(now, from) {
            return;
        }
        if familiar {
            tracing::warn!(%from, why, "{FAILURES_MAX} handshakes from a member's address have failed within {FAILURES_WINDOW:?}");
        } else {
            tracing::warn!(%from, why, "{FAILURES_MAX} handshakes from there have failed: it is not listened to for {FAILURES_WINDOW:?}");
        }
    }
}

/// Held while a counted visitor is inside.
#[derive(Debug)]
struct Pass(Option<(Arc<Mutex<ConnectionLimiter>>, IpAddr)>);

impl Drop for Pass {
    fn drop(&mut self) {
        let Some((limiter, from)) = self.0.take() else {
            return;
        };
        let mut limiter = lock(&limiter);
        if let Some(count) = limiter.open.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                limiter.open.remove(&from);
            }
        }
    }
}

fn lock(limiter: &Mutex<ConnectionLimiter>) -> MutexGuard<'_, ConnectionLimiter> {
    limiter.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that is let in.
pub struct Accepted {
    io: Io,
    visitor: ConnectionInfo,
    stay: Option<StrangerDeadline>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_counted_and_members_are_not() {
        let limiter: Arc<Mutex<ConnectionLimiter>> = Arc::default();
        let (stranger, now) = (
            IpAddr::from([10, 0, 0, 1]),
            Instant::from(Duration::from_secs(100)),
        );
        let passes: Vec<Pass> = (0..OPEN_PER_ADDRESS)
            .map(|_| ConnectionLimiter::admit(&limiter, now, stranger, false).unwrap())
            .collect();
        assert!(ConnectionLimiter::admit(&limiter, now, stranger, false).is_none());
        assert!(
            ConnectionLimiter::admit(&limiter, now, stranger, true).is_some(),
            "a member of that address still comes in"
        );
        assert!(
            ConnectionLimiter::admit(&limiter, now, IpAddr::from([10, 0, 0, 2]), false).is_some()
        );
        drop(passes);
        assert!(ConnectionLimiter::admit(&limiter, now, stranger, false).is_some());
        assert!(lock(&limiter).open.is_empty(), "who left is not remembered");
    }

    #[test]
    fn who_fails_again_and_again_is_not_listened_to_for_a_while() {
        let limiter: Arc<Mutex<ConnectionLimiter>> = Arc::default();
        let (stranger, now) = (
            IpAddr::from([10, 0, 0, 1]),
            Instant::from(Duration::from_secs(100)),
        );
        for _ in 0..FAILURES_MAX {
            assert!(ConnectionLimiter::admit(&limiter, now, stranger, false).is_some());
            lock(&limiter).failed(now, stranger, false, "a test");
        }
        assert!(ConnectionLimiter::admit(&limiter, now, stranger, false).is_none());
        assert!(
            ConnectionLimiter::admit(&limiter, now + FAILURES_WINDOW, stranger, false).is_some()
        );
    }

    /// Who shares a member's address, and who shows what does not count any more, is counted after the handshake.
    #[test]
    fn who_shows_nothing_that_counts_is_counted_wherever_it_comes_from() {
        let limiter: Arc<Mutex<ConnectionLimiter>> = Arc::default();
        let (shared, now) = (
            IpAddr::from([10, 0, 0, 1]),
            Instant::from(Duration::from_secs(100)),
        );
        let enter = || {
            ConnectionLimiter::keep(
                &limiter,
                now,
                shared,
                ConnectionLimiter::admit(&limiter, now, shared, true).unwrap(),
            )
        };
        let inside: Vec<Pass> = (0..OPEN_PER_ADDRESS).map(|_| enter().unwrap()).collect();
        assert!(enter().is_none(), "no room for more of them");
        assert!(
            ConnectionLimiter::admit(&limiter, now, shared, true).is_some(),
            "the member itself comes in"
        );
        drop(inside);
        // Good handshakes that show nothing are not free either.
        let elsewhere = IpAddr::from([10, 0, 0, 2]);
        for _ in 0..STRANGERS_MAX {
            let pass = ConnectionLimiter::admit(&limiter, now, elsewhere, false).unwrap();
            drop(ConnectionLimiter::keep(&limiter, now, elsewhere, pass).unwrap());
        }
        assert!(ConnectionLimiter::admit(&limiter, now, elsewhere, false).is_none());
        assert!(
            ConnectionLimiter::admit(&limiter, now + FAILURES_WINDOW, elsewhere, false).is_some()
        );
    }

    #[test]
    fn names_come_from_the_systems_files() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(4_000_000_001), "uid 4000000001");
        assert_eq!(group_id("root"), Some(0));
        assert_eq!(group_id("no-such-group"), None);
    }
}
