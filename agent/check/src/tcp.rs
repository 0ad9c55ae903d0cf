//! `tcp`: whether the server accepts a connection.

use ha_core::check::{CheckClose, CheckResult};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

pub(crate) async fn probe(to: SocketAddr, within: Duration, close: CheckClose) -> CheckResult {
    match tokio::time::timeout(within, connect(to)).await {
        Err(_) => CheckResult::TimedOut,
        Ok(Err(e)) if e.kind() == io::ErrorKind::TimedOut => CheckResult::TimedOut,
        Ok(Err(_)) => CheckResult::Refused,
        Ok(Ok(stream)) => {
            if close == CheckClose::Rst {
                socket2::SockRef::from(&stream)
                    .set_linger(Some(Duration::ZERO))
                    .ok();
            }
            CheckResult::Passed
        }
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.connect(to).await
}
