//! Waiting for something to show in the status: Ctrl-C, a limit, and agents that are away for a while.

use std::time::Duration;

use super::Context;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::human::span;
use crate::report::Status;
use crate::signal::Stop;

/// How often the cluster is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A leader may just be changing: so long may nobody answer before waiting is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why waiting ended without what was waited for.
#[derive(Debug)]
pub(super) enum Why {
    /// Ctrl-C.
    Interrupted,
    /// The limit of `--wait`.
    RanOut(Duration),
    /// The cluster could not be asked any more.
    Lost(Failure),
}

impl Why {
    /// The failure that this is, given what goes on all the same and what to do then.
    pub(super) fn failure(self, goes_on: &str, remedy: &str) -> Failure {
        match self {
            Why::Interrupted => Failure::new(Exit::Cancelled, format!("not waiting any longer; {goes_on}")),
            Why::RanOut(limit) => {
                let ms = crate::human::millis(limit);
                Failure::new(Exit::Deadline, format!("not there after {}; {goes_on}", span(ms)))
            }
            Why::Lost(failure) => return failure,
        }
        .remedy(remedy)
    }
}

/// Looks again and again until `look` finds what it waits for.
pub(super) async fn wait<T>(ctx: &mut Context, stop: &mut Stop, limit: Duration, mut look: impl FnMut(&Status, u64) -> Option<T>) -> Result<T, Why> {
    let start = clock::now();
    let mut answered = start;
    let looking = async {
        loop {
            match ctx.cluster.status().await {
                Ok(status) => {
                    answered = clock::now();
                    if let Some(found) = look(&status, clock::unix_ms()) {
                        return Ok(found);
                    }
                }
                Err(failure) if answered.elapsed() > PATIENCE => return Err(Why::Lost(failure)),
                Err(_) => {}
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        biased;
        () = stop.asked() => Err(Why::Interrupted),
        found = looking => found,
        () = tokio::time::sleep(limit) => Err(Why::RanOut(limit)),
    }
}
