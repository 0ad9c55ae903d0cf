//! `drain`, `ready` and `maintenance`, and waiting until they have taken effect.

use std::time::Duration;

use ha_proto::control::{ServerStatus, SetStateReply, SetStateRequest, StatusReply};
use serde_json::json;

use super::drain::{Asked, Drain, End, Observation};
use super::wait::wait;
use super::{Context, confirm};
use crate::args::{DrainArgs, StateArgs, Sticky, Then};
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::human::{count, millis, span};
use crate::output::Progress;
use crate::signal::Stop;

pub(super) async fn drain(ctx: &mut Context, args: DrainArgs) -> Result<Exit, Failure> {
    let mut stop = Stop::listen()?;
    let started_ms = clock::unix_ms();
    let change = change(&args);
    let deadline_ms = match change.deadline_ms {
        0 => 0,
        from_now => started_ms.saturating_add(from_now),
    };
    let reply = set(ctx, change).await?;
    let servers = reply.servers.clone();
    let Some(limit) = args.wait else {
        return accepted(ctx, &args.target, "drain", &servers);
    };
    let asked = Asked {
        target: &args.target,
        started_ms,
        deadline_ms,
        then: args.then.is_some(),
        ready_follows: args.then == Some(Then::Ready),
    };
    let drain = Drain::new(asked, reply);
    let end = follow(ctx, &mut stop, limit, &args.target, drain, deadline_ms).await?;
    let took_ms = clock::unix_ms().saturating_sub(started_ms);
    if ctx.out.is_json() {
        let (result, sessions) = match &end {
            End::Drained => ("drained", 0),
            End::Cut(cut) => ("cut", *cut),
            End::Overdue(left) => ("overdue", *left),
            End::TakenBack(_) => ("taken_back", 0),
        };
        let what = json!({ "target": args.target, "state": "drain", "servers": servers,
                           "result": result, "sessions": sessions, "took_ms": took_ms });
        ctx.out.json(&what)?;
    }
    conclude(ctx, &args.target, end, took_ms)
}

/// Sets it, after a question when servers on other hosts are out already. What was ordered meanwhile by somebody else
/// is not undone by it.
async fn set(ctx: &mut Context, change: SetStateRequest) -> Result<SetStateReply, Failure> {
    let status = ctx.cluster.status().await?;
    let change = SetStateRequest {
        expect_order: last_order(&status, &change.target),
        ..change
    };
    match ctx.cluster.set_state(change.clone()).await {
        Err(failure) if failure.confirm && confirm::somebody_there(ctx) => {
            confirm::meant(ctx, false, &format!("{}. Go on?", failure.message)).await?;
            let change = SetStateRequest {
                yes: true,
                ..change
            };
            ctx.cluster.set_state(change).await
        }
        done => done,
    }
}

/// The number of the last order of a target; `None`: there is no such target.
fn last_order(status: &StatusReply, target: &str) -> Option<u64> {
    let Some((left, right)) = target.split_once('/') else {
        let node = status.nodes.iter().find(|n| n.name == target);
        return node.map(|n| n.order);
    };
    let servers = || status.servers.iter();
    let one = servers().find(|s| s.backend == left && s.server == right);
    one.map(|s| s.order).or_else(|| {
        let there = servers().filter(|s| s.node == left && s.backend == right);
        there.map(|s| s.order).max()
    })
}

/// The request that the arguments ask for.
fn change(args: &DrainArgs) -> SetStateRequest {
    let sticky = match args.sticky {
        Sticky::Honour => "honour",
        Sticky::Move => "move",
    };
    let then = match args.then {
        None => "",
        Some(Then::Maintenance) => "maintenance",
        Some(Then::Ready) => "ready",
    };
    SetStateRequest {
        target: args.target.clone(),
        state: "drain".into(),
        deadline_ms: args.deadline.map_or(0, millis),
        sticky: sticky.into(),
        then: then.into(),
        reason: args.reason.clone(),
        force: args.force,
        yes: args.yes.yes,
        ..SetStateRequest::default()
    }
}

/// Shows the sessions that are left until the drain has ended.
pub(super) async fn follow(
    ctx: &mut Context,
    stop: &mut Stop,
    limit: Duration,
    target: &str,
    mut drain: Drain,
    deadline_ms: u64,
) -> Result<End, Failure> {
    let mut progress = Progress::new(&ctx.out);
    let look = |status: &_, now_ms: u64| match drain.observe(status, now_ms) {
        Observation::Ended(end) => Some(end),
        Observation::Waiting { left, servers } => {
            let on = if servers.is_empty() {
                String::new()
            } else {
                format!(" ({})", servers.join(", "))
            };
            let line = format!("draining {target}: {} left{on}", count(left, "session"));
            let until = match deadline_ms.saturating_sub(now_ms) {
                _ if left == 0 => String::new(),
                0 => String::new(),
                ms => format!(", cut in {}", span(ms)),
            };
            progress.show(&line, &format!("{line}{until}"));
            None
        }
    };
    let end = wait(ctx, stop, limit, look).await;
    progress.clear();
    end.map_err(|why| {
        why.failure(
            &format!("the drain of {target} goes on"),
            &format!("`ha-cli ready {target}` takes it back"),
        )
    })
}

fn conclude(ctx: &Context, target: &str, end: End, took_ms: u64) -> Result<Exit, Failure> {
    match end {
        End::Drained if ctx.out.is_json() => Ok(Exit::Done),
        End::Drained => {
            ctx.out.line(&format!(
                "{target} is drained after {}; no session was cut",
                span(took_ms)
            ))?;
            Ok(Exit::Done)
        }
        End::Cut(cut) => {
            let message = format!(
                "{target} is drained, but {} had to be cut at the deadline",
                count(cut, "session")
            );
            Err(Failure::new(Exit::Deadline, message))
        }
        End::Overdue(left) => {
            let message = format!(
                "the deadline of {target} is past, with {} left",
                count(left, "session")
            );
            Err(Failure::new(Exit::Deadline, message)
                .remedy(format!("`ha-cli maintenance {target}` cuts them")))
        }
        End::TakenBack(server) => {
            let message =
                format!("the drain was taken back: {server} is ready again, or was removed");
            Err(Failure::new(Exit::Cancelled, message)
                .remedy("`ha-cli events --since 10m` says by whom"))
        }
    }
}

pub(super) async fn ready(ctx: &mut Context, args: StateArgs) -> Result<Exit, Failure> {
    let serves = |server: &ServerStatus| server.status == "UP" || server.status == "no check";
    set_and_wait(ctx, args, "ready", "is not UP yet", serves).await
}

pub(super) async fn maintenance(ctx: &mut Context, args: StateArgs) -> Result<Exit, Failure> {
    let out = |server: &ServerStatus| server.status.starts_with("MAINT") && server.sessions == 0;
    set_and_wait(ctx, args, "maint", "still has sessions", out).await
}

/// Sets a state, and with `--wait` waits until it holds for every server concerned.
async fn set_and_wait(
    ctx: &mut Context,
    args: StateArgs,
    state: &str,
    not_yet: &str,
    holds: impl Fn(&ServerStatus) -> bool,
) -> Result<Exit, Failure> {
    let mut stop = Stop::listen()?;
    let StateArgs {
        target,
        reason,
        force,
        yes,
        wait: limit,
    } = args;
    let change = SetStateRequest {
        target: target.clone(),
        state: state.into(),
        reason,
        force,
        yes: yes.yes,
        ..SetStateRequest::default()
    };
    let servers = set(ctx, change).await?.servers;
    if let Some(limit) = limit {
        let mut progress = Progress::new(&ctx.out);
        let look = |status: &StatusReply, _: u64| {
            let concerned = status
                .servers
                .iter()
                .filter(|server| servers.contains(&server.path()));
            let missing: Vec<String> = concerned
                .filter(|s| !holds(s))
                .map(ServerStatus::path)
                .collect();
            if missing.is_empty() {
                return Some(());
            }
            let line = format!("waiting: {} {not_yet}", missing.join(", "));
            progress.show(&line, &line);
            None
        };
        let end = wait(ctx, &mut stop, limit, look).await;
        progress.clear();
        end.map_err(|why| {
            why.failure(
                &format!("{target} stays set to {state}"),
                "`ha-cli status` shows why",
            )
        })?;
    }
    accepted(ctx, &target, state, &servers)
}

/// The request was accepted; says what it concerns.
fn accepted(ctx: &Context, target: &str, state: &str, servers: &[String]) -> Result<Exit, Failure> {
    if ctx.out.is_json() {
        ctx.out.json(
            &json!({ "target": target, "state": state, "servers": servers, "result": "accepted" }),
        )?;
        return Ok(Exit::Done);
    }
    let word = match state {
        "maint" => "in maintenance",
        "drain" => "draining",
        _ => "ready",
    };
    let servers = match servers {
        [] => "no server there".into(),
        [one] if one == target => String::new(),
        many => many.join(", "),
    };
    let servers = if servers.is_empty() {
        String::new()
    } else {
        format!(" ({servers})")
    };
    ctx.out.line(&format!("{target} is {word}{servers}"))?;
    Ok(Exit::Done)
}
