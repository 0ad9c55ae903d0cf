//! `sessions` and `whereis`.

use super::Context;
use super::age::told;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::human::{ago, bytes, span};
use crate::paint::Tint;
use crate::table::{Cell, Table};

pub(super) async fn list(
    ctx: &mut Context,
    client: String,
    server: String,
    limit: u32,
) -> Result<Exit, Failure> {
    let found = ctx.cluster.sessions(client, server, limit).await?;
    let exit = told(ctx, found.may_be_old.as_ref())?;
    if ctx.out.is_json() {
        ctx.out.json(&found)?;
        return Ok(exit);
    }
    let mut table = Table::new(&[
        "CLIENT", "FRONTEND", ">PORT", "SERVER", "ADDRESS", ">AGE", ">IN", ">OUT", ">ID",
    ]);
    for s in &found.sessions {
        table.row([
            s.client.as_str().into(),
            s.frontend.as_str().into(),
            u64::from(s.port).into(),
            format!("{}/{}", s.backend, s.server).into(),
            s.server_address.as_str().into(),
            span(s.age_ms).into(),
            bytes(s.bytes_in).into(),
            bytes(s.bytes_out).into(),
            Cell::tinted(s.id.to_string(), Tint::Quiet),
        ]);
    }
    ctx.out.table(&table, "no sessions")?;
    let shown = found.sessions.len() as u64;
    if shown < found.total {
        ctx.out.line(&format!(
            "{shown} of {} shown; --limit 0 shows all",
            found.total
        ))?;
    }
    Ok(exit)
}

pub(super) async fn whereis(ctx: &mut Context, client: String) -> Result<Exit, Failure> {
    let found = ctx.cluster.whereis(client.clone()).await?;
    let exit = told(ctx, found.may_be_old.as_ref())?;
    if found.bindings.is_empty() && exit == Exit::Done {
        return Err(
            Failure::new(Exit::NotFound, format!("{client} is not bound to a server"))
                .remedy("it never came, its binding expired, or its backend has no persistence"),
        );
    }
    if ctx.out.is_json() {
        ctx.out.json(&found)?;
        return Ok(exit);
    }
    let now_ms = clock::unix_ms();
    let mut table = Table::new(&[
        "CLIENT",
        "GROUP",
        "SERVER",
        "ADDRESS",
        "BOUND",
        "EXPIRES IN",
        "NOW",
    ]);
    for b in found.bindings {
        let now = if b.usable {
            Cell::tinted("usable", Tint::Good)
        } else {
            Cell::tinted("not usable: next connection goes elsewhere", Tint::Warn)
        };
        table.row([
            b.client.into(),
            b.group.into(),
            b.server.into(),
            b.address.into(),
            ago(b.bound_at_ms, now_ms).into(),
            span(b.expires_in_ms).into(),
            now,
        ]);
    }
    ctx.out.table(&table, "no bindings")?;
    Ok(exit)
}
