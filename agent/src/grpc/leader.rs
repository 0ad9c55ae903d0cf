//! The way of a question to the leader: found, asked with the access of who asks, on a connection that is kept.

use super::control::{Api, STATUS_WITHIN};
use super::guard::{FORWARDED, NAMED, ON_BEHALF, principal};
use crate::error::RequestError;
use crate::operate::Operations;
use crate::permissions::Principal;
use crate::wire::kept::KeptChannels;
use ha_core::id::NodeId;
use ha_proto::control as pb;
use ha_proto::control::control_client::ControlClient;
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// Largest answer of a leader, in bytes: a backup.
const ANSWER_MAX: usize = 64 << 20;
/// How long the leader may take for one answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Another node, which leads.
pub struct Leader {
    pub client: ControlClient<Channel>,
    node: NodeId,
    at: String,
    channels: Arc<KeptChannels>,
}

/// Who leads, as far as this node knows.
enum Known {
    Here,
    At(Box<Leader>),
    /// Nobody, at the moment.
    Nobody,
}

/// Who leads.
///
/// # Errors
/// The leader's address is not known.
fn known(node: &Operations, channels: &Arc<KeptChannels>) -> Result<Known, Status> {
    let news = node.consensus.news();
    let Some(leader) = news.leader else {
        return Ok(Known::Nobody);
    };
    if leader == node.member.id {
        return Ok(Known::Here);
    }
    let Some(at) = news.addresses.get(&leader).cloned() else {
        let text = "the leader's address is not known yet: try again";
        return Err(RequestError::unavailable(text).into());
    };
    let channel = channels
        .to(leader, &at)
        .map_err(|e| Status::internal(e.to_string()))?;
    Ok(Known::At(Box::new(Leader {
        client: ControlClient::new(channel).max_decoding_message_size(ANSWER_MAX),
        node: leader,
        at,
        channels: channels.clone(),
    })))
}

impl Api {
    /// The leader's service, when it is another node. `None`: answer here.
    ///
    /// # Errors
    /// There is no majority, or no leader at the moment. Nothing was done.
    pub(super) async fn leader<T>(&self, request: &Request<T>) -> Result<Option<Leader>, Status> {
        let has_come_far = request.metadata().contains_key(FORWARDED);
        let known = known(&self.node, &self.channels)?;
        let Some(cut_off) = self.node.cut_off().await else {
            return match known {
                Known::Here => Ok(None),
                Known::At(_) if has_come_far => {
                    Err(RequestError::unavailable("leadership is moving: try again").into())
                }
                Known::At(leader) => Ok(Some(*leader)),
                Known::Nobody => Err(self.node.no_leader().await.into()),
            };
        };
        // It may hear no leader and yet reach one.
        if let (Known::At(mut leader), Ok(who)) = (known, principal(request))
            && !has_come_far
        {
            let question = forwarded(&who, pb::StatusRequest {});
            let asked = tokio::time::timeout(STATUS_WITHIN, leader.client.status(question)).await;
            if asked.is_ok_and(|answer| leader.heard(answer).is_ok()) {
                return Ok(Some(*leader));
            }
        }
        Err(RequestError::from(cut_off).into())
    }
}

/// A leader that could not even be connected to was asked nothing; what came of a question whose connection broke nobody
/// knows.
pub fn not_asked(status: Status) -> Status {
    let mut cause = std::error::Error::source(&status);
    let broke = cause.is_some();
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
    if broke {
        let words = format!(
            "the connection to the leader broke ({}); it may have been done",
            status.message()
        );
        return RequestError::deadline_exceeded(words).into();
    }
    status
}

impl Leader {
    /// Takes note of what came back: a connection that brought nothing is not used again.
    pub fn heard<T>(&self, answer: Result<T, Status>) -> Result<T, Status> {
        answer.inspect_err(|status| {
            let by_itself = matches!(
                status.code(),
                Code::Unavailable
                    | Code::Unknown
                    | Code::Internal
                    | Code::Cancelled
                    | Code::DeadlineExceeded
            );
            if by_itself {
                self.channels.forget(self.node, &self.at);
            }
        })
    }
}

/// What is passed on, with the access of who asks.
pub fn forwarded<T>(principal: &Principal, request: T) -> Request<T> {
    let mut next = Request::new(request);
    let headers = next.metadata_mut();
    headers.insert(FORWARDED, MetadataValue::from_static("1"));
    if let Some(access) = principal.caller.access() {
        headers.insert(ON_BEHALF, MetadataValue::from_static(access.word()));
    }
    // Names and digits in hexadecimal: both can stand in a header.
    if let Some(named) = principal
        .named
        .as_ref()
        .and_then(|(name, key)| format!("{name} {key}").parse().ok())
    {
        headers.insert(NAMED, named);
    }
    next.set_timeout(ANSWER_WITHIN);
    next
}
