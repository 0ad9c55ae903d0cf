//! The one place where channels and servers are made, and the peer protocol over them. Every channel is TLS;
//! what comes in comes by `entrance`.

use super::kept::KeptChannels;
use ha_core::id::NodeId;
use ha_node::outside::{Addressee, Call, CallError, MESSAGE_MAX};
use ha_proto::consensus::consensus_client::ConsensusClient;
use ha_proto::consensus::{Envelope, SnapshotPiece};
use ha_trust::store::TrustStore;
use ha_trust::tls;
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status};

/// Questions at once on one connection.
pub const STREAMS_MAX: u32 = 64;
/// Size of a piece of a snapshot.
const PIECE: usize = 1 << 20;

/// A TCP connection that is not there after this will not be.
const CONNECT_WITHIN: Duration = Duration::from_millis(200);
/// The same with its handshake.
const SECURE_WITHIN: Duration = Duration::from_millis(500);

/// What a new connection believes and shows: asked for each one, so that a change holds from the next.
pub type Belief = Arc<dyn Fn() -> Arc<tls::ClientConfig> + Send + Sync>;

/// What this node believes and shows.
pub fn belief(trust: &Arc<TrustStore>) -> Belief {
    let trust = trust.clone();
    Arc::new(move || trust.live().client.clone())
}

/// What becomes of a connection on which nothing is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It is looked after: who asks next finds one that works.
    LookedAfter,
    /// Nobody looks at it, and after a while it is closed.
    Closed,
}

/// The way to the agent at `address`; it must be `node`, or any member when that is not known. Connects when it is used.
///
/// # Errors
/// An address that is no `host:port`.
pub fn channel(
    address: &str,
    node: Option<NodeId>,
    belief: Belief,
    idle: Idle,
) -> Result<Channel, tonic::transport::Error> {
    // What protects it is made by the connector; `https` here would have it made twice.
    // A black-holed connection is given up within 750 ms: TCP alone would take minutes.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(SECURE_WITHIN)
        .http2_keep_alive_interval(Duration::from_millis(250))
        .keep_alive_timeout(Duration::from_millis(500))
        .keep_alive_while_idle(idle == Idle::LookedAfter);
    let address = address.to_owned();
    let connector = tower::service_fn(move |_| {
        let (address, config) = (address.clone(), belief());
        async move {
            let stream =
                tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await??;
            tls::connect(stream, node, config).await.map(TokioIo::new)
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// A server for peers and operators.
pub fn server() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(Duration::from_secs(2)))
        .http2_keepalive_timeout(Some(Duration::from_secs(2)))
        .max_concurrent_streams(STREAMS_MAX)
}

/// Peers of which something is told; more than there are members.
const TOLD_MAX: usize = 256;

/// Calls to peers, on connections that are kept.
pub struct PeerChannels {
    me: NodeId,
    channels: KeptChannels,
    /// What was said last of whom, while it is so.
    told: Mutex<BTreeMap<String, String>>,
    anything_told: AtomicBool,
}

impl PeerChannels {
    /// None yet; connections on the threads that this is called on.
    pub fn new(me: NodeId, trust: Arc<TrustStore>) -> Self {
        PeerChannels::on(&Handle::current(), me, trust)
    }

    /// None yet; connections on `threads`, whoever calls.
    pub fn on(threads: &Handle, me: NodeId, trust: Arc<TrustStore>) -> Self {
        PeerChannels {
            me,
            channels: KeptChannels::new(trust, threads.clone(), Idle::LookedAfter),
            told: Mutex::default(),
            anything_told: AtomicBool::new(false),
        }
    }

    /// One call. Lease and replication share a connection, so that one is not blocked without the other.
    pub async fn call(
        &self,
        to: Addressee,
        call: Call,
        body: Vec<u8>,
        within: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let mut client = self.client(&to)?;
        let envelope = Envelope {
            from: self.me.0.as_bytes().to_vec(),
            body,
        };
        let asking = async {
            match call {
                Call::AppendEntries => client.append_entries(envelope).await,
                Call::Vote => client.vote(envelope).await,
                Call::PreVote => client.pre_vote(envelope).await,
                Call::TransferLeader => client.transfer_leader(envelope).await,
                Call::Lease => client.lease(envelope).await,
                Call::Release => client.release(envelope).await,
                Call::InstallSnapshot => {
                    client
                        .install_snapshot(Request::new(tokio_stream::iter(pieces(envelope))))
                        .await
                }
            }
        };
        match tokio::time::timeout(within, asking).await {
            Ok(Ok(answer)) => {
                self.news_of(&to, None);
                Ok(answer.into_inner().body)
            }
            Ok(Err(status)) => {
                self.news_of(&to, Some(&status));
                Err(call_error(&status))
            }
            Err(_) => Err(CallError::NoAnswer(format!(
                "{} did not answer within {within:?}",
                to.at
            ))),
        }
    }

    /// What is wrong between this node and another is told once, and that it is over. A member that is silent is told
    /// of elsewhere.
    fn news_of(&self, peer: &Addressee, refused: Option<&Status>) {
        // By far the most calls: nothing is wrong, and nothing was.
        if refused.is_none() && !self.anything_told.load(Ordering::Relaxed) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match refused {
            None => {
                if told.remove(&peer.at).is_some() {
                    tracing::info!(peer = %peer.at, "a member is reached again");
                }
            }
            Some(status) => {
                // At the bottom: an expired certificate, an authority that is not believed, a port where nobody listens.
                let why = if status.code() == Code::Unavailable {
                    tls::cause(status)
                } else {
                    status.message().to_owned()
                };
                let shut_out = matches!(
                    status.code(),
                    Code::PermissionDenied | Code::Unauthenticated
                );
                // Of a machine that dies one hears a little of everything; to be shut out is always news.
                let is_news = told
                    .get(&peer.at)
                    .is_none_or(|before| shut_out && *before != why);
                if !is_news || told.len() >= TOLD_MAX {
                    return;
                }
                if shut_out {
                    tracing::error!(peer = %peer.at, why, "a member does not hear this node");
                } else {
                    tracing::warn!(peer = %peer.at, why, "a member is not reached");
                }
                told.insert(peer.at.clone(), why);
            }
        }
        self.anything_told
            .store(!told.is_empty(), Ordering::Relaxed);
    }

    fn client(&self, to: &Addressee) -> Result<ConsensusClient<Channel>, CallError> {
        let channel = self
            .channels
            .to(to.node, &to.at)
            .map_err(|e| CallError::Unreachable(format!("{}: {e}", to.at)))?;
        Ok(ConsensusClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX))
    }
}

fn call_error(status: &Status) -> CallError {
    let text = format!("{:?}: {}", status.code(), status.message());
    if status.code() == Code::Unavailable {
        CallError::Unreachable(text)
    } else {
        CallError::NoAnswer(text)
    }
}

fn pieces(envelope: Envelope) -> Vec<SnapshotPiece> {
    let first = SnapshotPiece {
        from: envelope.from,
        header: Vec::new(),
        data: Vec::new(),
    };
    std::iter::once(first)
        .chain(envelope.body.chunks(PIECE).map(|c| SnapshotPiece {
            data: c.to_vec(),
            ..SnapshotPiece::default()
        }))
        .collect()
}
