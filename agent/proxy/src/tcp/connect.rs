//! One connect to a server, bounded in time and given up when the client is gone. Owns no policy.

use crate::platform::sockets as sys;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

/// Why a connect failed, by whose fault it is.
pub(super) enum ConnectError {
    /// The server refused or was not reachable.
    Server(io::Error),
    /// It took too long.
    TimedOut,
    /// This machine has no port left towards that address.
    NoPort(io::Error),
    /// This machine has no descriptor or memory left.
    Resources(io::Error),
    /// The client broke off meanwhile.
    ClientGone,
}

/// Connects to `address` within `bound`. The stream has Nagle's algorithm switched off.
pub(super) async fn connect(
    address: SocketAddr,
    bound: Duration,
    client: &TcpStream,
) -> Result<TcpStream, ConnectError> {
    let socket = new_socket(address).map_err(ConnectError::Resources)?;
    tokio::select! {
        biased;
        connected = socket.connect(address) => connected.map_err(by_fault),
        () = gone(client) => Err(ConnectError::ClientGone),
        () = sleep(bound) => Err(ConnectError::TimedOut),
    }
}

fn by_fault(error: io::Error) -> ConnectError {
    match error {
        e if sys::is_out_of_ports(&e) => ConnectError::NoPort(e),
        e if sys::is_out_of_resources(&e) => ConnectError::Resources(e),
        e if e.kind() == io::ErrorKind::TimedOut => ConnectError::TimedOut,
        e => ConnectError::Server(e),
    }
}

fn new_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Ready when the client has broken off. A client that only has no more to say has not.
pub(super) async fn gone(client: &TcpStream) {
    // An error would say that the runtime is going down, which ends the session as well.
    let _ = client.ready(Interest::ERROR).await;
}
