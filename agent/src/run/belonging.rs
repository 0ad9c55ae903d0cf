//! Whether this node still belongs to its cluster: asked of all known members before it takes part, and told while it
//! runs to who may not know it. Also where it is reached, if that has changed.

use crate::config::AgentConfig;
use crate::error::Failure;
use crate::found::on_disk::OnDisk;
use crate::identity::Identity;
use crate::meet::{self, Heard, known, places};
use crate::operate::Operations;
use ha_core::controller::RaftRole;
use ha_core::id::NodeId;
use ha_core::meeting::{Known, Outdated, judge};
use ha_core::state::Facts;
use ha_proto::consensus::MeetRequest;
use ha_trust::store::TrustStore;
use std::sync::Arc;
use std::time::Duration;

/// How long a start may wait for members that are silent. Who is switched off costs 200 ms, who answers a few.
const START_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks whether those of an earlier generation are back.
const FORMER_EVERY: Duration = Duration::from_secs(5);
/// Before a move that the log does not have yet is said again.
const MOVED_AGAIN: Duration = Duration::from_millis(500);

/// Why a node does not start or runs no more, until somebody has done something about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SomebodyMustAct(pub String);

/// Before this node takes part: only what is said for certain keeps it from that. Silence does not.
pub async fn check(
    config: &AgentConfig,
    identity: &Identity,
    trust: &Arc<TrustStore>,
    disk: &OnDisk,
) -> Result<(), Failure> {
    let facts = &disk.state.facts;
    same_node(config, identity, facts)?;
    let known = known(identity, facts);
    let question = announcement(config, identity.cluster_id, &known);
    let heard = meet::ask(
        trust,
        &places(facts, identity.node_id),
        &question,
        START_WITHIN,
    )
    .await;
    match judge(&known, &meet::met(heard)) {
        None => Ok(()),
        Some(why) => Err(note(config, identity, &why)),
    }
}

fn announcement(config: &AgentConfig, cluster: NodeId, known: &Known) -> MeetRequest {
    MeetRequest {
        listen: config.listen.to_string(),
        address: config.address.to_string(),
        ..meet::question(cluster, known)
    }
}

/// What is so for good is known at the next start too, whoever can be reached then.
pub fn note(config: &AgentConfig, identity: &Identity, why: &Outdated) -> Failure {
    let words = why.to_string();
    if why.is_for_good() {
        let noted = Identity {
            outdated: Some(words.clone()),
            ..identity.clone()
        };
        if let Err(error) = noted.save(&config.data_dir) {
            tracing::error!(%error, "that this node must not serve any more could not be noted");
        }
    }
    SomebodyMustAct(words).into()
}

/// Name and role cannot change under the same id: servers are said to be on a node by its name, and a witness never
/// holds.
fn same_node(config: &AgentConfig, identity: &Identity, facts: &Facts) -> Result<(), Failure> {
    let Some(member) = facts.members.get(&identity.node_id) else {
        return Ok(());
    };
    let changed = [
        ("name", config.name.as_str(), member.name.as_str()),
        ("role", config.role.word(), member.role.word()),
    ];
    match changed.iter().find(|(_, now, before)| now != before) {
        None => match facts.moved(identity.node_id, config.listen, config.address) {
            Ok(_) => Ok(()),
            // Before it is tried: its peers would look for it where another machine is.
            Err(why) => Err(SomebodyMustAct(why.to_string()).into()),
        },
        Some((key, now, before)) => Err(SomebodyMustAct(format!(
            "{key} = \"{now}\" in agent.toml, and the cluster knows this node as \"{before}\", which cannot be changed: put \"{before}\" back. \
             For another one: `ha-cli member remove {}`, then move {} away and `ha-agent join`",
            member.name,
            config.data_dir.display()
        ))
        .into()),
    }
}

/// Tells those of an earlier generation that they are, for as long as this node leads and some have not come back.
pub async fn tell_former(node: Arc<Operations>) {
    loop {
        node.outside.clock.sleep(FORMER_EVERY).await;
        let former = node.former();
        if former.is_empty() || node.consensus.news().role != RaftRole::Leader {
            continue;
        }
        let cluster = node.consensus.read().facts.cluster_id;
        let question = meet::question(cluster, &node.known());
        for (place, heard) in meet::ask(&node.trust, &former, &question, START_WITHIN).await {
            let Heard::Agent(id, met) = heard else {
                continue;
            };
            let own = node.known();
            if met.known.generation < own.generation {
                tracing::warn!(node = %place.name, %id, generation = met.known.generation, "a node of before the recovery is back: it is told to stop; `ha-agent rejoin` there");
            } else if let Some(rival @ Outdated::Rival { .. }) = judge(&own, &[met]) {
                tracing::error!(node = %place.name, "{rival}");
            }
        }
    }
}

/// Says where this node is reached until the log has it.
pub async fn say_where(config: AgentConfig, node: Arc<Operations>) {
    loop {
        let facts = node.consensus.read().facts;
        let me = node.member.id;
        let here = (config.listen, config.address);
        let known = facts.members.get(&me).map(|m| (m.listen, m.address));
        if known == Some(here) {
            return;
        }
        if known.is_some() {
            if node.consensus.news().role == RaftRole::Leader {
                node.relocate(me, config.listen, config.address).await;
            } else {
                let question = announcement(&config, facts.cluster_id, &node.known());
                meet::ask(&node.trust, &places(&facts, me), &question, START_WITHIN).await;
            }
        }
        node.outside.clock.sleep(MOVED_AGAIN).await;
    }
}
