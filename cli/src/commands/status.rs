//! `status`, `status --watch` and `explain vip`.

use std::io::IsTerminal;
use std::time::Duration;

use ha_proto::control::StatusReply;

use super::Context;
use super::page::page;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::output::{Output, note};
use crate::paint::Tint;
use crate::signal::Stop;

pub(super) async fn once(ctx: &mut Context) -> Result<Exit, Failure> {
    let status = ctx.cluster.status().await?;
    if ctx.out.is_json() {
        ctx.out.json(&status)?;
    } else {
        ctx.out
            .text(&page(&status, clock::unix_ms(), ctx.out.painter))?;
    }
    Ok(Exit::Done)
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
            let page = page(&status, clock::unix_ms(), out.painter);
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
    if ctx.out.is_json() {
        ctx.out.json(&explanation)?;
        return Ok(Exit::Done);
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
    Ok(Exit::Done)
}
