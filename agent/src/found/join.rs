//! Asking a member to be let in.

use super::{JOIN_WITHIN, member, new_id};
use crate::config::AgentConfig;
use crate::error::Failure;
use crate::identity::Identity;
use crate::store::SledStore;
use crate::sys::boot_now;
use crate::wire::channels::{self, Idle};
use ha_core::id::NodeId;
use ha_core::model::Timing;
use ha_core::text::printable;
use ha_proto::control as pb;
use ha_proto::control::control_client::ControlClient;
use ha_trust::authority::{Seal, request, requested_key};
use ha_trust::identity::{CertificateClaims, Subject};
use ha_trust::keyring::Keyring;
use ha_trust::store::TrustStore;
use ha_trust::tls::{self, cause};
use ha_trust::token::Token;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;

/// Between two tries to join.
const JOIN_AGAIN: Duration = Duration::from_millis(250);

/// Asks any member to be let in. Nothing is sent before it has shown the authority that the token names.
///
/// # Errors
/// What the member said, or that nobody answered.
pub async fn join(
    config: &AgentConfig,
    address: &str,
    token: &Token,
    id: Option<NodeId>,
) -> Result<(Identity, String), Failure> {
    Identity::claim(&config.data_dir)?;
    let_in(config, address, token, id, As::Newcomer).await
}

/// As what a node comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// One that nobody knows.
    Newcomer,
    /// The member of its name, which has lost its data.
    Member,
}

/// Asks to be let in, and writes what comes of it into the empty `data_dir` of `config`.
pub(super) async fn let_in(
    config: &AgentConfig,
    address: &str,
    token: &Token,
    id: Option<NodeId>,
    comes: As,
) -> Result<(Identity, String), Failure> {
    let (key, asked) = request()?;
    let me = id.unwrap_or_else(new_id);
    let member = member(config, me);
    let request = pb::JoinRequest {
        id: me.to_string(),
        name: member.name,
        listen: member.listen.to_string(),
        address: member.address.to_string(),
        role: member.role.word().to_owned(),
        version: member.version,
        token: token.to_string(),
        request: asked.clone(),
        checks: member.checks.into_iter().collect(),
        speaks_min: member.speaks.min.0,
        speaks_max: member.speaks.max.0,
        rejoin: comes == As::Member,
    };
    let deadline = boot_now() + JOIN_WITHIN;
    let reply = loop {
        match ask_to_join(address, token, &request).await {
            Ok(reply) => break reply,
            Err(JoinError::Final(why)) => return Err(why.into()),
            Err(JoinError::NotYet(why)) if boot_now() >= deadline => return Err(why.into()),
            Err(JoinError::NotYet(why)) => {
                eprintln!("waiting: {}", printable(&why));
                tokio::time::sleep(JOIN_AGAIN).await;
            }
        }
    };
    let timing = Timing::from_word(&reply.timing).ok_or_else(|| {
        format!(
            "{address} names timing {:?}, which this version does not know",
            reply.timing
        )
    })?;
    let cluster_id = reply.cluster_id.parse::<NodeId>()?;
    let identity = Identity {
        generation: reply.cluster_generation.max(1),
        ..Identity::new(
            me,
            cluster_id,
            new_id(),
            timing,
            Duration::from_millis(reply.promise_ms),
        )
    };
    let given = |what: &str| {
        format!(
            "{address} let this node in and gave it {what}: remove it there (`ha-cli member remove {}`), and try again",
            config.name
        )
    };
    let said = CertificateClaims::of(&reply.certificate)?;
    if said.subject != Subject::Node(me)
        || said.cluster != cluster_id
        || said.key != requested_key(&asked)?
    {
        return Err(given("the certificate of another").into());
    }
    let seal = Seal(reply.seal.try_into().map_err(|_| given("no seal"))?);
    Keyring {
        generation: reply.generation,
        authorities: reply.authorities,
        crosses: Vec::new(),
        certificate: reply.certificate,
        key: key.serialize_der().into(),
        seal,
    }
    .save(&config.data_dir)?;
    TrustStore::open(&config.data_dir)?;
    // From now on a log that is missing is one that was lost.
    drop(SledStore::create(&config.data_dir, identity.store)?);
    identity.save(&config.data_dir)?;
    Ok((identity, reply.cluster))
}

enum JoinError {
    /// It may be otherwise in a moment.
    NotYet(String),
    /// Asking again would not change the answer.
    Final(String),
}

async fn ask_to_join(
    address: &str,
    token: &Token,
    request: &pb::JoinRequest,
) -> Result<pb::JoinReply, JoinError> {
    let config = Arc::new(
        tls::client_by_fingerprint(Some(token.authority))
            .map_err(|e| JoinError::Final(e.to_string()))?,
    );
    let channel = channels::channel(
        address,
        None,
        Arc::new(move || config.clone()),
        Idle::LookedAfter,
    )
    .map_err(|e| JoinError::Final(format!("{address} is no HOST:PORT: {}", cause(&e))))?;
    let reply = tokio::time::timeout(
        JOIN_WITHIN,
        ControlClient::new(channel).join(request.clone()),
    )
    .await;
    let reply = reply.map_err(|_| {
        JoinError::NotYet(format!("{address} did not answer within {JOIN_WITHIN:?}"))
    })?;
    reply.map(tonic::Response::into_inner).map_err(|s| match s.code() {
        // It was not asked anything: what it showed was not what the token names.
        _ if cause(&s).contains(tls::OTHER_CLUSTER) => JoinError::Final(format!("{address} is not the cluster of this token: {}", tls::OTHER_CLUSTER)),
        _ if std::error::Error::source(&s).is_some() => {
            JoinError::NotYet(format!("no agent answers at {address}: {}. Name the `listen` address of any member that is running", cause(&s)))
        }
        // No leader at the moment, or another node is just being let in.
        Code::Unavailable | Code::FailedPrecondition | Code::DeadlineExceeded => JoinError::NotYet(format!("{address} says: {}", s.message())),
        _ => JoinError::Final(format!("{address} refused: {}", s.message())),
    })
}
