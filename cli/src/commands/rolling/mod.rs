//! `rolling-restart`: each node in turn is drained, worked on, waited for and made ready, under the maintenance lock.
//!
//! ```text
//!   lock --> for each node, the one that leads last:
//!              drain --> nobody left --> handed over --> command --> votes again, servers up --> ready
//!        --> lock given back
//! ```
//! What fails ends it there: the node at which it was stays drained and the others as they were.
//! `plan` says whose turn it is, `node` is one turn, `command` runs the operator's command in it.

use std::time::Duration;

use ha_proto::control::StatusReply;
use serde_json::json;

use super::Context;
use super::wait::{PATIENCE, answered, leaders_status};
use crate::args::RollingArgs;
use crate::client::asked_by;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::human::{millis, span};
use crate::output::note;
use crate::signal::Stop;

mod command;
mod node;
mod plan;

use node::{Times, Turn};

/// The maintenance lock outlives this program by so much at most.
const LOCKED_FOR: Duration = Duration::from_secs(60);
/// The lock is renewed so often: three times may fail before it ends.
const RENEWED_EVERY: Duration = Duration::from_secs(15);

pub(super) async fn run(ctx: &mut Context, args: RollingArgs) -> Result<Exit, Failure> {
    let mut stop = Stop::listen()?;
    let owner = format!("{} {} {}", asked_by(), std::process::id(), clock::unix_ms());
    let left = plan::nodes(&leaders_view(ctx).await?, &args.node)?;
    let mut done = Vec::new();
    let ended = each(ctx, &mut stop, &args, &owner, left, &mut done).await;
    // Whoever waits for it need not wait for its end by itself.
    if let Err(failure) = ctx.cluster.lock(owner, String::new(), 0).await {
        note(&format!(
            "the maintenance lock could not be given back and ends by itself within {}: {failure}",
            span(millis(LOCKED_FOR))
        ));
    }
    ended.map_err(|failure| with_progress(failure, &done))?;
    if ctx.out.is_json() {
        ctx.out.json(&json!({ "nodes": done }))?;
        return Ok(Exit::Done);
    }
    for d in &done {
        ctx.out.line(&format!(
            "{}: drained after {}, command took {}, back after {}",
            d.node,
            span(d.drained_ms),
            span(d.command_ms),
            span(d.back_ms)
        ))?;
    }
    Ok(Exit::Done)
}

/// One node after the other, until one fails; those that are through go into `done`.
async fn each(
    ctx: &mut Context,
    stop: &mut Stop,
    args: &RollingArgs,
    owner: &str,
    mut left: Vec<String>,
    done: &mut Vec<Times>,
) -> Result<(), Failure> {
    while !left.is_empty() {
        let status = leaders_view(ctx).await?;
        // Another one may have been lost since the last.
        plan::nodes(&status, &args.node)?;
        let node = plan::next(&status, &mut left, args.node.is_empty());
        done.push(locked(ctx, stop, args, owner, &node).await?);
    }
    Ok(())
}

/// What the leader sees, as soon as there is one.
async fn leaders_view(ctx: &mut Context) -> Result<StatusReply, Failure> {
    answered(&ctx.out, PATIENCE, async || {
        leaders_status(&mut ctx.cluster).await
    })
    .await
}

/// One node, under the lock, which is renewed for as long as it takes: it ends soon after this program, however that ends.
async fn locked(
    ctx: &mut Context,
    stop: &mut Stop,
    args: &RollingArgs,
    owner: &str,
    node: &str,
) -> Result<Times, Failure> {
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
    let turn = Turn {
        ctx,
        stop,
        args,
        owner,
        node,
    };
    tokio::select! {
        biased;
        took = turn.take() => took,
        () = renewing => unreachable!("it has no end"),
    }
}

/// Adds to a failure which nodes were done before it.
fn with_progress(failure: Failure, done: &[Times]) -> Failure {
    let so_far = if done.is_empty() {
        "no node was done".to_owned()
    } else {
        let names: Vec<&str> = done.iter().map(|d| d.node.as_str()).collect();
        format!("done: {}", names.join(", "))
    };
    Failure {
        message: format!("{} ({so_far})", failure.message),
        ..failure
    }
}
