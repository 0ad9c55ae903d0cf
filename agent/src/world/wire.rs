//! The one place where channels and servers are made, and the peer protocol over them.
//!
//! What protects a connection belongs here and nowhere else.

use super::{Call, CallError};
use ha_core::id::NodeId;
use ha_proto::consensus::consensus_client::ConsensusClient;
use ha_proto::consensus::{Envelope, SnapshotPiece};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status};

/// Largest message of a peer that is accepted, in bytes. Snapshots travel in pieces.
pub const MESSAGE_MAX: usize = 8 << 20;
/// Size of a piece of a snapshot.
const PIECE: usize = 1 << 20;

/// The way to an agent, for peers and operators alike.
///
/// # Errors
/// An address that is no `host:port`.
pub fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    // A black-holed connection is given up within 750 ms: TCP alone would take minutes.
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_millis(200))
        .http2_keep_alive_interval(Duration::from_millis(250))
        .keep_alive_timeout(Duration::from_millis(500))
        .keep_alive_while_idle(true))
}

/// A server for peers and operators.
pub fn server() -> Server {
    Server::builder().tcp_nodelay(true).http2_keepalive_interval(Some(Duration::from_secs(2))).http2_keepalive_timeout(Some(Duration::from_secs(2))).max_concurrent_streams(1024)
}

/// Connections to peers, made when first used and kept.
pub struct PeerChannels {
    me: NodeId,
    open: Mutex<BTreeMap<String, ConsensusClient<Channel>>>,
}

impl PeerChannels {
    /// None yet.
    pub fn new(me: NodeId) -> Self {
        PeerChannels { me, open: Mutex::new(BTreeMap::new()) }
    }

    /// One call. Lease and replication share a connection, so that one is not blocked without the other.
    pub async fn call(&self, to: String, call: Call, body: Vec<u8>, within: Duration) -> Result<Vec<u8>, CallError> {
        let mut client = self.client(&to)?;
        let envelope = Envelope { from: self.me.0.as_bytes().to_vec(), body };
        let asking = async {
            match call {
                Call::AppendEntries => client.append_entries(envelope).await,
                Call::Vote => client.vote(envelope).await,
                Call::PreVote => client.pre_vote(envelope).await,
                Call::TransferLeader => client.transfer_leader(envelope).await,
                Call::Lease => client.lease(envelope).await,
                Call::Release => client.release(envelope).await,
                Call::InstallSnapshot => client.install_snapshot(Request::new(tokio_stream::iter(pieces(envelope)))).await,
            }
        };
        match tokio::time::timeout(within, asking).await {
            Ok(Ok(answer)) => Ok(answer.into_inner().body),
            Ok(Err(status)) => Err(call_error(&status)),
            Err(_) => Err(CallError::NoAnswer(format!("{to} did not answer within {within:?}"))),
        }
    }

    fn client(&self, to: &str) -> Result<ConsensusClient<Channel>, CallError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = open.get(to) {
            return Ok(client.clone());
        }
        let channel = endpoint(to).map_err(|e| CallError::Unreachable(format!("{to}: {e}")))?.connect_lazy();
        let client = ConsensusClient::new(channel).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX);
        open.insert(to.to_owned(), client.clone());
        Ok(client)
    }
}

fn call_error(status: &Status) -> CallError {
    let text = format!("{:?}: {}", status.code(), status.message());
    if status.code() == Code::Unavailable { CallError::Unreachable(text) } else { CallError::NoAnswer(text) }
}

fn pieces(envelope: Envelope) -> Vec<SnapshotPiece> {
    let first = SnapshotPiece { from: envelope.from, header: Vec::new(), data: Vec::new() };
    std::iter::once(first).chain(envelope.body.chunks(PIECE).map(|c| SnapshotPiece { data: c.to_vec(), ..SnapshotPiece::default() })).collect()
}
