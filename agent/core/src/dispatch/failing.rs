//! A connect has failed: the same server again, another one, or none.

use super::{Around, Dispatch, Happened, Phase, Step};
use crate::close::CloseReason;
use crate::view::{Newcomer, ServerView};
use std::time::Duration;

/// Longest pause before the same server is tried again (HAProxy's turn-around).
const TURN_AROUND: Duration = Duration::from_secs(1);

impl Dispatch {
    /// Prepares the next try, or says that there is none.
    pub(super) fn failed(&mut self, i: usize, how: Happened, around: &mut Around<'_>) -> Step {
        let Some((backend, server)) = self.backend().zip(self.server(i)) else {
            return Step::GiveUp(CloseReason::Internal);
        };
        let (retries, redispatch, id) = (backend.retries, backend.redispatch, server.id);
        let pause = backend.connect_timeout.min(TURN_AROUND);
        let others = |(j, s): (usize, &ServerView)| {
            j != i && s.accepts(Newcomer::New) && !self.failed.contains(&s.id)
        };
        let others = backend.servers.iter().enumerate().any(others) || !self.failed.is_empty();
        let no_port = how == Happened::NoPortLeft;
        if self.retried >= retries {
            return Step::GiveUp(if no_port {
                CloseReason::Resources
            } else {
                CloseReason::ConnectFailed
            });
        }
        self.retried += 1;
        self.full.clear();
        self.slot = None;
        let found = around.view.routes.server(id);
        let serves = found.is_some_and(|(_, s)| s.accepts(Newcomer::Bound));
        let leaves = self.retried == retries || !self.belongs || !serves || no_port;
        if redispatch && leaves && others {
            self.no_port = self.no_port.or(Some(id).filter(|_| no_port));
            self.failed.push(id);
            return self.choose(around);
        }
        self.again = Some(id);
        // A connect that took its whole time has waited long enough.
        if how == Happened::ConnectTimedOut {
            return self.choose(around);
        }
        self.phase = Phase::Pausing;
        Step::Pause(pause)
    }
}
