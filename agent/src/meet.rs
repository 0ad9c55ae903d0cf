//! Asks members of the cluster how they know it: before a start, before one node goes on alone, and to tell those of an
//! earlier generation that they are.
//!
//! Who is asked shows a certificate of an authority that this node believes, of whatever node: the one that has come to a
//! member's address under another id counts too.

use crate::identity::Identity;
use crate::wire::channels::{self, Idle, belief};
use ha_core::id::NodeId;
use ha_core::meeting::{Known, Met};
use ha_core::state::Facts;
use ha_core::time::Timestamp;
use ha_proto::consensus::consensus_client::ConsensusClient;
use ha_proto::consensus::{MeetReply, MeetRequest};
use ha_trust::store::TrustStore;
use ha_trust::tls::cause;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Whoever may be there: a member or a former one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub listen: SocketAddr,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nobody of this cluster, and why.
    Nobody(String),
    /// An agent of this cluster.
    Agent(NodeId, Met),
    /// An agent of this cluster that says something else than was asked: what.
    Somebody(String),
}

/// Those that may know better: members, and former ones.
pub fn places(facts: &Facts, me: NodeId) -> Vec<Place> {
    let members = facts.members.values().filter(|m| m.id != me);
    let former = facts.recovery.iter().flat_map(|r| r.former.values());
    let members = members.map(|m| (&m.name, m.listen));
    let all = members.chain(former.map(|f| (&f.name, f.listen)));
    let place = |(name, listen): (&String, _)| Place {
        name: name.clone(),
        listen,
    };
    all.map(place).collect()
}

/// How a node knows its cluster from its own disk.
pub fn known(identity: &Identity, facts: &Facts) -> Known {
    let mut known = Known::of(facts);
    known.generation = known.generation.max(identity.generation);
    known
}

/// How this node knows the cluster, for whoever asks or is asked.
pub fn question(cluster: NodeId, known: &Known) -> MeetRequest {
    let (by, at) = match &known.recovered {
        Some((_, by, at)) => (by.clone(), at.0),
        None => (String::new(), 0),
    };
    MeetRequest {
        cluster: cluster.0.as_bytes().to_vec(),
        generation: known.generation,
        recovered_by: by,
        recovered_at_ms: at,
        listen: String::new(),
        address: String::new(),
    }
}

/// Asks at all these places at once, for at most `within`; those that have not answered then are silent. In the order
/// of `places`.
pub async fn ask(
    trust: &Arc<TrustStore>,
    places: &[Place],
    question: &MeetRequest,
    within: Duration,
) -> Vec<(Place, Heard)> {
    let mut asking = JoinSet::new();
    for (number, place) in places.iter().enumerate() {
        let (trust, at, question) = (trust.clone(), place.listen, question.clone());
        asking.spawn(async move { (number, ask_one(&trust, at, question, within).await) });
    }
    let silent = Heard::Nobody(format!("no answer within {within:?}"));
    let mut heard: Vec<(Place, Heard)> =
        places.iter().map(|p| (p.clone(), silent.clone())).collect();
    while let Some(answer) = asking.join_next().await {
        if let Ok((number, answer)) = answer {
            heard[number].1 = answer;
        }
    }
    heard
}

async fn ask_one(
    trust: &Arc<TrustStore>,
    at: SocketAddr,
    question: MeetRequest,
    within: Duration,
) -> Heard {
    let cluster = question.cluster.clone();
    let channel = match channels::channel(&at.to_string(), None, belief(trust), Idle::Closed) {
        Ok(channel) => channel,
        Err(e) => return Heard::Nobody(cause(&e)),
    };
    let mut client = ConsensusClient::new(channel);
    match tokio::time::timeout(within, client.meet(question)).await {
        Err(_) => Heard::Nobody(format!("no answer within {within:?}")),
        // It was not reached, or has shown nothing that is believed.
        Ok(Err(status)) if std::error::Error::source(&status).is_some() => {
            Heard::Nobody(cause(&status))
        }
        Ok(Err(status)) => Heard::Somebody(status.message().to_owned()),
        Ok(Ok(reply)) => {
            let reply = reply.into_inner();
            if reply.cluster != cluster {
                return Heard::Nobody("an agent of another cluster is there".to_owned());
            }
            understood(reply)
                .unwrap_or_else(|| Heard::Somebody("it says what cannot be".to_owned()))
        }
    }
}

fn understood(reply: MeetReply) -> Option<Heard> {
    let node = NodeId::from_slice(&reply.node)?;
    let recovered = match reply.recovered_by.is_empty() {
        true => None,
        false => Some((
            NodeId::from_slice(&reply.recovered_node)?,
            reply.recovered_by,
            Timestamp(reply.recovered_at_ms),
        )),
    };
    let known = Known {
        generation: reply.generation,
        recovered,
    };
    let (name, removed) = (reply.name, reply.removed);
    Some(Heard::Agent(
        node,
        Met {
            name,
            known,
            removed,
        },
    ))
}

/// Those of them that are agents of this cluster.
pub fn met(heard: Vec<(Place, Heard)>) -> Vec<Met> {
    let agent = |(_, heard)| match heard {
        Heard::Agent(_, met) => Some(met),
        _ => None,
    };
    heard.into_iter().filter_map(agent).collect()
}
