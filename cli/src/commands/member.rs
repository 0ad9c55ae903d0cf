//! `member list | add | remove | promote`.

use ha_proto::control::StatusReply;
use serde_json::json;

use super::page::{Detail, nodes};
use super::{Context, confirm};
use crate::args::MemberCommand;
use crate::exit::{Exit, Failure};

pub(super) async fn run(ctx: &mut Context, command: MemberCommand) -> Result<Exit, Failure> {
    match command {
        MemberCommand::List => list(ctx).await,
        MemberCommand::Add { name, listen, role } => add(ctx, &name, &listen, &role).await,
        MemberCommand::Remove { node, force, yes } => {
            let question = format!(
                "Remove {node}? It is not heard any more; `ha-agent rejoin` there with a new token would bring it back."
            );
            confirm::meant(ctx, yes.yes, &question).await?;
            let message = ctx
                .cluster
                .remove_member(node.clone(), force)
                .await
                .map_err(explain)?;
            say(ctx, &node, "removed", message)
        }
        MemberCommand::Promote { node } => {
            let message = ctx
                .cluster
                .promote_member(node.clone())
                .await
                .map_err(explain)?;
            say(ctx, &node, "promoted", message)
        }
    }
}

async fn list(ctx: &mut Context) -> Result<Exit, Failure> {
    let status = ctx.cluster.status().await?;
    if ctx.out.is_json() {
        ctx.out.json(&json!({ "nodes": status.nodes }))?;
    } else {
        ctx.out.table(
            &nodes(&status, Detail::All, crate::clock::unix_ms()),
            "no nodes",
        )?;
    }
    Ok(Exit::Done)
}

/// A node is not added from here: it comes by itself, and this says how.
async fn add(ctx: &mut Context, name: &str, listen: &str, role: &str) -> Result<Exit, Failure> {
    let status = ctx.cluster.status().await?;
    if status.nodes.iter().any(|node| node.name == name) {
        return Err(Failure::new(
            Exit::Refused,
            format!("there is a node called {name} already"),
        )
        .remedy("choose another name, or first `ha-cli member remove` the old one"));
    }
    let Some(member) = somebody(&status) else {
        return Err(Failure::new(
            Exit::Unexpected,
            "no member with an address to join by is reachable",
        )
        .remedy("`ha-cli member list` shows the members"));
    };
    let agent_toml = format!(
        "name = \"{name}\"\ndata_dir = \"/var/lib/ha-agent\"\nlisten = \"{listen}\"\nvip = \"kernel\"\nrole = \"{role}\"\n"
    );
    let token = if role == "server" {
        "ha-cli token create".to_owned()
    } else {
        format!("ha-cli token create --role {role}")
    };
    let join = format!("ha-agent join {member} --token TOKEN --config agent.toml");
    let run = "ha-agent run --config agent.toml";
    if ctx.out.is_json() {
        ctx.out.json(&json!({ "token": token, "join": join, "run": run, "agent_toml": agent_toml, "members": addresses(&status) }))?;
        return Ok(Exit::Done);
    }
    let indented: String = agent_toml
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    ctx.out.text(&format!(
        "A node joins by itself, with a token that works once. On any member:

  1. make a token
    {token}

On the new machine, with ha-agent installed:

  2. write agent.toml
{indented}
  3. join, once (any member's address will do)
    {join}

  4. start it
    {run}

It learns until it has caught up, then it votes: `ha-cli member list` shows it.
"
    ))?;
    Ok(Exit::Done)
}

/// A member that can be joined by: the leader when there is one.
fn somebody(status: &StatusReply) -> Option<String> {
    let reachable = |state: &str| {
        status
            .nodes
            .iter()
            .find(|n| n.state == state && !n.address.is_empty())
    };
    ["leader", "follower"]
        .into_iter()
        .find_map(reachable)
        .map(|node| node.address.clone())
}

fn addresses(status: &StatusReply) -> Vec<&str> {
    status
        .nodes
        .iter()
        .map(|node| node.address.as_str())
        .collect()
}

/// Prints what the cluster answered, or its short form.
fn say(ctx: &Context, node: &str, done: &str, message: String) -> Result<Exit, Failure> {
    let message = if message.is_empty() {
        format!("{node} is {done}")
    } else {
        message
    };
    if ctx.out.is_json() {
        ctx.out
            .json(&json!({ "node": node, "result": done, "message": message }))?;
    } else {
        ctx.out.line(&message)?;
    }
    Ok(Exit::Done)
}

fn explain(failure: Failure) -> Failure {
    match failure.exit {
        Exit::NotFound => failure.remedy("`ha-cli member list` shows the names"),
        _ => failure,
    }
}
