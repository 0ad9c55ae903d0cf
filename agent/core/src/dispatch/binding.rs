//! Binds a client, or has the use of its binding recorded.

use super::{Around, Dispatch, Phase, Remembered, Step};
use crate::close::CloseReason;
use crate::stick::{StickEntry, StickKey};
use crate::time::Timestamp;
use crate::view::{Newcomer, ServerView};

/// How often a client is bound anew because the server that it was bound to meanwhile cannot be used.
const BIND_ROUNDS: u8 = 2;

impl Dispatch {
    /// Asks for a binding to that server, unless this session has it or its backend binds nobody.
    pub(super) fn bind(&mut self, i: usize, round: u8, now: Timestamp) -> Step {
        let Some((key, proposal)) = self.proposal(i, now) else {
            return self.wait(i);
        };
        if round == 0 && self.asked == Some(proposal.server) {
            return self.wait(i);
        }
        // While an older binding of this session is under way, it is the answer to every question.
        if self.asked.is_some() {
            self.phase = Phase::Settling(i, round);
            return Step::Settle;
        }
        self.phase = Phase::Binding(i, round);
        // What was committed for another session a moment ago is the answer the first time; what this session has
        // found to be of no use is not.
        let remembered = if round == 0 && self.failed.is_empty() {
            Remembered::Counts
        } else {
            Remembered::IsReplaced
        };
        Step::Bind {
            key,
            proposal,
            remembered,
        }
    }

    /// Goes where the client is bound now, if that can be used; else it is bound once more.
    pub(super) fn bound(&mut self, i: usize, round: u8, entry: StickEntry, now: Timestamp) -> Step {
        self.asked = Some(entry.server);
        let Some(backend) = self.backend() else {
            return Step::GiveUp(CloseReason::Internal);
        };
        let by_id = backend.servers.iter().position(|s| s.id == entry.server);
        let there = by_id.or_else(|| {
            let same_host = |s: &ServerView| s.address == Some(entry.host);
            backend.servers.iter().position(same_host)
        });
        let takes = |s: &ServerView| s.accepts(Newcomer::Bound) && !self.excludes(s);
        match there {
            Some(there) if there == i || takes(&backend.servers[there]) => self.wait(there),
            _ if round + 1 < BIND_ROUNDS => self.bind(i, round + 1, now),
            _ => self.wait(i),
        }
    }

    /// The binding that the client has, if a use of it is worth a log entry.
    pub(super) fn refreshed(
        &self,
        i: usize,
        around: &Around<'_>,
    ) -> Option<(StickKey, StickEntry)> {
        let (key, proposal) = self.proposal(i, around.now)?;
        let old = around.view.stick.get(&key, around.now)?;
        old.wants_refresh(around.now).then_some((
            key,
            StickEntry {
                used_at: proposal.used_at,
                ..*old
            },
        ))
    }

    fn proposal(&self, i: usize, now: Timestamp) -> Option<(StickKey, StickEntry)> {
        let backend = self.backend()?;
        let expire = backend.persistence.as_ref()?.expire;
        let server = backend.servers.get(i)?;
        let entry = StickEntry {
            server: server.id,
            host: server.address?,
            bound_at: now,
            used_at: now,
            expire,
        };
        Some((backend.stick_key(self.client)?, entry))
    }
}
