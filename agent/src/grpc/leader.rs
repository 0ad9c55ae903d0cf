//! The way of a question to the leader: found, asked with the access of who asks, on a connection that is kept.

use super::guard::{FORWARDED, NAMED, ON_BEHALF};
use crate::operate::{Operations, RequestError};
use crate::permissions::Principal;
use crate::wire::kept::KeptChannels;
use ha_core::id::NodeId;
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
    /// Its service.
    pub client: ControlClient<Channel>,
    node: NodeId,
    at: String,
    channels: Arc<KeptChannels>,
}

/// Who leads, as far as this node knows.
pub enum Known {
    /// This one.
    Here,
    /// Another.
    At(Leader),
    /// Nobody, at the moment.
    Nobody,
}

/// Who leads.
///
/// # Errors
/// The leader's address is not known.
pub fn known(node: &Operations, channels: &Arc<KeptChannels>) -> Result<Known, Status> {
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
    Ok(Known::At(Leader {
        client: ControlClient::new(channel).max_decoding_message_size(ANSWER_MAX),
        node: leader,
        at,
        channels: channels.clone(),
    }))
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
