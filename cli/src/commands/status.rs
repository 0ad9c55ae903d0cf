//! `status`, `status --watch` and `explain vip`.

use std::io::IsTerminal;
use std::time::Duration;

use ha_proto::control::StatusReply;
use serde_json::json;

use super::Context;
use super::age::told;
use super::page::page;
use super::verdict::Verdict;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::human::millis;
use crate::output::{Output, note};
use crate::paint::{Tint, shown};
use crate::signal::Stop;

/// An agent that has just lost the leader is asked again for so long.
const ELECTION_WITHIN: Duration = Duration::from_secs(1);
/// Between two questions to it.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn once(ctx: &mut Context) -> Result<Exit, Failure> {
    let status = settled(ctx).await?;
    if ctx.out.is_json() {
        ctx.out.json(&status)?;
    } else {
        ctx.out
            .text(&page(&status, clock::unix_ms(), ctx.out.painter))?;
    }
    Ok(if status.cut_off.is_empty() {
        Exit::Done
    } else {
        Exit::NoMajority
    })
}

/// `status --check`: one line for monitoring.
pub(super) async fn check(ctx: &mut Context) -> Result<Exit, Failure> {
    let status = settled(ctx).await?;
    let verdict = Verdict::of(&status);
    if ctx.out.is_json() {
        let findings = &verdict.findings;
        ctx.out
            .json(&json!({ "result": verdict.word(), "findings": findings }))?;
    } else {
        ctx.out.line(&verdict.to_string())?;
    }
    Ok(verdict.exit)
}

/// The status, of a leader if there is one within what an election takes.
async fn settled(ctx: &mut Context) -> Result<StatusReply, Failure> {
    let began = clock::now();
    loop {
        let status = ctx.cluster.status().await?;
        let lately =
            clock::unix_ms().saturating_sub(status.cut_off_since_ms) < millis(ELECTION_WITHIN);
        if status.cut_off.is_empty() || !lately || began.elapsed() > ELECTION_WITHIN {
            return Ok(status);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Shows it every second; an agent that is away for a while is no reason to end.
pub(super) async fn watch(ctx: &mut Context) -> Result<Exit, Failure> {
    let mut stop = Stop::listen()?;
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let round = async {
            every.tick().await;
            let status = ctx.cluster.status().await;
            show_again(&ctx.out, status)
        };
        tokio::select! {
            biased;
            () = stop.asked() => return Ok(Exit::Done),
            shown = round => shown?,
        }
    }
}

/// One round of `--watch`: in place on a terminal, one below the other elsewhere.
fn show_again(out: &Output, status: Result<StatusReply, Failure>) -> Result<(), Failure> {
    match status {
        Ok(status) if out.is_json() => out.json_line(&status),
        Ok(status) => {
            let page = shown(&page(&status, clock::unix_ms(), out.painter));
            let home = if std::io::stdout().is_terminal() {
                "\x1b[H\x1b[2J"
            } else {
                ""
            };
            out.text(&format!("{home}{page}\n"))
        }
        Err(failure) => {
            note(&format!("ha-cli: {} (asking again)", failure.message));
            Ok(())
        }
    }
}

/// Why a virtual IP is where it is.
pub(super) async fn explain(ctx: &mut Context, name: String) -> Result<Exit, Failure> {
    let explanation = ctx.cluster.explain_vip(name).await?;
    let exit = told(ctx, explanation.may_be_old.as_ref())?;
    if ctx.out.is_json() {
        ctx.out.json(&explanation)?;
        return Ok(exit);
    }
    let holder = if explanation.holder.is_empty() {
        "nobody"
    } else {
        &explanation.holder
    };
    ctx.out.line(&format!(
        "holder  {}",
        ctx.out.painter.paint(holder, Tint::Strong)
    ))?;
    for line in &explanation.lines {
        ctx.out.line(&format!("  {line}"))?;
    }
    Ok(exit)
}
