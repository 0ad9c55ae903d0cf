//! The gRPC service that peers call: finds out who asks, then hands the bytes to consensus.

use super::guard::principal;
use crate::operate::Operations;
use crate::outside::Consensus;
use crate::permissions::Caller;
use ha_core::id::NodeId;
use ha_node::driver::DriverHandle;
use ha_node::incoming::hear;
use ha_node::outside::{Call, MESSAGE_MAX};
use ha_proto::consensus::consensus_server::{Consensus as Service, ConsensusServer};
use ha_proto::consensus::{Envelope, MeetReply, MeetRequest, SnapshotPiece};
use ha_record::RECORD_MAX;
use std::io;
use std::sync::Arc;
use tokio::runtime::Handle;
use tonic::{Request, Response, Status, Streaming};

/// What is larger is taken apart on the threads of consensus: it would hold up what keeps the lease. All that the
/// lease and an election ask is far smaller.
const IN_PLACE_MAX: usize = 64 << 10;

/// Answers the calls of the other members.
pub struct PeerService {
    consensus: Consensus,
    driver: DriverHandle,
    large: Handle,
    node: Arc<Operations>,
}

impl PeerService {
    /// The service, ready to be added to a server. `large`: the threads for large messages.
    pub fn server(
        consensus: Consensus,
        driver: DriverHandle,
        large: Handle,
        node: Arc<Operations>,
    ) -> ConsensusServer<Self> {
        let service = PeerService {
            consensus,
            driver,
            large,
            node,
        };
        ConsensusServer::new(service)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    }

    async fn answer(
        &self,
        call: Call,
        request: Request<Envelope>,
    ) -> Result<Response<Envelope>, Status> {
        let caller = principal(&request)?.caller;
        let Envelope { from, body } = request.into_inner();
        let from = speaks_for(&caller, &from)?;
        let body = if body.len() <= IN_PLACE_MAX {
            hear(&self.consensus, &self.driver, from, call, &body).await
        } else {
            let (consensus, driver) = (self.consensus.clone(), self.driver.clone());
            let heard = async move { hear(&consensus, &driver, from, call, &body).await };
            let heard = self.large.spawn(heard).await;
            heard.unwrap_or_else(|e| Err(io::Error::other(e)))
        }
        .map_err(status)?;
        Ok(Response::new(Envelope {
            from: self.consensus.me().0.as_bytes().to_vec(),
            body,
        }))
    }
}

/// A node speaks for itself only.
fn speaks_for(caller: &Caller, from: &[u8]) -> Result<NodeId, Status> {
    let from = NodeId::from_slice(from)
        .ok_or_else(|| Status::invalid_argument("`from` is not a node id of 16 bytes"))?;
    match caller {
        Caller::Member(id) if *id == from => Ok(from),
        _ => Err(Status::permission_denied(format!(
            "this certificate does not speak for node {from}"
        ))),
    }
}

fn status(e: io::Error) -> Status {
    match e.kind() {
        io::ErrorKind::InvalidData => Status::invalid_argument(e.to_string()),
        io::ErrorKind::WouldBlock => Status::aborted(e.to_string()),
        _ => Status::internal(e.to_string()),
    }
}

#[tonic::async_trait]
impl Service for PeerService {
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
    async fn meet(&self, r: Request<MeetRequest>) -> Result<Response<MeetReply>, Status> {
        let shows = principal(&r)?.shows;
        Ok(Response::new(self.node.meet(&shows, r.get_ref())?))
    }
    async fn install_snapshot(
        &self,
        r: Request<Streaming<SnapshotPiece>>,
    ) -> Result<Response<Envelope>, Status> {
        let asked_by = principal(&r)?;
        let mut pieces = r.into_inner();
        let (mut from, mut body) = (Vec::new(), Vec::new());
        while let Some(piece) = pieces.message().await? {
            if from.is_empty() {
                // Before the rest is taken in.
                speaks_for(&asked_by.caller, &piece.from)?;
                from = piece.from;
            }
            if body.len() + piece.data.len() > RECORD_MAX {
                return Err(Status::resource_exhausted(format!(
                    "a snapshot of more than {RECORD_MAX} bytes is not taken"
                )));
            }
            body.extend_from_slice(&piece.data);
        }
        let mut whole = Request::new(Envelope { from, body });
        whole.extensions_mut().insert(asked_by);
        self.answer(Call::InstallSnapshot, whole).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_core::trust::Access;

    #[test]
    fn a_node_speaks_for_no_other() {
        let (one, two) = (NodeId::from_random(1), NodeId::from_random(2));
        assert_eq!(
            speaks_for(&Caller::Member(one), one.0.as_bytes()).unwrap(),
            one
        );
        for caller in [
            Caller::Member(two),
            Caller::Stranger,
            Caller::User("alice".into(), Access::Admin),
            Caller::Local("root".into()),
            Caller::Behind(one, Access::Admin),
        ] {
            assert!(speaks_for(&caller, one.0.as_bytes()).is_err(), "{caller:?}");
        }
        assert!(speaks_for(&Caller::Member(one), b"short").is_err());
    }
}
