//! The connection to one agent: by TLS to an address, or to the socket of an agent on this machine.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ha_trust::tls::{self, ClientConfig};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};

use super::{Cluster, LOCAL};

/// A machine that is off does not refuse: the next address is tried after this at the latest.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);

impl Cluster {
    /// The connection to the first address, made when it is not there yet.
    pub(super) async fn channel(&mut self) -> Result<Channel, String> {
        if let Some(channel) = &self.connected {
            return Ok(channel.clone());
        }
        // The connector makes what protects the connection; the address here only names it.
        let endpoint = Endpoint::from_static("http://ha-agent")
            .connect_timeout(self.timeout.min(CONNECTED_WITHIN))
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(self.timeout);
        let address = self.addresses[0].clone();
        let channel = if let Some(path) = address.strip_prefix(LOCAL) {
            let path = path.to_owned();
            endpoint
                .connect_with_connector(tower::service_fn(move |_| local(path.clone())))
                .await
        } else if let Some(credentials) = self.credentials.clone() {
            let shown = self.shown.clone();
            endpoint
                .connect_with_connector(tower::service_fn(move |_| {
                    secured(address.clone(), credentials.clone(), shown.clone())
                }))
                .await
        } else {
            return Err(
                "an address over the network needs --context FILE: who comes shows a certificate"
                    .into(),
            );
        };
        let channel = channel.map_err(|error| tls::cause(&error))?;
        self.connected = Some(channel.clone());
        Ok(channel)
    }
}

#[cfg(unix)]
async fn local(path: String) -> io::Result<TokioIo<tokio::net::UnixStream>> {
    tokio::net::UnixStream::connect(path)
        .await
        .map(TokioIo::new)
}

#[cfg(not(unix))]
async fn local(_: String) -> io::Result<TokioIo<tokio::net::TcpStream>> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "there are no such sockets on this system: use --context FILE",
    ))
}

async fn secured(
    address: String,
    credentials: Arc<ClientConfig>,
    shown: Arc<Mutex<Option<Vec<u8>>>>,
) -> io::Result<TokioIo<tls::ClientStream>> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let stream = tls::connect(stream, None, credentials).await?;
    // Beside its own certificate a member shows that of the authority which signed it.
    let authority = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.get(1))
        .map(|c| c.to_vec());
    *shown.lock().unwrap_or_else(PoisonError::into_inner) = authority;
    Ok(TokioIo::new(stream))
}
