//! `rolling-restart`: each node in turn is drained, worked on, waited for and made ready, under the maintenance lock.
//!
//! ```text
//!   lock --> for each node, the one that leads last:
//!              drain --> nobody left, another holds --> command --> votes again, servers up --> ready
//!        --> lock given back
//! ```
//! What fails ends it there: the node at which it was stays drained and the others as they were.

use std::process::Stdio;
use std::time::Duration;

use ha_core::controller::VOTERS_MAX;
use ha_proto::control::{NodeStatus, ServerStatus, SetStateRequest, StatusReply};
use serde::Serialize;
use serde_json::json;

use super::Context;
use super::drain::{Drain, End};
use super::state::follow;
use super::wait::{PATIENCE, answered, leaders_status, wait};
use crate::args::RollingArgs;
use crate::client::asked_by;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::human::{millis, span};
use crate::output::{Progress, note};
use crate::signal::Stop;

/// A drain is over a little after its deadline at the latest.
const DRAIN_GRACE: Duration = Duration::from_secs(15);
/// The maintenance lock outlives this program by so much at most.
const LOCKED_FOR: Duration = Duration::from_secs(60);
/// So often it is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(15);
/// How long the address may take to move away from a node that is drained.
const MOVED_WITHIN: Duration = Duration::from_secs(15);
/// A node that was restarted must look well for so long: what is seen first may be from before.
const STEADY_MS: u64 = 5_000;

/// How long each step took at one node.
#[derive(Debug, Serialize)]
struct Done {
    node: String,
    drained_ms: u64,
    command_ms: u64,
    back_ms: u64,
}

/// `ha-cli rolling-restart`.
pub(super) async fn run(ctx: &mut Context, args: RollingArgs) -> Result<Exit, Failure> {
    let mut stop = Stop::listen()?;
    let owner = format!("{} {} {}", asked_by(), std::process::id(), clock::unix_ms());
    let mut left = nodes(&seen(ctx).await?, &args.node)?;
    let mut done = Vec::new();
    let ended = loop {
        if left.is_empty() {
            break Ok(());
        }
        // Another one may have been lost since the last.
        let node = match seen(ctx).await.and_then(|status| {
            nodes(&status, &args.node).map(|_| next(&status, &mut left, args.node.is_empty()))
        }) {
            Ok(node) => node,
            Err(failure) => break Err(failure),
        };
        match locked(ctx, &mut stop, &args, &owner, &node).await {
            Ok(took) => done.push(took),
            Err(failure) => break Err(failure),
        }
    };
    // Whoever waits for it need not wait for its end by itself.
    if let Err(failure) = ctx.cluster.lock(owner, String::new(), 0).await {
        note(&format!(
            "the maintenance lock could not be given back and ends by itself within {}: {failure}",
            span(millis(LOCKED_FOR))
        ));
    }
    ended.map_err(|failure: Failure| {
        let so_far = if done.is_empty() {
            "no node was done".to_owned()
        } else {
            format!(
                "done: {}",
                done.iter()
                    .map(|d| d.node.as_str())
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        };
        Failure {
            message: format!("{} ({so_far})", failure.message),
            ..failure
        }
    })?;
    if ctx.out.is_json() {
        ctx.out.json(&json!({ "nodes": done }))?;
    } else {
        for d in &done {
            ctx.out.line(&format!(
                "{}: drained after {}, command took {}, back after {}",
                d.node,
                span(d.drained_ms),
                span(d.command_ms),
                span(d.back_ms)
            ))?;
        }
    }
    Ok(Exit::Done)
}

/// What the leader sees, as soon as there is one.
async fn seen(ctx: &mut Context) -> Result<StatusReply, Failure> {
    answered(&ctx.out, PATIENCE, async || {
        leaders_status(&mut ctx.cluster).await
    })
    .await
}

/// The nodes to do, by name.
fn nodes(status: &StatusReply, named: &[String]) -> Result<Vec<String>, Failure> {
    let known: Vec<&str> = status.nodes.iter().map(|n| n.name.as_str()).collect();
    if let Some(stranger) = named.iter().find(|n| !known.contains(&n.as_str())) {
        return Err(Failure::new(
            Exit::NotFound,
            format!(
                "there is no node {stranger}; the nodes are {}",
                known.join(", ")
            ),
        ));
    }
    if let Some(away) = status.nodes.iter().find(|n| !is_well(status, n)) {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "{} is {}: with another one out the cluster could stand still",
                away.name, away.state
            ),
        )
        .remedy("bring it back first"));
    }
    Ok(if named.is_empty() {
        known.into_iter().map(str::to_owned).collect()
    } else {
        named.to_vec()
    })
}

/// Takes the next node out of the list: the one that leads waits for its turn.
fn next(status: &StatusReply, left: &mut Vec<String>, leader_last: bool) -> String {
    let at = left
        .iter()
        .position(|n| !leader_last || *n != status.leader)
        .unwrap_or(0);
    left.remove(at)
}

/// One node, under the lock, which is renewed for as long as it takes: it ends soon after this program, however that ends.
async fn locked(
    ctx: &mut Context,
    stop: &mut Stop,
    args: &RollingArgs,
    owner: &str,
    node: &str,
) -> Result<Done, Failure> {
    let purpose = format!("rolling restart, now {node}");
    answered(&ctx.out, PATIENCE, async || {
        ctx.cluster
            .lock(owner.to_owned(), purpose.clone(), millis(LOCKED_FOR))
            .await
    })
    .await?;
    let mut cluster = ctx.cluster.clone();
    let renewing = async {
        loop {
            tokio::time::sleep(RENEWED_EVERY).await;
            // Lost, it is not the end of what is under way here; the next node will be refused.
            if let Err(failure) = cluster
                .lock(owner.to_owned(), purpose.clone(), millis(LOCKED_FOR))
                .await
            {
                note(&format!(
                    "the maintenance lock could not be renewed: {failure}"
                ));
            }
        }
    };
    tokio::select! {
        biased;
        took = one(ctx, stop, args, owner, node) => took,
        () = renewing => unreachable!("it has no end"),
    }
}

async fn one(
    ctx: &mut Context,
    stop: &mut Stop,
    args: &RollingArgs,
    owner: &str,
    node: &str,
) -> Result<Done, Failure> {
    let before = seen(ctx).await?;
    // What is out or down by itself, on purpose or not, need not be better afterwards.
    let up: Vec<String> = before
        .servers
        .iter()
        .filter(|s| s.node == node && serves(s))
        .map(ServerStatus::path)
        .collect();
    let address = before
        .nodes
        .iter()
        .find(|n| n.name == node)
        .map(|n| n.address.clone())
        .unwrap_or_default();
    let began = clock::now();
    drain(ctx, stop, args, owner, node).await?;
    let drained_ms = millis(began.elapsed());

    let began = clock::now();
    command(ctx, stop, args, node, &address)
        .await
        .map_err(|f| {
            f.remedy(format!(
                "{node} stays drained: `ha-cli ready {node}` brings it back"
            ))
        })?;
    let command_ms = millis(began.elapsed());

    let began = clock::now();
    back(ctx, stop, args.back_within, node, &up).await?;
    let ready_again = answered(&ctx.out, PATIENCE, async || {
        ctx.cluster.set_state(order(node, "ready", 0, owner)).await
    })
    .await;
    ready_again.map_err(|f| {
        f.remedy(format!(
            "{node} is well and stays drained: `ha-cli ready {node}` brings it back"
        ))
    })?;
    ready(ctx, stop, args.back_within, node, &up).await?;
    Ok(Done {
        node: node.to_owned(),
        drained_ms,
        command_ms,
        back_ms: millis(began.elapsed()),
    })
}

fn order(node: &str, state: &str, deadline_ms: u64, owner: &str) -> SetStateRequest {
    SetStateRequest {
        target: node.to_owned(),
        state: state.to_owned(),
        deadline_ms,
        reason: "rolling restart".to_owned(),
        lock: owner.to_owned(),
        ..SetStateRequest::default()
    }
}

async fn drain(
    ctx: &mut Context,
    stop: &mut Stop,
    args: &RollingArgs,
    owner: &str,
    node: &str,
) -> Result<(), Failure> {
    let started_ms = clock::unix_ms();
    let drain = SetStateRequest {
        force: args.force,
        ..order(node, "drain", millis(args.deadline), owner)
    };
    let servers = answered(&ctx.out, PATIENCE, async || {
        ctx.cluster.set_state(drain.clone()).await
    })
    .await?;
    let deadline_ms = started_ms + millis(args.deadline);
    if !servers.is_empty() {
        let followed = Drain::new(servers, started_ms, deadline_ms, false);
        match follow(
            ctx,
            stop,
            args.deadline + DRAIN_GRACE,
            node,
            followed,
            deadline_ms,
        )
        .await?
        {
            End::Drained => {}
            // What the deadline is for.
            End::Cut(cut) => note(&format!("{node}: {cut} sessions were cut at the deadline")),
            End::Overdue(left) => {
                return Err(Failure::new(
                    Exit::Deadline,
                    format!("{node}: {left} sessions are left after the deadline"),
                ));
            }
            End::TakenBack(server) => {
                return Err(Failure::new(
                    Exit::Cancelled,
                    format!("somebody made {server} ready again"),
                ));
            }
        }
    }
    let gone = |status: &StatusReply, _: u64| {
        (status.leader != node && status.holder != node).then_some(())
    };
    let end = wait(ctx, stop, MOVED_WITHIN, gone).await;
    end.map_err(|why| {
        why.failure(
            &format!("{node} still leads, drained"),
            "`ha-cli explain vip` says why",
        )
    })
}

async fn command(
    ctx: &mut Context,
    stop: &mut Stop,
    args: &RollingArgs,
    node: &str,
    address: &str,
) -> Result<(), Failure> {
    let mut progress = Progress::new(&ctx.out);
    let line = format!("{node}: {}", args.command);
    progress.show(&line, &line);
    let mut shell = tokio::process::Command::new("sh");
    // What it says goes to standard error: standard output carries the result.
    shell
        .args(["-c", &args.command])
        .env("HA_NODE", node)
        .env("HA_NODE_ADDRESS", address)
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .kill_on_drop(true);
    #[cfg(unix)]
    shell.process_group(0);
    let mut running = shell.spawn()?;
    let mut group = Group(running.id());
    let status = tokio::select! {
        biased;
        () = stop.asked() => return Err(Failure::new(Exit::Cancelled, format!("stopped while the command ran for {node}"))),
        status = running.wait() => status?,
        () = tokio::time::sleep(args.command_within) => {
            return Err(Failure::new(Exit::Deadline, format!("the command for {node} is not done after {}", span(millis(args.command_within)))));
        }
    };
    // What it left behind on purpose lives on.
    group.0 = None;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Unexpected,
            format!("the command for {node} failed: {status}"),
        ))
    }
}

/// A command and what it started; asked to end (SIGTERM) when it is dropped before the command has ended.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.0.and_then(|id| libc::pid_t::try_from(id).ok()) {
            // SAFETY: plain numbers. The leader is our child and was not waited for, so its group is still its own.
            unsafe { libc::kill(-leader, libc::SIGTERM) };
        }
    }
}

/// Waits until the node votes and those of its servers answer that did, steadily.
async fn back(
    ctx: &mut Context,
    stop: &mut Stop,
    limit: Duration,
    node: &str,
    up: &[String],
) -> Result<(), Failure> {
    let mut progress = Progress::new(&ctx.out);
    let mut well_since = None;
    let look = |status: &StatusReply, now_ms: u64| {
        let well = status
            .nodes
            .iter()
            .any(|n| n.name == node && is_well(status, n))
            && !status
                .servers
                .iter()
                .any(|s| up.contains(&s.path()) && s.status.starts_with("DOWN"));
        let since = *well_since.get_or_insert(now_ms);
        if !well {
            well_since = None;
        } else if now_ms >= since + STEADY_MS {
            return Some(());
        }
        let line = format!("waiting until {node} votes and its servers answer");
        progress.show(&line, &line);
        None
    };
    let end = wait(ctx, stop, limit, look).await;
    progress.clear();
    end.map_err(|why| {
        why.failure(
            &format!("{node} stays drained"),
            &format!("look at its agent's log; `ha-cli ready {node}` brings it back"),
        )
    })
}

async fn ready(
    ctx: &mut Context,
    stop: &mut Stop,
    limit: Duration,
    node: &str,
    up: &[String],
) -> Result<(), Failure> {
    let look = |status: &StatusReply, _: u64| {
        status
            .servers
            .iter()
            .filter(|s| up.contains(&s.path()))
            .all(serves)
            .then_some(())
    };
    let end = wait(ctx, stop, limit, look).await;
    end.map_err(|why| {
        why.failure(
            &format!("{node} is ready and its servers are not up"),
            "`ha-cli status` shows them",
        )
    })
}

fn serves(server: &ServerStatus) -> bool {
    server.status.starts_with("UP") || server.status == "no check"
}

/// It votes, or it is one of those that need not: beyond seven voters nodes stay learners.
fn is_well(status: &StatusReply, node: &NodeStatus) -> bool {
    let votes = |n: &NodeStatus| ["leader", "follower"].contains(&n.state.as_str());
    votes(node)
        || (node.state == "learner"
            && status.nodes.iter().filter(|n| votes(n)).count() + 1 >= VOTERS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(states: &[(&str, &str)]) -> StatusReply {
        let nodes = states
            .iter()
            .map(|(name, state)| NodeStatus {
                name: (*name).into(),
                state: (*state).into(),
                ..NodeStatus::default()
            })
            .collect();
        StatusReply {
            nodes,
            ..StatusReply::default()
        }
    }

    #[test]
    fn all_must_be_well_before_one_is_taken_out() {
        let well = status(&[("a", "leader"), ("b", "follower")]);
        assert_eq!(nodes(&well, &[]).unwrap(), ["a", "b"]);
        assert_eq!(nodes(&well, &["b".into()]).unwrap(), ["b"]);
        assert_eq!(
            nodes(&well, &["c".into()]).unwrap_err().exit,
            Exit::NotFound
        );
        assert_eq!(
            nodes(&status(&[("a", "leader"), ("b", "unreachable")]), &[])
                .unwrap_err()
                .exit,
            Exit::Refused
        );
        assert_eq!(
            nodes(&status(&[("a", "leader"), ("b", "learner")]), &["a".into()])
                .unwrap_err()
                .exit,
            Exit::Refused
        );
        let many = [
            ("a", "leader"),
            ("b", "follower"),
            ("c", "follower"),
            ("d", "follower"),
            ("e", "follower"),
            ("f", "follower"),
            ("g", "follower"),
            ("h", "learner"),
            ("i", "learner"),
        ];
        assert_eq!(
            nodes(&status(&many), &[]).unwrap().len(),
            9,
            "beyond seven nodes learn for ever"
        );
        assert_eq!(
            next(
                &StatusReply {
                    leader: "a".into(),
                    ..StatusReply::default()
                },
                &mut vec!["a".into(), "b".into()],
                true
            ),
            "b"
        );
        assert_eq!(
            next(
                &StatusReply {
                    leader: "a".into(),
                    ..StatusReply::default()
                },
                &mut vec!["a".into(), "b".into()],
                false
            ),
            "a"
        );
    }
}
