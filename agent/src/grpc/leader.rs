//! Who answers a question: this node, the leader that it knows, or nobody for want of a majority.

use super::control::{Api, STATUS_WITHIN, forwarded};
use super::guard::{FORWARDED, principal};
use crate::operate::RequestError;
use crate::wire::channels::{belief, channel};
use ha_proto::control as pb;
use ha_proto::control::control_client::ControlClient;
use tonic::transport::Channel;
use tonic::{Request, Status};

impl Api {
    /// The leader's service, when it is another node. `None`: answer here.
    ///
    /// # Errors
    /// There is no majority, or no leader at the moment. Nothing was done.
    pub(super) async fn leader<T>(
        &self,
        request: &Request<T>,
    ) -> Result<Option<ControlClient<Channel>>, Status> {
        let leader = self.known_leader()?;
        let Some(cut_off) = self.node.cut_off().await else {
            return match leader {
                Leader::Here => Ok(None),
                Leader::At(_) if request.metadata().contains_key(FORWARDED) => {
                    Err(RequestError::unavailable("leadership is moving: try again").into())
                }
                Leader::At(client) => Ok(Some(*client)),
                Leader::Nobody => Err(self.node.no_leader().await.into()),
            };
        };
        // It may hear no leader and yet reach one.
        match (leader, principal(request)) {
            (Leader::At(client), Ok(who)) if !request.metadata().contains_key(FORWARDED) => {
                let question = forwarded(&who, pb::StatusRequest {});
                let mut asked = (*client).clone();
                let answer = tokio::time::timeout(STATUS_WITHIN, asked.status(question)).await;
                match answer {
                    Ok(Ok(_)) => Ok(Some(*client)),
                    _ => Err(RequestError::from(cut_off).into()),
                }
            }
            _ => Err(RequestError::from(cut_off).into()),
        }
    }

    fn known_leader(&self) -> Result<Leader, Status> {
        let news = self.node.consensus.news();
        let Some(leader) = news.leader else {
            return Ok(Leader::Nobody);
        };
        if leader == self.node.member.id {
            return Ok(Leader::Here);
        }
        let Some(address) = news.addresses.get(&leader) else {
            let text = "the leader's address is not known yet: try again";
            return Err(RequestError::unavailable(text).into());
        };
        let channel = channel(address, Some(leader), belief(&self.node.trust))
            .map_err(|e| Status::internal(e.to_string()))?;
        let client = ControlClient::new(channel).max_decoding_message_size(64 << 20);
        Ok(Leader::At(Box::new(client)))
    }
}

/// Who answers, as far as this node knows.
enum Leader {
    Here,
    At(Box<ControlClient<Channel>>),
    Nobody,
}

/// A leader that could not even be connected to was asked nothing.
pub(super) fn not_asked(status: Status) -> Status {
    let mut cause = std::error::Error::source(&status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return RequestError::unavailable(format!(
                "the leader does not answer: {}",
                status.message()
            ))
            .into();
        }
        cause = error.source();
    }
    status
}
