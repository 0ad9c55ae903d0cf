//! Following a drain: what each look at the cluster means. Pure; `state` does the looking.
//!
//! ```text
//!            sessions left            none left, before the deadline -> Drained
//!   Started ---------------> Waiting  none left, after it            -> Cut
//!                                     ready again, or gone           -> TakenBack
//!                                     long after the deadline        -> Overdue
//! ```

use ha_proto::control::{ServerStatus, StatusReply};

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
    seen_draining: bool,
    left: u64,
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
    /// A drain of these `backend/server`s; `deadline_ms` is an instant, 0 = none.
    pub fn new(
        servers: Vec<String>,
        started_ms: u64,
        deadline_ms: u64,
        ready_follows: bool,
    ) -> Self {
        Drain {
            servers,
            started_ms,
            deadline_ms,
            ready_follows,
            seen_draining: false,
            left: 0,
        }
    }

    /// What the status says about it; `now_ms` counts from 1970.
    pub fn observe(&mut self, status: &StatusReply, now_ms: u64) -> Observation {
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
            return match (self.ready_follows, self.seen_draining || settled) {
                (true, true) => self.end(now_ms),
                (false, true) => Observation::Ended(End::TakenBack(server.path())),
                (_, false) => self.waiting(&servers),
            };
        }
        let left: u64 = servers.iter().map(|s| s.sessions).sum();
        if left == 0 {
            return if self.ready_follows && !servers.is_empty() {
                self.waiting(&servers)
            } else {
                self.end(now_ms)
            };
        }
        if self.deadline_ms != 0 && now_ms > self.deadline_ms + GRACE_MS {
            return Observation::Ended(End::Overdue(left));
        }
        self.waiting(&servers)
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
    use ha_proto::control::NodeStatus;

    use super::*;

    #[test]
    fn a_drain_that_empties_before_its_deadline_is_done() {
        let mut drain = Drain::new(vec!["app/a".into()], 0, 60_000, false);
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
        let mut drain = Drain::new(vec!["app/a".into()], 0, 1_000, false);
        drain.observe(&with("drain", 3), 900);
        assert_eq!(
            drain.observe(&with("maint", 0), 1_100),
            Observation::Ended(End::Cut(3))
        );
    }

    #[test]
    fn sessions_that_outlive_the_deadline_are_reported() {
        let mut drain = Drain::new(vec!["app/a".into()], 0, 1_000, false);
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
        let mut drain = Drain::new(vec!["app/a".into()], 0, 0, false);
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
        let mut drain = Drain::new(vec!["app/a".into()], 0, 0, true);
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
        let mut drain = Drain::new(vec!["app/a".into()], 0, 0, false);
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
