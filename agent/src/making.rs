//! Commands that make a node: found a cluster, join one. Each checks the machine first.

use super::args::Output;
use super::{read_agent, tell};
use ha_agent::config::{self, parse_cluster};
use ha_agent::error::Failure;
use ha_agent::found;
use ha_agent::identity::Identity;
use ha_agent::preflight::{self, Finding, Inspection, Moment, Verdict};
use ha_core::id::NodeId;
use ha_core::own_address::REMEDY as OWN_REMEDY;
use ha_trust::token::Token;
use std::path::Path;

pub(crate) async fn init(
    config: &Path,
    cluster: &Path,
    id: Option<NodeId>,
    skip_preflight: bool,
    output: Output,
) -> Result<(), Failure> {
    let agent = read_agent(config)?;
    // First: where a node lives already, its own agent has the ports.
    Identity::check_unclaimed(&agent.data_dir)?;
    let text = config::read(cluster)?;
    let parsed = parse_cluster(&cluster.display().to_string(), &text)?;
    let promise = Some(
        parsed
            .promise
            .unwrap_or_else(|| parsed.timing.unwrap_or_default().promise()),
    );
    let subject = Inspection {
        config: &agent,
        cluster: Some(&parsed.config),
        promise,
        member: None,
        authority: None,
        moment: Moment::Founding,
    };
    look_first(&subject, skip_preflight).await?;
    let identity = found::found(&agent, parsed, text, id).await?;
    let say = format!(
        "cluster {} is founded, this node is {} ({})\nnext: ha-agent run --config {}",
        identity.cluster_id,
        agent.name,
        identity.node_id,
        config.display()
    );
    tell(
        output,
        &say,
        &serde_json::json!({ "cluster_id": identity.cluster_id, "node_id": identity.node_id, "name": agent.name }),
    );
    Ok(())
}

pub(crate) async fn join(
    address: &str,
    token: Option<String>,
    config: &Path,
    id: Option<NodeId>,
    skip_preflight: bool,
    output: Output,
) -> Result<(), Failure> {
    let agent = read_agent(config)?;
    Identity::check_unclaimed(&agent.data_dir)?;
    let token = token.ok_or("a node joins with a token: `ha-cli token create` on any member prints one; give it with --token or HA_TOKEN. Nothing was asked of anybody")?;
    let token: Token = token.parse()?;
    look_first(
        &Inspection {
            config: &agent,
            cluster: None,
            promise: None,
            member: Some(address),
            authority: Some(token.authority),
            moment: Moment::Joining,
        },
        skip_preflight,
    )
    .await?;
    let (identity, cluster) = found::join(&agent, address, &token, id).await?;
    let say = format!(
        "{} ({}) is let into cluster {cluster}\nnext: ha-agent run --config {}",
        agent.name,
        identity.node_id,
        config.display()
    );
    tell(
        output,
        &say,
        &serde_json::json!({ "cluster": cluster, "cluster_id": identity.cluster_id, "node_id": identity.node_id, "name": agent.name }),
    );
    Ok(())
}

/// What `preflight` says before a node is made: what is not as it should be, and no further when something fails.
pub(crate) async fn look_first(subject: &Inspection<'_>, skip: bool) -> Result<(), Failure> {
    // It would cut this machine off, so nobody skips it.
    if let Some(own) = subject.config.own_among(subject.virtual_ips()).first() {
        return Err(format!("virtual_ip {}: {own}: {OWN_REMEDY}", own.virtual_ip).into());
    }
    if skip {
        return Ok(());
    }
    let findings = preflight::look(subject).await;
    for finding in findings.iter().filter(|f| f.verdict >= Verdict::Warning) {
        eprintln!("{finding}");
    }
    match preflight::failed(&findings) {
        0 => Ok(()),
        failed => Err(NotReady { failed, findings }.into()),
    }
}

/// So many checks failed.
#[derive(Debug, thiserror::Error)]
#[error(
    "this machine is not ready: {failed} of the checks above failed; nothing was changed (`init` and `join` take --skip-preflight)"
)]
pub(crate) struct NotReady {
    failed: usize,
    pub(crate) findings: Vec<Finding>,
}
