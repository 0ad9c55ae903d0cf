//! The few system calls that tokio has no words for. Owns the `unsafe` of the proxy, but for that of `splice` and one registration in `accept`.

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::time::Duration;

/// Connections that the kernel keeps for a listener (it takes less where `somaxconn` is less).
const BACKLOG: i32 = 4096;

/// Unanswered questions after which the kernel takes an idle other side for gone.
const KEEPALIVE_PROBES: u32 = 4;
/// The kernel counts keepalive in these.
const SECOND: Duration = Duration::from_secs(1);

/// A listener on a frontend's own address. Only one socket of the machine can have it.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = stream_socket(address)?;
    // On Linux this passes over connections in TIME_WAIT, but never lets two sockets listen.
    socket.set_reuse_address(true)?;
    finish_listener(socket, address)
}

/// A listener that takes connections to any address, of which each worker has one.
pub(crate) fn listen_transparent(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = stream_socket(address)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => set_ip_transparent_v6(&socket)?,
    }
    finish_listener(socket, address)
}

fn stream_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

fn finish_listener(socket: Socket, address: SocketAddr) -> io::Result<TcpListener> {
    // Accepted connections inherit it, which saves a call for each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn set_ip_transparent_v6(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, whose address and size are given; the socket is open.
    let rc = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_TRANSPARENT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if rc < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The next connection of a listener, non-blocking, in one system call.
pub(crate) fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let accept = |storage: *mut libc::sockaddr_storage, len: *mut libc::socklen_t| {
        // SAFETY: `storage` and `len` are valid for writing for the length of the call, as `try_init` promises.
        let fd = unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                storage.cast(),
                len,
                libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            )
        };
        // SAFETY: a descriptor that is not negative is a new socket that nobody else owns.
        if fd < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(unsafe { TcpStream::from_raw_fd(fd) })
        }
    };
    // SAFETY: accept4 fills in the address that `try_init` gives it and its length.
    let (stream, peer) = unsafe { SockAddr::try_init(|storage, len| accept(storage.cast(), len)) }?;
    let peer = peer
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
    Ok((stream, peer))
}

/// Makes the coming close of that socket a reset.
pub(crate) fn reset_on_close(socket: &impl AsFd) {
    // It fails only for a socket that is no socket; then nothing is left to reset.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Makes closing the socket say nothing at all, where the kernel lets us (`TCP_REPAIR`, with `CAP_NET_ADMIN`).
///
/// For a lease that ran out unnoticed, as in a process that was stopped: another node may answer for
/// the address by now, and even a reset from here would be a second answer.
pub(crate) fn vanish_on_close(socket: &impl AsFd) {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is a c_int that lives for the length of the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done != 0 {
        // Without the privilege there is no virtual IP of the kernel's either: the address is bound by one process at a time.
        reset_on_close(socket);
    }
}

/// Raises the limit on open files to its hard limit and says what it is.
pub(crate) fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit for both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) < 0 {
            return Err(io::Error::last_os_error());
        }
        let wanted = libc::rlimit {
            rlim_cur: limit.rlim_max,
            rlim_max: limit.rlim_max,
        };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) == 0 {
            limit = wanted;
        }
    }
    Ok(limit.rlim_cur)
}

/// Whether an error says that this machine, not the other side, has run out of something.
pub(crate) fn is_out_of_resources(e: &io::Error) -> bool {
    matches!(
        e.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// Whether an error says that this machine has no port left towards one address; towards others it has.
pub(crate) fn is_out_of_ports(e: &io::Error) -> bool {
    e.raw_os_error() == Some(libc::EADDRNOTAVAIL)
}

/// Has the kernel ask an idle other side after `every`, and break off when it has not answered for as long again.
/// The socket must be open, and a socket.
pub(crate) fn keep_alive(socket: RawFd, every: Duration) {
    if every.is_zero() {
        return;
    }
    let keepalive = TcpKeepalive::new()
        .with_time(every.max(SECOND))
        .with_interval((every / KEEPALIVE_PROBES).max(SECOND))
        .with_retries(KEEPALIVE_PROBES);
    // SAFETY: the caller has it open for the length of this call.
    let socket = unsafe { BorrowedFd::borrow_raw(socket) };
    // It fails only for a socket that is no socket; then reading it says so.
    let _ = SockRef::from(&socket).set_tcp_keepalive(&keepalive);
}

/// For how long the other side has answered nothing although it is to: what was sent to it, or the question whether its
/// window is open again, is not acknowledged. `None`: nothing is. The socket must be open.
///
/// `TCP_USER_TIMEOUT` would do this in the kernel, but it ends a connection as well whose other side is there and keeps
/// its window shut, as a printer without paper does.
pub(crate) fn silent_for(socket: RawFd) -> Option<Duration> {
    // SAFETY: all zeros are a valid value of this struct of integers.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` and `len` are valid for writing, and `len` says how large `info` is.
    let rc = unsafe {
        libc::getsockopt(
            socket,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    let waits = info.tcpi_unacked > 0 || info.tcpi_probes > 0;
    (rc == 0 && waits).then(|| Duration::from_millis(u64::from(info.tcpi_last_ack_recv)))
}

/// What came of accepting on the reserve.
pub(crate) enum Spent {
    /// A connection was accepted and reset.
    Reset,
    /// No connection was waiting: without a descriptor, the kernel says "none left" before it looks.
    NobodyThere,
    /// The reserve itself could not be had.
    NoReserve,
}

/// A file descriptor kept back, so that one more connection can be accepted and reset when there is none left.
#[derive(Debug, Default)]
pub(crate) struct Reserve(Option<File>);

impl Reserve {
    /// Takes one descriptor, if there is one.
    pub(crate) fn refill(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }

    /// Accepts one connection on the descriptor that was kept back, and resets it.
    pub(crate) fn spend(&mut self, listener: &TcpListener) -> Spent {
        if self.0.take().is_none() {
            self.refill();
            return Spent::NoReserve;
        }
        let accepted = accept(listener);
        if let Ok((stream, _)) = &accepted {
            reset_on_close(stream);
        }
        let spent = match &accepted {
            Ok(_) => Spent::Reset,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Spent::NobodyThere,
            Err(_) => Spent::NoReserve,
        };
        drop(accepted);
        self.refill();
        spent
    }
}
