//! `token`: what lets a new node join, once.

use std::time::Duration;

use super::{print_message, with_hint};
use crate::args::TokenCommand;
use crate::clock;
use crate::commands::Context;
use crate::commands::wait::answered;
use crate::exit::{Exit, Failure};
use crate::human::{ago, millis, span};
use crate::output::note;
use crate::paint::Tint;
use crate::table::{Cell, Table};

/// How long a leader may take to be found.
const LEADER_WITHIN: Duration = Duration::from_secs(10);

pub(in crate::commands) async fn run(
    ctx: &mut Context,
    command: TokenCommand,
) -> Result<Exit, Failure> {
    match command {
        TokenCommand::Create { ttl, role } => create(ctx, ttl, &role).await?,
        TokenCommand::List => list(ctx).await?,
        TokenCommand::Revoke { id } => {
            let revoked = ctx.cluster.revoke_token(id).await;
            let message = revoked.map_err(|f| with_hint(f, "`ha-cli token list` shows the ids"))?;
            print_message(ctx, message)?;
        }
    }
    Ok(Exit::Done)
}

async fn create(ctx: &mut Context, ttl: Duration, role: &str) -> Result<(), Failure> {
    // An agent that was just started: scripts need not wait for its leader.
    let made = answered(&ctx.out, LEADER_WITHIN, async || {
        ctx.cluster.create_token(millis(ttl), role.to_owned()).await
    })
    .await?;
    if ctx.out.is_json() {
        return ctx.out.json(&made);
    }
    // The token alone, so that it can be piped; what belongs to it goes beside.
    ctx.out.line(&made.token)?;
    let left = span(made.expires_ms.saturating_sub(clock::unix_ms()));
    note(&format!(
        "token {}, good for one node within {left}; it is not shown again",
        made.id
    ));
    Ok(())
}

async fn list(ctx: &mut Context) -> Result<(), Failure> {
    let known = ctx.cluster.tokens().await?;
    super::super::age::told(ctx, known.may_be_old.as_ref())?;
    if ctx.out.is_json() {
        return ctx.out.json(&known);
    }
    let now = clock::unix_ms();
    let mut table = Table::new(&["ID", "ROLE", "STATE", "MADE", "LEFT", "BY", "USED BY"]);
    for t in known.tokens {
        let open = t.state == "open";
        let left = if open {
            span(t.expires_ms.saturating_sub(now))
        } else {
            String::new()
        };
        let state = Cell::tinted(t.state, if open { Tint::Good } else { Tint::Quiet });
        table.row([
            t.id.into(),
            t.role.into(),
            state,
            ago(t.made_ms, now).into(),
            left.into(),
            t.by.into(),
            t.used_by.into(),
        ]);
    }
    ctx.out.table(&table, "no tokens")
}
