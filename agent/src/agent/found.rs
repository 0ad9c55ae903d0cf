//! `init` and `join`: how a node comes to its identity.

use super::Failure;
use crate::config::{AgentConfig, ClusterFile};
use crate::consensus::sled_store::SledStore;
use crate::consensus::{Consensus, SNAPSHOT_EVERY, Settings};
use crate::identity::Identity;
use crate::world::real::{RealWorld, boot_now};
use crate::world::{Addresses, Intercepted, Release, World, wire};
use ha_core::command::{Command, Stamped};
use ha_core::id::NodeId;
use ha_core::model::{Member, Role, Timing, VirtualIp};
use ha_core::time::Instant;
use ha_proto::control as pb;
use ha_proto::control::control_client::ControlClient;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;

/// How long one node alone may take to found its cluster; disks included.
const FOUND_WITHIN: Duration = Duration::from_secs(30);
/// How long a member may take to answer a join.
pub(crate) const JOIN_WITHIN: Duration = Duration::from_secs(15);
/// Between two tries to join.
const JOIN_AGAIN: Duration = Duration::from_millis(250);

/// Founds a cluster of this node alone.
///
/// # Errors
/// A data directory in use, a disk that refuses, or a witness: it cannot be alone.
pub async fn found(config: &AgentConfig, cluster: ClusterFile, text: String, id: Option<NodeId>) -> Result<Identity, Failure> {
    if config.role == Role::Witness {
        return Err("the first node cannot be a witness: it holds no address. Start with a server".into());
    }
    Identity::claim(&config.data_dir)?;
    let me = id.unwrap_or_else(new_id);
    let timing = cluster.timing.unwrap_or_default();
    let identity = Identity::new(me, new_id(), timing, cluster.promise.unwrap_or_else(|| timing.promise()));
    let store = Arc::new(SledStore::open(&config.data_dir)?);
    let world = Arc::new(RealWorld::new(me, store, Arc::new(NoAddresses)));
    let settings = Settings { me, role: config.role, timing, promise: identity.promise(), founding: true, snapshot_every: SNAPSHOT_EVERY };
    let consensus = Consensus::start(world.clone(), settings, Arc::new(|| {})).await?;
    let commands =
        [Command::Found { cluster_id: identity.cluster_id, timing }, Command::AddMember(member(config, me)), Command::Configure { config: cluster.config, text, expect: None }];
    tokio::time::timeout(FOUND_WITHIN, write_first(&*world, &consensus, config.listen.to_string(), commands))
        .await
        .map_err(|_| format!("the log could not be written within {FOUND_WITHIN:?}: look at the disk of {}", config.data_dir.display()))??;
    consensus.shutdown().await;
    identity.save(&config.data_dir)?;
    Ok(identity)
}

/// Makes the cluster and writes its first entries, in this order.
///
/// # Errors
/// A disk that refuses, or a command that contradicts those before it.
pub async fn write_first<W: World>(world: &W, consensus: &Consensus<W>, listen: String, commands: impl IntoIterator<Item = Command>) -> Result<(), Failure> {
    consensus.found(listen).await?;
    for command in commands {
        loop {
            let stamped = Stamped { at: world.wall(), by: "init".to_owned(), command: command.clone() };
            match consensus.propose(stamped).await {
                Ok(Ok(_)) => break,
                Ok(Err(rejection)) => return Err(Failure::from(rejection)),
                // It has not elected itself yet.
                Err(_) => world.sleep(Duration::from_millis(10)).await,
            }
        }
    }
    Ok(())
}

/// Asks any member to be let in.
///
/// # Errors
/// What the member said, or that nobody answered.
pub async fn join(config: &AgentConfig, address: &str, id: Option<NodeId>) -> Result<(Identity, String), Failure> {
    Identity::claim(&config.data_dir)?;
    let me = id.unwrap_or_else(new_id);
    let member = member(config, me);
    let request = pb::JoinRequest {
        id: me.to_string(),
        name: member.name,
        listen: member.listen.to_string(),
        address: member.address.to_string(),
        role: member.role.word().to_owned(),
        version: member.version,
    };
    let deadline = boot_now() + JOIN_WITHIN;
    let reply = loop {
        match ask_to_join(address, &request).await {
            Ok(reply) => break reply,
            Err(Refusal::Final(why)) => return Err(why.into()),
            Err(Refusal::NotYet(why)) if boot_now() >= deadline => return Err(why.into()),
            Err(Refusal::NotYet(why)) => {
                eprintln!("waiting: {why}");
                tokio::time::sleep(JOIN_AGAIN).await;
            }
        }
    };
    let timing = Timing::from_word(&reply.timing).ok_or_else(|| format!("{address} names timing {:?}, which this version does not know", reply.timing))?;
    let cluster_id = reply.cluster_id.parse::<NodeId>()?;
    let identity = Identity::new(me, cluster_id, timing, Duration::from_millis(reply.promise_ms));
    identity.save(&config.data_dir)?;
    Ok((identity, reply.cluster))
}

enum Refusal {
    /// It may be otherwise in a moment.
    NotYet(String),
    /// It will not.
    Final(String),
}

async fn ask_to_join(address: &str, request: &pb::JoinRequest) -> Result<pb::JoinReply, Refusal> {
    let unreachable = |e: String| Refusal::NotYet(format!("no agent answers at {address}: {e}. Name the `listen` address of any member that is running"));
    let channel = wire::endpoint(address).map_err(|e| Refusal::Final(format!("{address} is no HOST:PORT: {}", source_of(&e))))?;
    let channel = channel.connect().await.map_err(|e| unreachable(source_of(&e)))?;
    let reply = tokio::time::timeout(JOIN_WITHIN, ControlClient::new(channel).join(request.clone())).await;
    let reply = reply.map_err(|_| Refusal::NotYet(format!("{address} did not answer within {JOIN_WITHIN:?}")))?;
    reply.map(tonic::Response::into_inner).map_err(|s| match s.code() {
        // No leader at the moment, or another node is just being let in.
        Code::Unavailable | Code::FailedPrecondition | Code::DeadlineExceeded => Refusal::NotYet(format!("{address} says: {}", s.message())),
        _ => Refusal::Final(format!("{address} refused: {}", s.message())),
    })
}

fn source_of(e: &tonic::transport::Error) -> String {
    std::error::Error::source(e).map_or_else(|| e.to_string(), ToString::to_string)
}

fn new_id() -> NodeId {
    NodeId::from_random(rand::random())
}

fn member(config: &AgentConfig, id: NodeId) -> Member {
    Member { id, name: config.name.clone(), listen: config.listen, address: config.address, role: config.role, version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// While a cluster is founded nobody holds anything.
struct NoAddresses;
impl Addresses for NoAddresses {
    fn configure(&self, _: &[VirtualIp], _: &[Intercepted]) {}
    fn hold(&self, _: Instant, _: bool) {}
    fn release(&self, _: Release, done: Box<dyn FnOnce() + Send>) {
        done();
    }
    fn announce(&self) {}
    fn fence(&self) -> String {
        String::new()
    }
}
