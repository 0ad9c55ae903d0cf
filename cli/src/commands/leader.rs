//! `move-leader`.

use std::time::Duration;

use ha_proto::control::StatusReply;

use super::Context;
use super::wait::wait;
use crate::exit::{Exit, Failure};
use crate::output::Progress;
use crate::signal::Stop;

/// Hands leadership over; with a limit, waits until the new leader holds the virtual IPs.
pub(super) async fn hand_over(
    ctx: &mut Context,
    node: Option<String>,
    limit: Option<Duration>,
) -> Result<Exit, Failure> {
    let mut stop = Stop::listen()?;
    ctx.cluster.at_least(Duration::from_secs(15));
    let moved = ctx.cluster.move_leader(node.unwrap_or_default()).await?;
    if let Some(limit) = limit {
        let mut progress = Progress::new(&ctx.out);
        let look = |status: &StatusReply, _: u64| {
            let held = status.virtual_ips.is_empty() || status.holder == moved.to;
            if status.leader == moved.to && held {
                return Some(());
            }
            let line = format!(
                "waiting: {} leads, {} holds",
                or_nobody(&status.leader),
                or_nobody(&status.holder)
            );
            progress.show(&line, &line);
            None
        };
        let end = wait(ctx, &mut stop, limit, look).await;
        progress.clear();
        let goes_on = format!("leadership was handed to {}", moved.to);
        end.map_err(|why| {
            why.failure(
                &goes_on,
                "`ha-cli explain vip` says where the address is and why",
            )
        })?;
    }
    if ctx.out.is_json() {
        ctx.out.json(&moved)?;
    } else if moved.from == moved.to {
        ctx.out.line(&format!("{} leads already", moved.to))?;
    } else {
        ctx.out.line(&format!(
            "{} leads now (was {}), handed over in {} ms",
            moved.to, moved.from, moved.took_ms
        ))?;
    }
    Ok(Exit::Done)
}

fn or_nobody(name: &str) -> &str {
    if name.is_empty() { "nobody" } else { name }
}
