//! Waiting for a slot of any server: what ends it before its turn, and what a slot that was had is used for.

use super::{Around, Dispatch, Phase, PlaceInLine, Step};
use crate::balance::open_to_newcomers;
use crate::close::CloseReason;
use crate::id::ServerId;
use crate::time::Timestamp;
use crate::view::{BackendView, Newcomer, ServerView, View};
use crate::waiters::Queue;

impl Dispatch {
    /// Whether what is waited for still takes this session, and is still what it should wait for.
    pub fn still_wants(&self, queue: &Queue, view: &View, now: Timestamp) -> bool {
        match queue {
            Queue::Server(server) => {
                let found = view.routes.server(*server);
                found.is_some_and(|(_, s)| s.accepts(Newcomer::Bound))
            }
            Queue::Backend { .. } => self.backend_in(view).is_some_and(|b| {
                let open = open_to_newcomers(b);
                let takes = |i: &usize| queue.takes(b.servers[*i].id, true);
                let own = self.own_in(b, view, now);
                open.iter().any(takes)
                    && own.is_none_or(|i| b.servers[i].suspect)
                    // Who waits because the own server is suspect chooses anew when it is worse than that.
                    && (!self.meanwhile || b.servers.iter().any(|s| s.suspect))
            }),
        }
    }

    pub(super) fn wait_for_any(&mut self) -> Step {
        let Some(backend) = self.backend() else {
            return Step::GiveUp(CloseReason::Internal);
        };
        let excluded = backend.servers.iter().filter(|s| self.excludes(s));
        let line = PlaceInLine {
            queue: Queue::Backend {
                except: excluded.map(|s| s.id).collect(),
            },
            longest: 0,
            within: backend.queue_timeout,
        };
        self.phase = Phase::InLineForAny;
        Step::Wait(line)
    }

    /// A slot was had. Meanwhile another session of the client may have been bound, or its own server may serve again: then
    /// it goes there, whatever this one was decided from.
    pub(super) fn got_any(&mut self, server: ServerId, around: &mut Around<'_>) -> Step {
        let Some(backend) = self.route.as_ref().map(|r| r.backend.clone()) else {
            return Step::GiveUp(CloseReason::Internal);
        };
        let Some(i) = backend.servers.iter().position(|s| s.id == server) else {
            return Step::GiveUp(CloseReason::Internal);
        };
        self.slot = Some(server);
        let own = self.own_now(around);
        match own.filter(|own| !(self.meanwhile && own.suspect)) {
            None => self.go_to(i, false, around),
            Some(own) if own.id == server => {
                (self.belongs, self.meanwhile) = (true, false);
                self.go_to(i, true, around)
            }
            Some(_) => self.choose(around),
        }
    }

    /// The client's own server, as it is now.
    fn own_now<'v>(&self, around: &Around<'v>) -> Option<&'v ServerView> {
        let backend = self.backend_in(around.view)?;
        backend
            .servers
            .get(self.own_in(backend, around.view, around.now)?)
    }

    /// The backend of the present try, as it is in `view`.
    fn backend_in<'v>(&self, view: &'v View) -> Option<&'v BackendView> {
        let name = &self.backend()?.name;
        let found = view.routes.backends.iter().find(|b| b.name == *name);
        found.map(AsRef::as_ref)
    }
}
