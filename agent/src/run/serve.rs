//! Where peers and operators come in, and what answers them: members where the lease is kept, everybody else elsewhere.

use super::Failure;
use crate::config::AgentConfig;
use crate::entrance::{self, Entrance, Incoming, Presented};
use crate::grpc::control::Api;
use crate::grpc::elsewhere::Elsewhere;
use crate::grpc::guard::Guard;
use crate::grpc::peers::PeerService;
use crate::operate::Operations;
use crate::outside::{Consensus, Node};
use crate::permissions::{Caller, who};
use crate::sys::platform::ports::who_listens;
use crate::sys::wall_now;
use crate::threads::Handles;
use crate::wire::channels;
use ha_node::outside::{Boxed, Outside};
use ha_trust::store::TrustStore;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where operators on this machine come in.
pub fn socket_path(config: &AgentConfig) -> std::path::PathBuf {
    config.socket_path(std::env::var_os("RUNTIME_DIRECTORY").map(Into::into))
}

/// Why an address of agent.toml cannot be listened on, and who has it.
pub fn cannot_listen(key: &str, at: SocketAddr, error: &std::io::Error) -> String {
    match who_listens(at) {
        Some(who) => format!(
            "{key} = {at}: {who} has it: end that one, or set another `{key}` in agent.toml"
        ),
        None => format!(
            "{key} = {at}: {error}: is another ha-agent running (`ss -ltnp` as root shows it), or is this not an address of this machine?"
        ),
    }
}

/// Where peers and operators come in.
pub async fn bind(
    config: &AgentConfig,
    trust: Arc<TrustStore>,
    consensus: Consensus,
) -> Result<Entrance, Failure> {
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .map_err(|e| cannot_listen("listen", config.listen, &e))?;
    let path = socket_path(config);
    // Without it the agent does its work all the same, and operators come by the network.
    let local = entrance::local_socket(&path).inspect_err(|error| tracing::warn!(path = %path.display(), %error, "there is no local socket: set `socket` in agent.toml")).ok();
    let (log, live) = (consensus.clone(), trust.clone());
    let familiar = Arc::new(move |from: std::net::IpAddr| {
        consensus
            .read()
            .facts
            .members
            .values()
            .any(|m| m.listen.ip().to_canonical() == from)
    });
    let known = Arc::new(move |shows: &Presented| {
        who(shows, &live.live(), &log.read(), wall_now())
            .is_ok_and(|caller| caller != Caller::Stranger)
    });
    Ok(Entrance {
        listener,
        local,
        trust,
        familiar,
        known,
    })
}

/// Answers who comes in, until the node stops. When nobody can be answered any more, that is the end of the node.
pub fn serve(
    entrance: Entrance,
    threads: &Handles,
    kept: &Outside,
    others: &Outside,
    node: &Node,
    operations: Arc<Operations>,
) -> Result<(), Failure> {
    let incoming = entrance.open(kept.clock.clone(), threads)?;
    let guard = Guard(operations.clone());
    let peers = PeerService::server(
        node.consensus.clone(),
        node.driver.clone(),
        threads.consensus.clone(),
        operations.clone(),
    );
    let control = Api::server(operations);
    let Incoming {
        members,
        others: strangers,
    } = incoming;
    let for_members = channels::server()
        .layer(guard.clone())
        .layer(Elsewhere::on(threads.others.clone()))
        .add_service(peers.clone())
        .add_service(control.clone())
        .serve_with_incoming_shutdown(members, node.stopped());
    let for_others = channels::server()
        .layer(guard)
        .add_service(peers)
        .add_service(control)
        .serve_with_incoming_shutdown(strangers, node.stopped());
    kept.tasks
        .spawn("members", node.essential(until_it_ends(for_members)));
    others
        .tasks
        .spawn("server", node.essential(until_it_ends(for_others)));
    Ok(())
}

fn until_it_ends(
    server: impl Future<Output = Result<(), tonic::transport::Error>> + Send + 'static,
) -> Boxed<()> {
    Box::pin(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "a server for peers and operators has ended");
        }
    })
}
