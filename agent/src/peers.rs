//! The gRPC service that peers call: finds out who asks, then hands the bytes to consensus.

use crate::consensus::Consensus;
use crate::consensus::codec::RECORD_MAX;
use crate::driver::DriverHandle;
use crate::world::wire::MESSAGE_MAX;
use crate::world::{Call, World};
use ha_core::controller::Event;
use ha_core::id::NodeId;
use ha_proto::consensus::consensus_server::{Consensus as Service, ConsensusServer};
use ha_proto::consensus::{Envelope, SnapshotPiece};
use std::io;
use tonic::{Request, Response, Status, Streaming};

/// See the module.
pub struct PeerService<W: World> {
    consensus: Consensus<W>,
    driver: DriverHandle,
}

impl<W: World> PeerService<W> {
    /// The service, ready to be added to a server.
    pub fn server(consensus: Consensus<W>, driver: DriverHandle) -> ConsensusServer<Self> {
        ConsensusServer::new(PeerService { consensus, driver }).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
    }

    async fn answer(&self, call: Call, request: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        let Envelope { from, body } = request.into_inner();
        let from = self.known(&from)?;
        let body = hear(&self.consensus, &self.driver, from, call, &body).await.map_err(status)?;
        Ok(Response::new(Envelope { from: self.consensus.me().0.as_bytes().to_vec(), body }))
    }

    fn known(&self, from: &[u8]) -> Result<NodeId, Status> {
        NodeId::from_slice(from).ok_or_else(|| Status::invalid_argument("`from` is not a node id of 16 bytes"))
    }
}

/// Answers what peer `from` asks, however it came here. `Err` closes that call and nothing else.
///
/// # Errors
/// Bytes that mean nothing, a vote that this node may not give, consensus that has ended.
pub async fn hear<W: World>(consensus: &Consensus<W>, driver: &DriverHandle, from: NodeId, call: Call, body: &[u8]) -> io::Result<Vec<u8>> {
    let answer = consensus.handle(from, call, body).await?;
    if call == Call::Lease && consensus.promised_to() == Some(from) {
        driver.tell(Event::Promised { to: from });
    }
    Ok(answer)
}

fn status(e: io::Error) -> Status {
    match e.kind() {
        io::ErrorKind::InvalidData => Status::invalid_argument(e.to_string()),
        io::ErrorKind::WouldBlock => Status::aborted(e.to_string()),
        _ => Status::internal(e.to_string()),
    }
}

#[tonic::async_trait]
impl<W: World> Service for PeerService<W> {
    async fn append_entries(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        self.answer(Call::AppendEntries, r).await
    }
    async fn vote(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        self.answer(Call::Vote, r).await
    }
    async fn pre_vote(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        self.answer(Call::PreVote, r).await
    }
    async fn transfer_leader(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        self.answer(Call::TransferLeader, r).await
    }
    async fn lease(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        self.answer(Call::Lease, r).await
    }
    async fn release(&self, r: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        self.answer(Call::Release, r).await
    }
    async fn install_snapshot(&self, r: Request<Streaming<SnapshotPiece>>) -> Result<Response<Envelope>, Status> {
        let mut pieces = r.into_inner();
        let (mut from, mut body) = (Vec::new(), Vec::new());
        while let Some(piece) = pieces.message().await? {
            if from.is_empty() {
                from = piece.from;
            }
            if body.len() + piece.data.len() > RECORD_MAX {
                return Err(Status::resource_exhausted(format!("a snapshot of more than {RECORD_MAX} bytes is not taken")));
            }
            body.extend_from_slice(&piece.data);
        }
        self.answer(Call::InstallSnapshot, Request::new(Envelope { from, body })).await
    }
}
