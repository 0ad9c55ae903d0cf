//! Following a drain: what each look at the cluster means. Pure; `state` does the looking.
//!
//! ```text
//!            the log has its end: empty              -> Drained
//!   Waiting  the log has its end: at the deadline    -> Cut, or Drained when nobody was left
//!            ready again or gone, and no end of it   -> TakenBack
//!            long after the deadline                 -> Overdue
//! ```
//!
//! A drain that nothing ends (no deadline, nothing that follows) is waited for until no session is left, which may
//! change again. So is one of an agent that does not say what ended.

use std::collections::BTreeSet;

use ha_proto::control::{ServerStatus, SetStateReply, StatusReply};

/// A server is not called "taken back" before this long after the request: the state that an agent
/// shows may lag behind what it acknowledged.
const SETTLE_MS: u64 = 2_000;

/// How long after its deadline a drain may still show sessions.
const GRACE_MS: u64 = 5_000;

/// A drain that is under way.
#[derive(Debug)]
pub struct Drain {
    servers: Vec<String>,
    started_ms: u64,
    deadline_ms: u64,
    ready_follows: bool,
    /// Since when it drains, by the log; 0: the log will not have its end, or the agent does not say.
    began_ms: u64,
    /// What the log has not ended yet: the node's name, or each `backend/server`.
    going_on: BTreeSet<String>,
    cut: bool,
    seen_draining: bool,
    left: u64,
}

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// NODE, BACKEND/SERVER or NODE/BACKEND.
    pub target: &'a str,
    pub started_ms: u64,
    /// An instant; 0: none.
    pub deadline_ms: u64,
    /// Something follows its end.
    pub then: bool,
    /// And that is `ready`.
    pub ready_follows: bool,
}

/// What a look at the cluster says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    Waiting {
        /// Sessions on all of its servers together.
        left: u64,
        /// The servers that still have some.
        servers: Vec<String>,
    },
    Ended(End),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Empty, nobody was cut off.
    Drained,
    /// The deadline came with so many sessions left; they were cut.
    Cut(u64),
    /// The deadline is long past and so many sessions are still there.
    Overdue(u64),
    /// Somebody made this server ready again, or removed it.
    TakenBack(String),
}

impl Drain {
    /// The drain that was asked for and accepted.
    pub fn new(asked: Asked<'_>, accepted: SetStateReply) -> Self {
        let SetStateReply {
            servers, began_ms, ..
        } = accepted;
        let ends = asked.then || asked.deadline_ms != 0;
        let going_on = if asked.target.contains('/') {
            servers.iter().cloned().collect()
        } else {
            BTreeSet::from([asked.target.to_owned()])
        };
        Drain {
            servers,
            started_ms: asked.started_ms,
            deadline_ms: asked.deadline_ms,
            ready_follows: asked.ready_follows,
            began_ms: if ends { began_ms } else { 0 },
            going_on,
            cut: false,
            seen_draining: false,
            left: 0,
        }
    }

    /// What the status says about it; `now_ms` counts from 1970.
    pub fn observe(&mut self, status: &StatusReply, now_ms: u64) -> Observation {
        if self.is_ended_by_log(status) {
            return Observation::Ended(if self.cut && self.left != 0 {
                End::Cut(self.left)
            } else {
                End::Drained
            });
        }
        let servers: Vec<&ServerStatus> = status
            .servers
            .iter()
            .filter(|s| self.servers.contains(&s.path()))
            .collect();
        if let Some(gone) = self
            .servers
            .iter()
            .find(|path| !servers.iter().any(|s| s.path() == **path))
        {
            return Observation::Ended(End::TakenBack(gone.clone()));
        }
        let settled = now_ms >= self.started_ms + SETTLE_MS;
        let ready = servers.iter().find(|server| is_ready(server, status));
        self.seen_draining |= ready.is_none();
        if let Some(server) = ready {
            // Where the log says what ends it, ready without that is somebody's word.
            let as_ordered = self.ready_follows && self.began_ms == 0;
            return match (as_ordered, self.seen_draining || settled) {
                (true, true) => self.end(now_ms),
                (false, true) => Observation::Ended(End::TakenBack(server.path())),
                (_, false) => self.waiting(&servers),
            };
        }
        let left: u64 = servers.iter().map(|s| s.sessions).sum();
        if left == 0 && self.began_ms == 0 && (!self.ready_follows || servers.is_empty()) {
            return self.end(now_ms);
        }
        if left != 0 && self.deadline_ms != 0 && now_ms > self.deadline_ms + GRACE_MS {
            return Observation::Ended(End::Overdue(left));
        }
        self.waiting(&servers)
    }

    /// Whether the log has the end of all of it.
    fn is_ended_by_log(&mut self, status: &StatusReply) -> bool {
        if self.began_ms == 0 {
            return false;
        }
        let ended = status.ended_drains.iter();
        for end in ended.filter(|e| e.began_ms == self.began_ms) {
            for target in &end.targets {
                self.cut |= self.going_on.remove(target) && end.end == "deadline";
            }
        }
        self.going_on.is_empty()
    }

    fn waiting(&mut self, servers: &[&ServerStatus]) -> Observation {
        self.left = servers.iter().map(|s| s.sessions).sum();
        let busy = servers
            .iter()
            .filter(|s| s.sessions != 0)
            .map(|s| s.path())
            .collect();
        Observation::Waiting {
            left: self.left,
            servers: busy,
        }
    }

    /// It ended: sessions that were there at the last look before the deadline were cut by it.
    fn end(&self, now_ms: u64) -> Observation {
        let expired = self.deadline_ms != 0 && now_ms >= self.deadline_ms;
        Observation::Ended(if expired && self.left != 0 {
            End::Cut(self.left)
        } else {
            End::Drained
        })
    }
}

/// Whether a server takes new clients as far as operators are concerned; its node counts too.
fn is_ready(server: &ServerStatus, status: &StatusReply) -> bool {
    let held = ["DRAIN", "MAINT", "NOLB"]
        .iter()
        .any(|word| server.status.starts_with(word));
    let node_ready = status
        .nodes
        .iter()
        .find(|node| node.name == server.node)
        .is_none_or(|node| node.admin == "ready");
    server.admin == "ready" && node_ready && !held
}

#[cfg(test)]
mod tests {
    use ha_proto::control::{DrainEnd, NodeStatus};

    use super::*;

    #[test]
    fn a_drain_that_empties_before_its_deadline_is_done() {
        let mut drain = drain(60_000, false, 0);
        let busy = Observation::Waiting {
            left: 2,
            servers: vec!["app/a".into()],
        };
        assert_eq!(drain.observe(&with("drain", 2), 100), busy);
        assert_eq!(
            drain.observe(&with("drain", 0), 200),
            Observation::Ended(End::Drained)
        );
    }

    #[test]
    fn sessions_that_are_there_until_the_deadline_were_cut() {
        let mut drain = drain(1_000, false, 0);
        drain.observe(&with("drain", 3), 900);
        assert_eq!(
            drain.observe(&with("maint", 0), 1_100),
            Observation::Ended(End::Cut(3))
        );
    }

    #[test]
    fn sessions_that_outlive_the_deadline_are_reported() {
        let mut drain = drain(1_000, false, 0);
        assert!(matches!(
            drain.observe(&with("drain", 3), 5_900),
            Observation::Waiting { left: 3, .. }
        ));
        assert_eq!(
            drain.observe(&with("drain", 3), 6_100),
            Observation::Ended(End::Overdue(3))
        );
    }

    #[test]
    fn ready_again_means_taken_back_but_only_after_it_was_seen_draining() {
        let mut drain = drain(0, false, 0);
        assert!(
            matches!(
                drain.observe(&with("ready", 3), 100),
                Observation::Waiting { .. }
            ),
            "the view may lag"
        );
        drain.observe(&with("drain", 3), 200);
        assert_eq!(
            drain.observe(&with("ready", 3), 300),
            Observation::Ended(End::TakenBack("app/a".into()))
        );
        assert_eq!(
            drain.observe(&StatusReply::default(), 400),
            Observation::Ended(End::TakenBack("app/a".into())),
            "removed"
        );
    }

    #[test]
    fn ready_is_the_end_when_it_was_to_follow() {
        let mut drain = drain(0, true, 0);
        drain.observe(&with("drain", 1), 100);
        assert!(matches!(
            drain.observe(&with("drain", 0), 200),
            Observation::Waiting { left: 0, .. }
        ));
        assert_eq!(
            drain.observe(&with("ready", 5), 300),
            Observation::Ended(End::Drained)
        );
    }

    #[test]
    fn a_drain_of_the_node_counts_for_its_servers() {
        let mut drain = drain(0, false, 0);
        let mut status = with("ready", 0);
        status.servers[0].node = "node-1".into();
        status.nodes = vec![NodeStatus {
            name: "node-1".into(),
            admin: "drain".into(),
            ..NodeStatus::default()
        }];
        assert_eq!(
            drain.observe(&status, 100),
            Observation::Ended(End::Drained)
        );
    }

    /// What follows a drain is there when the log has its end, and not when its sessions are gone: that comes before.
    #[test]
    fn a_drain_that_something_ends_is_over_when_the_log_says_so() {
        let mut drain = drain(60_000, false, 17);
        let waits = |o| matches!(o, Observation::Waiting { .. });
        assert!(waits(drain.observe(&with("drain", 0), 100)));
        let mut other = with("drain", 0);
        other.ended_drains = vec![end(16, "app/a", "empty"), end(17, "app/b", "empty")];
        assert!(waits(drain.observe(&other, 200)), "of other drains");
        let mut ended = with("maint", 0);
        ended.ended_drains = vec![end(17, "app/a", "empty")];
        assert_eq!(drain.observe(&ended, 300), Observation::Ended(End::Drained));
    }

    #[test]
    fn the_log_says_whether_the_deadline_ended_it() {
        for (left, expected) in [(3, End::Cut(3)), (0, End::Drained)] {
            let mut drain = drain(1_000, false, 17);
            drain.observe(&with("drain", left), 100);
            let mut ended = with("maint", 0);
            ended.ended_drains = vec![end(17, "app/a", "deadline")];
            assert_eq!(drain.observe(&ended, 1_100), Observation::Ended(expected));
        }
    }

    #[test]
    fn ready_without_an_end_in_the_log_is_taken_back() {
        let mut drain = drain(1_000, true, 17);
        drain.observe(&with("drain", 1), 100);
        assert_eq!(
            drain.observe(&with("ready", 1), 200),
            Observation::Ended(End::TakenBack("app/a".into()))
        );
    }

    fn end(began_ms: u64, target: &str, end: &str) -> DrainEnd {
        DrainEnd {
            began_ms,
            targets: vec![target.into()],
            end: end.into(),
            at_ms: 0,
        }
    }

    fn drain(deadline_ms: u64, ready_follows: bool, began_ms: u64) -> Drain {
        let asked = Asked {
            target: "app/a",
            started_ms: 0,
            deadline_ms,
            then: ready_follows,
            ready_follows,
        };
        let servers = vec!["app/a".into()];
        let accepted = SetStateReply {
            servers,
            began_ms,
            order: 1,
        };
        Drain::new(asked, accepted)
    }

    fn with(admin: &str, sessions: u64) -> StatusReply {
        let server = ServerStatus {
            backend: "app".into(),
            server: "a".into(),
            admin: admin.into(),
            status: "UP".into(),
            sessions,
            ..ServerStatus::default()
        };
        StatusReply {
            servers: vec![server],
            ..StatusReply::default()
        }
    }
}
