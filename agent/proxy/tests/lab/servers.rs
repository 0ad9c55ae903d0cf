//! Servers behind the proxy: that answer, refuse or hang.

use super::{free_ports, own_address};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// A server that says its name and then echoes, until the client has no more to say.
pub async fn echo_server(name: &'static str) -> SocketAddr {
    serve(own_address(), move |mut s| async move {
        s.write_all(name.as_bytes()).await?;
        let (mut r, mut w) = s.split();
        tokio::io::copy(&mut r, &mut w).await?;
        w.shutdown().await
    })
    .await
}

/// A server that does `handle` with each connection.
pub async fn serve<F>(
    address: IpAddr,
    handle: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let at = listener.local_addr();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handle(stream));
        }
    });
    at.unwrap()
}

/// A port that refuses: it was just closed on an address of this test's own.
pub async fn refusing() -> SocketAddr {
    let address = own_address();
    let [port] = free_ports(address).await;
    SocketAddr::new(address, port)
}

/// A listener whose backlog is full: further connects hang. Keep what it returns.
pub async fn hanging() -> (SocketAddr, socket2::Socket, Vec<socket2::Socket>) {
    let new = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let listener = new();
    listener
        .bind(&SocketAddr::new(own_address(), 0).into())
        .unwrap();
    listener.listen(0).unwrap();
    let at = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    for _ in 0..4 {
        let s = new();
        s.set_nonblocking(true).unwrap();
        let _ = s.connect(&at);
        fillers.push(s);
    }
    (at.as_socket().unwrap(), listener, fillers)
}
