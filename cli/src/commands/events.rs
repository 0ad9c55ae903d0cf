//! `events`: what happened, and with `--follow` what happens.

use std::time::Duration;

use ha_core::text::printable;
use ha_proto::control::EventRecord;
use tokio_stream::StreamExt;

use super::Context;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::human::{millis, utc};
use crate::output::{Output, note};
use crate::paint::Tint;
use crate::signal::Stop;

#[derive(Debug)]
pub(super) struct Filter {
    /// Only those that are younger than this.
    pub since: Option<Duration>,
    /// Only those whose text contains this; empty = all.
    pub grep: String,
    /// At most so many of the past; 0 = all.
    pub limit: u32,
}

/// `ha-cli events`. Ctrl-C is the normal end of `--follow`.
pub(super) async fn run(ctx: &mut Context, filter: Filter, follow: bool) -> Result<Exit, Failure> {
    if !follow {
        let since_ms = since(&filter);
        let mut reader = Reader {
            next_seq: 0,
            last_ms: since_ms,
            shown: 0,
        };
        reader.read(ctx, &filter, false).await?;
        if reader.shown == 0 && !ctx.out.is_json() {
            ctx.out.line("no events")?;
        }
        return Ok(Exit::Done);
    }
    let mut stop = Stop::listen()?;
    tokio::select! {
        biased;
        () = stop.asked() => Ok(Exit::Done),
        end = keep_following(ctx, &filter) => end,
    }
}

/// The instant from which on events are wanted; 0 = all.
fn since(filter: &Filter) -> u64 {
    filter
        .since
        .map_or(0, |since| clock::unix_ms().saturating_sub(millis(since)))
}

/// Follows through changes of the leader: asks again, and leaves out what was shown.
async fn keep_following(ctx: &mut Context, filter: &Filter) -> Result<Exit, Failure> {
    let mut reader = Reader {
        next_seq: 0,
        last_ms: since(filter),
        shown: 0,
    };
    let mut began = false;
    loop {
        match reader.read(ctx, filter, true).await {
            Ok(()) => began = true,
            Err(failure) if failure.quiet => return Err(failure),
            // Once it worked, an agent that went away is waited for; at first it is a mistake.
            Err(failure) if !(began || reader.shown != 0) => return Err(failure),
            Err(failure) => note(&format!("ha-cli: {} (asking again)", failure.message)),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Reads one stream after the other and knows how far it came.
struct Reader {
    next_seq: u64,
    last_ms: u64,
    shown: u64,
}

impl Reader {
    async fn read(
        &mut self,
        ctx: &mut Context,
        filter: &Filter,
        follow: bool,
    ) -> Result<(), Failure> {
        let limit = if self.next_seq == 0 { filter.limit } else { 0 };
        let mut events = ctx
            .cluster
            .events(self.last_ms, filter.grep.clone(), follow, limit)
            .await?;
        while let Some(event) = events.next().await {
            let event = event?;
            if event.seq < self.next_seq {
                continue;
            }
            show(&ctx.out, &event)?;
            self.next_seq = event.seq.saturating_add(1);
            self.last_ms = self.last_ms.max(event.at_ms);
            self.shown += 1;
        }
        Ok(())
    }
}

fn show(out: &Output, event: &EventRecord) -> Result<(), Failure> {
    if out.is_json() {
        return out.json_line(event);
    }
    let when = out.painter.paint(&utc(event.at_ms), Tint::Quiet);
    let by = if event.by.is_empty() {
        String::new()
    } else {
        format!("  (by {})", printable(&event.by))
    };
    let (kind, text) = (printable(&event.kind), printable(&event.text));
    out.line(&format!("{when}  {kind:<12}  {text}{by}"))
}
