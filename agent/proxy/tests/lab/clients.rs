//! Clients of the proxy, and what they expect.

use super::BOUND;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

pub async fn connect(at: SocketAddr) -> TcpStream {
    timeout(BOUND, TcpStream::connect(at))
        .await
        .expect("connects in time")
        .expect("connects")
}

/// A client that comes from that address.
pub async fn connect_from(from: IpAddr, at: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    timeout(BOUND, socket.connect(at))
        .await
        .expect("connects in time")
        .expect("connects")
}

/// The one letter that an [`echo_server`] says first.
pub async fn name_of(client: &mut TcpStream) -> char {
    let mut name = [0];
    timeout(BOUND, client.read_exact(&mut name))
        .await
        .expect("a name in time")
        .expect("a name");
    char::from(name[0])
}

/// The same from a new connection, or `None` when that is reset or refused.
pub async fn try_name(at: SocketAddr) -> Option<char> {
    let name = async { TcpStream::connect(at).await.ok()?.read_u8().await.ok() };
    timeout(BOUND, name)
        .await
        .expect("an answer in time")
        .map(char::from)
}

/// Sends a byte and gets it back.
pub async fn echoes(client: &mut TcpStream) {
    client.write_all(b"x").await.unwrap();
    assert_eq!(name_of(client).await, 'x');
}

/// Reads until the connection ends, which must be by a reset.
pub async fn expect_reset(client: &mut TcpStream) {
    let mut buffer = [0; 4096];
    let end = async {
        loop {
            match client.read(&mut buffer).await {
                Ok(0) => panic!("closed cleanly instead of reset"),
                Ok(_) => {}
                Err(e) => return e,
            }
        }
    };
    let error = timeout(BOUND, end).await.expect("a reset in time");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Connects and expects to be reset, or not to be let in at all.
pub async fn expect_refused(at: SocketAddr) {
    match timeout(BOUND, TcpStream::connect(at))
        .await
        .expect("an answer in time")
    {
        Ok(mut client) => expect_reset(&mut client).await,
        Err(e) => assert!(
            matches!(
                e.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
            ),
            "{e}"
        ),
    }
}
