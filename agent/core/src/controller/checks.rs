//! The schedule of health checks: who is due, what came of it. Only the holder checks.

use super::{Action, Purpose};
use crate::check::{CheckResult, ServerHealth, Transition};
use crate::command::HealthChange;
use crate::id::ServerId;
use crate::model::{AdminState, Check};
use crate::placement;
use crate::state::Facts;
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The first checks of servers are this far apart, so that they do not all fall into one instant.
const SPREAD: Duration = Duration::from_millis(7);
/// A check that has said nothing for so long after its timeout never will: its result was lost on the way.
const LOST_AFTER: Duration = Duration::from_secs(1);

/// One run per checked server.
#[derive(Debug, Default)]
pub struct Checks {
    runs: BTreeMap<ServerId, Run>,
}

#[derive(Debug)]
struct Run {
    health: ServerHealth,
    check: Check,
    due: Instant,
    /// Until when its result may still come.
    under_way: Option<Instant>,
    checked_at: Instant,
    last: Option<CheckResult>,
    failed_connects: u32,
}

impl Run {
    /// When the next check is due, or the one that is under way is taken for lost.
    fn wanted_at(&self) -> Instant {
        self.under_way.unwrap_or(self.due)
    }

    fn record(&mut self, server: ServerId, result: CheckResult) -> Option<HealthChange> {
        self.last = Some(result);
        let up = match self.health.record(result)? {
            Transition::WentUp => true,
            Transition::WentDown => false,
        };
        Some(HealthChange {
            server,
            up,
            why: result.word().to_owned(),
        })
    }
}

impl Checks {
    /// A new holder starts from what is replicated.
    pub fn taking_over(facts: &Facts, now: Instant) -> Self {
        let mut checks = Checks::default();
        checks.follow(facts, now);
        checks
    }

    /// Takes up new servers and settings, forgets what is gone.
    pub fn follow(&mut self, facts: &Facts, now: Instant) {
        let mut wanted = BTreeSet::new();
        for (i, (id, check)) in checked(facts).enumerate() {
            wanted.insert(id);
            let changed = self.runs.get(&id).is_none_or(|r| r.check != *check);
            if changed {
                let health = match facts.health.get(&id) {
                    Some(known) => ServerHealth::settled(check, known.up),
                    None => ServerHealth::starting(check),
                };
                let due = now + SPREAD * (i % 32) as u32;
                self.runs.insert(
                    id,
                    Run {
                        health,
                        check: check.clone(),
                        due,
                        under_way: None,
                        checked_at: Instant::ZERO,
                        last: None,
                        failed_connects: 0,
                    },
                );
            }
        }
        self.runs.retain(|id, _| wanted.contains(id));
    }

    /// Starts the checks that are due. A server in maintenance is not checked.
    pub fn start_due(&mut self, now: Instant, facts: &Facts, actions: &mut Vec<Action>) {
        for (id, run) in self.runs.iter_mut().filter(|(_, r)| r.wanted_at() <= now) {
            run.under_way = None;
            let Some(place) = placement::of(facts, *id) else {
                run.due = now + run.check.inter;
                continue;
            };
            if facts.effective_admin(*id, place.node_id()).state == AdminState::Maintenance {
                run.due = now + run.check.inter;
                continue;
            }
            let Some(probe) = place.probe() else {
                run.due = now + run.check.inter;
                continue;
            };
            run.under_way = Some(now + run.check.timeout + LOST_AFTER);
            actions.push(Action::Probe {
                server: *id,
                probe,
                purpose: Purpose::Scheduled,
            });
        }
    }

    /// Takes the result of a check.
    pub fn on_checked(
        &mut self,
        now: Instant,
        server: ServerId,
        result: CheckResult,
    ) -> Option<HealthChange> {
        let run = self.runs.get_mut(&server)?;
        run.under_way = None;
        run.checked_at = now;
        let change = run.record(server, result);
        run.due = now + run.health.interval(&run.check);
        change
    }

    /// A server on a silent node did not answer a quick probe, which its check would have made: that counts as a check
    /// that failed. The schedule goes on beside it.
    pub fn on_suspect_failed(
        &mut self,
        server: ServerId,
        result: CheckResult,
    ) -> Option<HealthChange> {
        self.runs.get_mut(&server)?.record(server, result)
    }

    /// These are checked as soon as may be: their node is heard again.
    pub fn look_now(&mut self, now: Instant, servers: impl Iterator<Item = ServerId>) {
        for id in servers {
            if let Some(run) = self.runs.get_mut(&id) {
                run.due = run.due.min(now);
            }
        }
    }

    /// The agent on a server's own node finds it down: that is checked at once.
    pub fn on_report(&mut self, now: Instant, down: &BTreeSet<ServerId>) {
        for id in down {
            if let Some(run) = self.runs.get_mut(id).filter(|r| {
                r.health.is_up()
                    && r.under_way.is_none()
                    && now.saturating_since(r.checked_at) >= r.check.fastinter
            }) {
                run.due = now;
            }
        }
    }

    /// Counts a failed connect of real traffic; at the backend's `observe` limit it is one failed check.
    pub fn on_connect_failed(&mut self, facts: &Facts, server: ServerId) -> Option<CheckResult> {
        let limit = placement::of(facts, server)?.backend.observe?;
        let run = self.runs.get_mut(&server)?;
        run.failed_connects += 1;
        (run.failed_connects >= limit).then(|| {
            run.failed_connects = 0;
            CheckResult::Observed
        })
    }

    /// Real traffic connected: failures before it no longer count.
    pub fn on_connect_worked(&mut self, server: ServerId) {
        if let Some(run) = self.runs.get_mut(&server) {
            run.failed_connects = 0;
        }
    }

    /// Whether each checked server is up.
    pub fn up_by_server(&self) -> BTreeMap<ServerId, bool> {
        self.runs
            .iter()
            .map(|(id, r)| (*id, r.health.is_up()))
            .collect()
    }

    /// HAProxy's words for the state and for the last check.
    pub fn words(&self, server: ServerId) -> Option<(String, String)> {
        let run = self.runs.get(&server)?;
        Some((
            run.health.to_string(),
            run.last.map_or("INI", CheckResult::word).to_owned(),
        ))
    }

    /// When the next check is due, at most `limit`.
    pub fn next_due(&self, limit: Instant) -> Instant {
        self.runs
            .values()
            .map(Run::wanted_at)
            .min()
            .map_or(limit, |d| d.min(limit))
    }
}

/// Servers with the check of their backend.
fn checked(facts: &Facts) -> impl Iterator<Item = (ServerId, &Check)> {
    placement::all(facts).filter_map(|p| Some((p.id, p.backend.check.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{CheckClose, Kind};
    use crate::command::{Command, Stamped};
    use crate::state::ClusterState;
    use crate::testing::{backend, check, config, server};
    use crate::time::Timestamp;
    use std::sync::Arc;

    fn one_server() -> Arc<Facts> {
        let mut state = ClusterState::default();
        let kind = Kind::Tcp {
            port: Some(5022),
            close: CheckClose::Rst,
        };
        let mut servers = vec![server(1)];
        servers[0].node = None;
        servers[0].address = Some([10, 0, 0, 1].into());
        let mut config = config(vec![backend("ts", servers)]);
        config.backends[0].check = Some(check(kind));
        let command = Command::Configure {
            config,
            text: String::new(),
            expect: None,
        };
        let stamped = Stamped {
            at: Timestamp(1),
            by: String::new(),
            command,
            request: None,
        };
        state.apply(&stamped).unwrap();
        state.facts
    }

    /// A check whose result is lost on its way is made again; one that is merely slow is not made twice.
    #[test]
    fn a_lost_result_does_not_leave_a_server_unchecked() {
        let (facts, start) = (one_server(), Instant::from(Duration::from_secs(100)));
        let mut checks = Checks::taking_over(&facts, start);
        let mut probes_at = |now| {
            let mut actions = Vec::new();
            checks.start_due(now, &facts, &mut actions);
            (
                actions.len(),
                checks.next_due(now + Duration::from_secs(3600)),
            )
        };
        let (probes, lost_at) = probes_at(start);
        assert_eq!(probes, 1);
        let timeout = facts.config.backends[0].check.as_ref().unwrap().timeout;
        assert_eq!(lost_at, start + timeout + LOST_AFTER);
        assert_eq!(probes_at(start + timeout).0, 0, "it may still come");
        assert_eq!(probes_at(lost_at).0, 1, "it will not come any more");
    }
}
