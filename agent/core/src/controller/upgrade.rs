//! What the leader proposes about versions: what a member's agent says of itself, when that is news, and a higher
//! active version once every member has spoken it for long enough to be believed.
//!
//! ```text
//!   all members heard and speaking more --hold-down--> Activate     one falls silent or speaks less: from the start
//! ```
//!
//! Until the version is raised each node can go back to the agent it came from; so the hold-down is time in which an
//! operator sees that the new agent does not do.

use super::NodeReport;
use crate::command::Command;
use crate::id::NodeId;
use crate::model::Member;
use crate::state::Facts;
use crate::time::Instant;
use crate::version::{RecordVersion, Speaks, newest_common};
use std::collections::BTreeMap;
use std::time::Duration;

/// Between two proposals of the same, while the first is under way or was lost.
const AGAIN: Duration = Duration::from_secs(10);

/// What was seen and proposed while this node leads.
#[derive(Debug, Default)]
pub struct Upgrade {
    /// How each member that differs from its record was last proposed to be described, and when.
    described: BTreeMap<NodeId, (Command, Instant)>,
    /// The version that all members speak beyond the active one, and since when they have all been heard.
    ready: Option<(RecordVersion, Instant)>,
    /// The last version that was proposed, and when.
    proposed: Option<(RecordVersion, Instant)>,
}

impl Upgrade {
    /// What an earlier time of leading saw does not count.
    pub fn reset(&mut self) {
        *self = Upgrade::default();
    }

    /// What is to be proposed now. `report` gives what a member said last, `None` for one that is not heard.
    pub fn regulate<'a>(
        &mut self,
        now: Instant,
        hold_down: Duration,
        facts: &Facts,
        report: impl Fn(NodeId) -> Option<&'a NodeReport>,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        for member in facts.members.values() {
            if let Some(said) = report(member.id) {
                commands.extend(self.describe(now, facts, member, said));
            }
        }
        // What the members' records say decides, as it will where the entry is applied; the reports only show that
        // the agents which speak it are running.
        let common = newest_common(facts.members.values().map(|m| m.speaks));
        let heard = |m: &Member| report(m.id).is_some_and(|r| is_as_recorded(m, r));
        let ready = common
            .filter(|v| *v > facts.active_version && facts.members.values().all(heard))
            .filter(|_| facts.active_version > RecordVersion::default());
        self.ready = ready.map(|version| match self.ready {
            Some((same, since)) if same == version => (version, since),
            _ => (version, now),
        });
        commands.extend(self.activate(now, hold_down));
        commands
    }

    /// Proposed once for each difference, and again when nothing has come of it.
    fn describe(
        &mut self,
        now: Instant,
        facts: &Facts,
        member: &Member,
        said: &NodeReport,
    ) -> Option<Command> {
        let news = !said.agent_version.is_empty() && !is_as_recorded(member, said);
        if !news || !may_speak(facts.active_version, said.speaks) {
            self.described.remove(&member.id);
            return None;
        }
        let command = Command::Describe {
            node: member.id,
            agent_version: said.agent_version.clone(),
            speaks: said.speaks,
            checks: said.checks.clone(),
        };
        if let Some((asked, at)) = self.described.get(&member.id)
            && *asked == command
            && now.saturating_since(*at) < AGAIN
        {
            return None;
        }
        self.described.insert(member.id, (command.clone(), now));
        Some(command)
    }

    fn activate(&mut self, now: Instant, hold_down: Duration) -> Option<Command> {
        let (version, since) = self.ready?;
        let asked = self
            .proposed
            .is_some_and(|(v, at)| v == version && now.saturating_since(at) < AGAIN);
        if asked || now.saturating_since(since) < hold_down {
            return None;
        }
        self.proposed = Some((version, now));
        Some(Command::Activate(version))
    }
}

fn may_speak(active: RecordVersion, speaks: Speaks) -> bool {
    active == RecordVersion::default() || speaks.contains(active)
}

fn is_as_recorded(member: &Member, said: &NodeReport) -> bool {
    (&member.version, member.speaks, &member.checks)
        == (&said.agent_version, said.speaks, &said.checks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Stamped;
    use crate::model::{Role, Timing};
    use crate::state::ClusterState;
    use crate::testing::{member, node};
    use crate::time::Timestamp;

    const HOLD_DOWN: Duration = Duration::from_secs(60);

    fn speaks(max: u32) -> Speaks {
        Speaks {
            min: RecordVersion(1),
            max: RecordVersion(max),
        }
    }

    /// A cluster of two servers and a witness, founded at version 1, and its leader's view of it.
    struct Leader {
        state: ClusterState,
        upgrade: Upgrade,
        reports: BTreeMap<NodeId, NodeReport>,
        now: u64,
    }

    impl Leader {
        fn new() -> Self {
            let mut leader = Leader {
                state: ClusterState::default(),
                upgrade: Upgrade::default(),
                reports: BTreeMap::new(),
                now: 0,
            };
            leader.apply(Command::Found {
                cluster_id: node(99),
                timing: Timing::Lan,
                version: RecordVersion(1),
            });
            for i in 1..=3 {
                let mut m = member(i);
                m.role = if i == 3 { Role::Witness } else { Role::Server };
                leader.says(i, &m.version, m.speaks);
                leader.apply(Command::AddMember(m));
            }
            leader
        }
        fn apply(&mut self, command: Command) {
            self.state
                .apply(&Stamped {
                    at: Timestamp(1),
                    by: String::new(),
                    command,
                    request: None,
                })
                .unwrap();
        }
        fn says(&mut self, i: u8, version: &str, speaks: Speaks) {
            let report = NodeReport {
                agent_version: version.into(),
                speaks,
                checks: member(i).checks,
                ..NodeReport::default()
            };
            self.reports.insert(node(i), report);
        }
        /// What it proposes this many seconds later.
        fn wait(&mut self, seconds: u64) -> Vec<Command> {
            self.now += seconds * 1_000_000_000;
            let reports = &self.reports;
            self.upgrade
                .regulate(Instant(self.now), HOLD_DOWN, &self.state.facts, |n| {
                    reports.get(&n)
                })
        }
        /// The agent there is replaced, says so, and that is applied.
        fn upgrade(&mut self, i: u8) {
            self.says(i, "2", speaks(2));
            for command in self.wait(0) {
                self.apply(command);
            }
        }
    }

    fn activates(commands: &[Command]) -> bool {
        commands == [Command::Activate(RecordVersion(2))]
    }

    #[test]
    fn nothing_is_proposed_while_all_is_as_recorded() {
        assert_eq!(Leader::new().wait(1000), []);
    }

    #[test]
    fn an_agent_that_was_replaced_is_described_once() {
        let mut leader = Leader::new();
        leader.says(2, "2", speaks(2));
        let described = leader.wait(0);
        assert!(
            matches!(described.as_slice(), [Command::Describe { node: n, .. }] if *n == node(2))
        );
        assert_eq!(leader.wait(9), []);
        for command in described {
            leader.apply(command);
        }
        assert_eq!(leader.wait(100), []);
        leader.says(2, "1", speaks(1));
        assert_eq!(leader.wait(0).len(), 1, "it went back");
    }

    #[test]
    fn an_agent_that_does_not_speak_the_active_version_or_says_nothing_is_not_described() {
        let mut leader = Leader::new();
        let newer = Speaks {
            min: RecordVersion(2),
            max: RecordVersion(3),
        };
        leader.says(2, "3", newer);
        leader.says(3, "", speaks(2));
        assert_eq!(leader.wait(1000), []);
    }

    #[test]
    fn a_version_is_raised_once_every_member_has_spoken_it_for_the_hold_down() {
        let mut leader = Leader::new();
        leader.upgrade(1);
        leader.upgrade(2);
        assert_eq!(leader.wait(1000), [], "the witness does not speak it");
        leader.upgrade(3);
        assert_eq!(leader.wait(0), []);
        assert_eq!(leader.wait(59), []);
        assert!(activates(&leader.wait(1)));
        assert_eq!(leader.wait(9), [], "the proposal is under way");
        assert!(activates(&leader.wait(1)), "it was lost");
        leader.apply(Command::Activate(RecordVersion(2)));
        assert_eq!(leader.wait(1000), []);
    }

    #[test]
    fn the_hold_down_begins_anew_when_a_member_falls_silent_or_goes_back() {
        let mut leader = Leader::new();
        (1..=3).for_each(|i| leader.upgrade(i));
        leader.wait(0);
        assert_eq!(leader.wait(59), []);
        let silent = leader.reports.remove(&node(3)).unwrap();
        assert_eq!(leader.wait(1000), []);
        leader.reports.insert(node(3), silent);
        assert_eq!(leader.wait(0), []);
        leader.says(2, "1", speaks(1));
        assert_eq!(leader.wait(59).len(), 1, "it is to be described");
        assert_eq!(leader.wait(5), []);
        leader.says(2, "2", speaks(2));
        assert_eq!(leader.wait(0), []);
        assert!(activates(&leader.wait(60)));
        leader.upgrade.reset();
        assert_eq!(leader.wait(59), [], "another leader begins anew");
    }
}
