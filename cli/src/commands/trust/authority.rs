//! `ca`: the certificate authorities, and the change from one to another.

use std::time::Duration;

use ha_proto::control::AuthoritiesReply;

use super::print_message;
use crate::args::CaCommand;
use crate::clock;
use crate::commands::{Context, confirm};
use crate::exit::{Exit, Failure};
use crate::human::ago;
use crate::output::Progress;
use crate::signal::Stop;
use crate::table::Table;

/// Between two looks at a change of authority.
const LOOK: Duration = Duration::from_millis(250);
/// How long nodes that run need at most to follow a change of authority.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(60);

pub(in crate::commands) async fn run(
    ctx: &mut Context,
    command: CaCommand,
) -> Result<Exit, Failure> {
    match command {
        CaCommand::Show => {
            let known = ctx.cluster.authorities().await?;
            super::super::age::told(ctx, known.may_be_old.as_ref())?;
            show(ctx, &known)?;
        }
        CaCommand::Rotate { yes } => {
            let question = "Change to another authority? There is no way back; contexts that are not used for 30 days must be made anew.";
            confirm::meant(ctx, yes.yes, question).await?;
            ctx.cluster.rotate_authority().await?;
            let known = followed(ctx).await?;
            show(ctx, &known)?;
            if !ctx.out.is_json() {
                ctx.out.line("every node uses the new authority; contexts are renewed when they are used; `ha-cli ca retire` ends the belief in the old one")?;
            }
        }
        CaCommand::Retire { force, yes } => {
            let question = "End the belief in the old authority? Contexts that were not used since the change open nothing any more.";
            confirm::meant(ctx, yes.yes, question).await?;
            let message = ctx.cluster.retire_authority(force).await?;
            print_message(ctx, message)?;
        }
    }
    Ok(Exit::Done)
}

/// Waits until every node shows a certificate of the newest authority.
async fn followed(ctx: &mut Context) -> Result<AuthoritiesReply, Failure> {
    let mut stop = Stop::listen()?;
    let mut progress = Progress::new(&ctx.out);
    let goes_on =
        "the change goes on by itself, as soon as they do: `ha-cli ca show` says how far it is";
    let mut last = AuthoritiesReply::default();
    let looking = async {
        loop {
            // A leader may just be changing.
            if let Ok(known) = ctx.cluster.authorities().await {
                last = known;
                if last.waiting_for.is_empty()
                    && last
                        .authorities
                        .last()
                        .is_some_and(|a| a.stage == "signing")
                {
                    return;
                }
                let line = format!(
                    "waiting for {}",
                    if last.waiting_for.is_empty() {
                        "the next step".to_owned()
                    } else {
                        last.waiting_for.join(", ")
                    }
                );
                progress.show(&line, &line);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let (done, why) = tokio::select! {
        biased;
        () = stop.asked() => (false, Exit::Cancelled),
        () = looking => (true, Exit::Done),
        () = tokio::time::sleep(FOLLOWED_WITHIN) => (false, Exit::Deadline),
    };
    progress.clear();
    if done {
        Ok(last)
    } else {
        Err(Failure::new(
            why,
            format!(
                "not every node has followed: {}",
                last.waiting_for.join(", ")
            ),
        )
        .remedy(goes_on))
    }
}

fn show(ctx: &Context, known: &AuthoritiesReply) -> Result<(), Failure> {
    if ctx.out.is_json() {
        return ctx.out.json(known);
    }
    let now = clock::unix_ms();
    let mut table = Table::new(&["FINGERPRINT", "STAGE", "SINCE", "SHOWN BY"]);
    for a in &known.authorities {
        table.row([
            a.fingerprint.as_str().into(),
            a.stage.as_str().into(),
            ago(a.since_ms, now).into(),
            a.shown_by.join(", ").into(),
        ]);
    }
    ctx.out
        .table(&table, "no authority: this agent has not heard of it yet")?;
    if !known.waiting_for.is_empty() {
        ctx.out.line(&format!(
            "not followed yet: {}",
            known.waiting_for.join(", ")
        ))?;
    }
    Ok(())
}
