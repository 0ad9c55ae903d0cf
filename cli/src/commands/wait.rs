//! Waiting for something to show in the status: Ctrl-C, a limit, and agents that are away for a while.

use std::time::Duration;

use ha_proto::control::StatusReply;

use super::Context;
use crate::client::Cluster;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::human::span;
use crate::output::{Output, Progress};
use crate::signal::Stop;

/// How often the cluster is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// A leader may just be changing: so long may nobody answer before waiting is given up.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Why waiting ended without what was waited for.
#[derive(Debug)]
pub(super) enum WaitError {
    Interrupted,
    /// The limit of `--wait`, or of a step that waits by itself.
    RanOut(Duration),
    /// The cluster could not be asked any more.
    Lost(Failure),
}

impl WaitError {
    /// The failure that this is, given what goes on all the same and what to do then.
    pub(super) fn failure(self, goes_on: &str, remedy: &str) -> Failure {
        match self {
            WaitError::Interrupted => Failure::new(
                Exit::Cancelled,
                format!("not waiting any longer; {goes_on}"),
            ),
            WaitError::RanOut(limit) => {
                let ms = crate::human::millis(limit);
                Failure::new(
                    Exit::Deadline,
                    format!("not there after {}; {goes_on}", span(ms)),
                )
            }
            WaitError::Lost(failure) => return failure,
        }
        .remedy(remedy)
    }
}

/// Asks again while nobody can answer, and says so meanwhile: a leader is found within a second or two.
pub(super) async fn answered<T>(
    out: &Output,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (began, mut progress) = (clock::now(), Progress::new(out));
    loop {
        match ask().await {
            Err(failure) if failure.may_pass() && began.elapsed() < within => {
                progress.show("waiting", &format!("waiting: {}", failure.message));
                tokio::time::sleep(LOOK).await;
            }
            done => return done,
        }
    }
}

/// The status as the leader sees it. While none answers, the agent that was asked says what it knows: that shows no
/// sessions and nobody as unreachable, and is not enough to go on by.
///
/// # Errors
/// [`Exit::Unreachable`] when it is not the leader's, and what the call fails with.
pub(super) async fn leaders_status(cluster: &mut Cluster) -> Result<StatusReply, Failure> {
    let status = cluster.status().await?;
    if status.leader.is_empty() || status.answered_by != status.leader {
        return Err(Failure::new(
            Exit::Unreachable,
            format!("the leader does not answer {}", status.answered_by),
        )
        .remedy("`ha-cli status` shows what that node knows"));
    }
    Ok(status)
}

/// Looks again and again until `look` finds what it waits for.
pub(super) async fn wait<T>(
    ctx: &mut Context,
    stop: &mut Stop,
    limit: Duration,
    mut look: impl FnMut(&StatusReply, u64) -> Option<T>,
) -> Result<T, WaitError> {
    let start = clock::now();
    let mut answered = start;
    let looking = async {
        loop {
            match leaders_status(&mut ctx.cluster).await {
                Ok(status) => {
                    answered = clock::now();
                    if let Some(found) = look(&status, clock::unix_ms()) {
                        return Ok(found);
                    }
                }
                Err(failure) if answered.elapsed() > PATIENCE => {
                    return Err(WaitError::Lost(failure));
                }
                Err(_) => {}
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::select! {
        biased;
        () = stop.asked() => Err(WaitError::Interrupted),
        found = looking => found,
        () = tokio::time::sleep(limit) => Err(WaitError::RanOut(limit)),
    }
}
