//! Who votes: what the cluster endures, who loses its vote and gets it back, and where a vote goes that is the only one.
use super::*;
use crate::model::{ClusterConfig, Member};
use std::collections::BTreeSet;

fn set(nodes: &[u8]) -> BTreeSet<NodeId> {
    nodes.iter().map(|i| n(*i)).collect()
}

/// `n(1)` leads and holds; every 40 ms those in `live` answer, and say that they do not hear those in `unheard`.
struct Led {
    node: Node,
    news: RaftNews,
    live: Vec<u8>,
    unheard: Vec<u8>,
    asked: Vec<BTreeSet<NodeId>>,
    seen: Vec<Action>,
}

impl Led {
    fn of(voters: &[u8], learners: &[u8]) -> Led {
        Led::within(voters, learners, None)
    }

    fn within(voters: &[u8], learners: &[u8], voter_timeout: Option<Duration>) -> Led {
        let mut node = Node::new(Role::Server);
        let mut state = ClusterState {
            facts: node.c.facts().clone(),
            ..ClusterState::default()
        };
        let mut apply = |command| {
            let (at, by) = (Timestamp(1), String::new());
            let request = None;
            state
                .apply(&Stamped {
                    at,
                    by,
                    request,
                    command,
                })
                .unwrap();
        };
        for i in 4..=6 {
            let role = if i == 6 { Role::Witness } else { Role::Server };
            if voters.contains(&i) || learners.contains(&i) {
                apply(Command::AddMember(Member { role, ..member(i) }));
            }
        }
        let config = ClusterConfig {
            voter_timeout,
            ..ClusterConfig::default()
        };
        apply(Command::Configure {
            config,
            text: String::new(),
            expect: None,
        });
        node.tell(Event::Applied(state.facts));
        let news = RaftNews {
            voters: vec![set(voters)],
            learners: set(learners),
            last_log: 1000,
            committed: 1000,
            matched: (2..=6).map(|i| (n(i), 1000)).collect(),
            ..Node::news(RaftRole::Leader, 5, 5)
        };
        let mut led = Led {
            node,
            news,
            live: voters.iter().chain(learners).copied().collect(),
            unheard: Vec::new(),
            asked: Vec::new(),
            seen: Vec::new(),
        };
        // Learners came after it was elected.
        let came = std::mem::take(&mut led.news.learners);
        led.tell_news();
        led.news.learners = came;
        led.tell_news();
        led.pass(80);
        led
    }

    fn tell_news(&mut self) {
        let news = self.news.clone();
        let actions = self.node.tell(Event::Raft(news));
        self.note(actions);
    }

    fn note(&mut self, actions: Vec<Action>) {
        for action in &actions {
            if let Action::ChangeVoters { from, to } = action {
                assert_eq!(Some(from), self.news.voters.first());
                self.asked.push(to.clone());
            }
        }
        self.seen.extend(actions);
    }

    /// Milliseconds pass, and those that live answer.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 40 {
            let actions = self.node.wait(40);
            let lease = sent(&actions);
            self.note(actions);
            let Some(lease) = lease else { continue };
            for from in self.live.clone() {
                let report = NodeReport {
                    eligible: from != 6,
                    unheard: set(&self.unheard),
                    ..NodeReport::default()
                };
                let answered = Event::LeaseAnswered {
                    from: n(from),
                    lease,
                    result: Ok(()),
                    report,
                };
                let actions = self.node.tell(answered);
                self.note(actions);
            }
        }
    }

    /// The change that was asked for last is done.
    fn change(&mut self) {
        let to = self.asked.last().expect("asked").clone();
        let all: BTreeSet<NodeId> = &self.news.voters[0] | &self.news.learners;
        self.news.learners = &all - &to;
        self.news.voters = vec![to];
        self.tell_news();
    }

    fn dies(&mut self, node: u8) {
        self.live.retain(|n| *n != node);
        self.unheard.push(node);
    }

    fn comes_back(&mut self, node: u8) {
        self.live.push(node);
        self.unheard.retain(|n| *n != node);
    }

    fn endures(&self) -> (usize, Vec<u8>) {
        let endures = self.node.c.endurance(at(self.node.now)).expect("leads");
        let critical = (1..=6).filter(|i| endures.critical.contains(&n(*i)));
        (endures.deaths, critical.collect())
    }
}

const MINUTE: u64 = 60_000;

#[test]
fn the_last_of_three_votes_alone_after_a_minute_and_all_three_again_when_both_are_back() {
    let mut led = Led::of(&[1, 2, 3], &[]);
    assert_eq!(led.endures(), (1, vec![]));
    led.dies(3);
    led.pass(MINUTE);
    assert_eq!(led.asked, [], "not before its time");
    assert_eq!(led.endures(), (0, vec![1, 2]));
    led.pass(1000);
    assert_eq!(led.asked, [set(&[1])], "through {{1, 2}} would be worse");
    led.change();
    led.dies(2);
    led.pass(MINUTE);
    assert!(led.node.c.holding().is_some(), "no gap");
    assert_eq!(led.endures(), (0, vec![1]));
    led.comes_back(2);
    led.pass(MINUTE);
    assert_eq!(
        led.asked.len(),
        1,
        "two that vote would endure less than one"
    );
    led.comes_back(3);
    led.pass(9_000);
    assert_eq!(led.asked.len(), 1, "it must be steady for a while");
    led.pass(2_000);
    assert_eq!(led.asked.last(), Some(&set(&[1, 2, 3])), "in one step");
    led.change();
    assert_eq!(led.endures(), (1, vec![]));
}

#[test]
fn who_votes_changes_only_where_the_cluster_endures_more() {
    // Voters, learners, who dies; who votes after a minute and a half, if that changes.
    type Row<'a> = (&'a [u8], &'a [u8], &'a [u8], Option<&'a [u8]>);
    let rows: [Row<'_>; 9] = [
        (&[1], &[2], &[], None),
        (&[1], &[2, 3], &[], Some(&[1, 2, 3])),
        (&[1, 2], &[], &[], Some(&[1])),
        (&[1, 2, 3], &[4], &[], None),
        (&[1, 2, 3], &[4], &[3], Some(&[1, 2, 4])),
        (&[1, 2, 3, 4, 5], &[], &[5], None),
        (&[1, 2, 3, 4, 5], &[], &[4, 5], Some(&[1, 2, 3])),
        (&[1, 2, 3, 4], &[], &[4], Some(&[1, 2, 3])),
        (&[1, 2, 3], &[], &[2, 3], None),
    ];
    for (voters, learners, dead, wanted) in rows {
        let mut led = Led::of(voters, learners);
        dead.iter().for_each(|n| led.dies(*n));
        led.pass(MINUTE + MINUTE / 2);
        let asked = led.asked.first().cloned();
        assert_eq!(asked, wanted.map(set), "{voters:?} {learners:?} {dead:?}");
    }
}

#[test]
fn a_voter_that_another_voter_hears_keeps_its_vote() {
    let mut led = Led::of(&[1, 2, 3], &[]);
    led.live.retain(|n| *n != 3);
    led.pass(3 * MINUTE);
    assert_eq!(led.asked, [], "only the link to it is bad");
    led.unheard.push(3);
    led.pass(1000);
    assert_eq!(led.asked, [set(&[1])]);
}

#[test]
fn a_node_that_could_not_go_on_does_not_vote_alone() {
    for row in 0..3 {
        let mut led = Led::of(&[1, 2, 3], &[]);
        match row {
            0 => drop(led.node.set(1, AdminState::Drain)),
            1 => drop(led.node.tell(Event::Own(NodeReport::default()))),
            _ => drop(led.node.applied(Command::RemoveMember(n(1)))),
        }
        led.dies(3);
        led.pass(2 * MINUTE);
        assert_eq!(led.asked, [], "{row}");
    }
}

#[test]
fn nobody_loses_its_vote_where_that_is_said_or_a_witness_votes() {
    let mut never = Led::within(&[1, 2, 3], &[], Some(Duration::ZERO));
    never.dies(3);
    let mut witness = Led::of(&[1, 2, 6], &[]);
    witness.dies(2);
    for led in [&mut never, &mut witness] {
        led.pass(3 * MINUTE);
        assert_eq!(led.asked, []);
    }
    let mut asked_for = Led::within(&[1, 2, 6], &[], Some(Duration::from_secs(10)));
    asked_for.dies(2);
    asked_for.pass(11_000);
    assert_eq!(asked_for.asked, [set(&[1])], "never the witness");
    let mut as_they_come = Led::within(&[1], &[2], Some(Duration::ZERO));
    as_they_come.pass(80);
    assert_eq!(as_they_come.asked, [set(&[1, 2])]);
}

#[test]
fn who_has_just_come_votes_once_it_answers_and_has_the_log() {
    let mut led = Led::of(&[1], &[]);
    led.news.learners = set(&[2, 3]);
    led.live = vec![1, 2];
    led.news.matched.insert(n(3), 10);
    led.tell_news();
    led.pass(200);
    assert_eq!(led.asked, [], "far behind");
    led.news.matched.insert(n(3), 1000);
    led.tell_news();
    led.pass(200);
    assert_eq!(led.asked, [], "it does not promise itself yet");
    led.live.push(3);
    led.pass(200);
    assert_eq!(led.asked, [set(&[1, 2, 3])]);
    led.pass(1000);
    assert_eq!(led.asked.len(), 1, "asked once, not at each answer");
}

#[test]
fn a_change_that_could_not_be_decided_is_refused_by_name() {
    let mut led = Led::within(&[1, 2, 3], &[], Some(Duration::ZERO));
    let may = |led: &Led, to: &[u8]| {
        let behind = Behind::IsMissing;
        led.node.c.may_change_to(at(led.node.now), &set(to), behind)
    };
    assert_eq!(may(&led, &[1, 2]), Ok(()));
    led.dies(2);
    led.pass(400);
    assert_eq!(may(&led, &[1, 3]), Ok(()));
    let refused = may(&led, &[1, 2]).unwrap_err();
    assert!(
        refused.contains("1 of 2 voters") && refused.contains("node-2 must come back"),
        "{refused}"
    );
    led.news.matched.insert(n(3), 900);
    led.tell_news();
    let refused = may(&led, &[1, 3]).unwrap_err();
    assert!(refused.contains("node-2, node-3"), "{refused}");
    let forgiven = |to: &[u8]| {
        let behind = Behind::IsForgiven;
        led.node.c.may_change_to(at(led.node.now), &set(to), behind)
    };
    assert_eq!(forgiven(&[1, 3]), Ok(()));
    assert!(
        forgiven(&[1, 2]).is_err(),
        "an operator cannot do without it either"
    );
}

#[test]
fn where_one_votes_alone_its_vote_goes_before_the_lead() {
    let mut led = Led::of(&[1], &[2]);
    let order = Event::MoveLeader {
        to: Some(n(2)),
        reason: HandoverReason::Shutdown,
    };
    assert_eq!(led.node.c.last_successor(), Some(n(2)));
    let actions = led.node.tell(order);
    let number = drop_number(&actions);
    let actions = led.node.tell(Event::Dropped { number });
    let released = actions.iter().find_map(|a| match a {
        Action::SendRelease { release, to } => Some((*release, to.clone())),
        _ => None,
    });
    let (release, to) = released.expect("released");
    assert!(to.contains(&n(2)), "it has promised itself as well");
    let actions = led.node.tell(Event::ReleaseAnswered {
        from: n(2),
        release,
    });
    assert_eq!(transferred(&actions), None, "it could not win");
    led.note(actions);
    assert_eq!(led.asked, [set(&[2])]);
    led.news.voters = vec![set(&[1]), set(&[2])];
    led.tell_news();
    let settles = |led: &Led| {
        led.seen
            .contains(&Action::SettleMembership { forward: true })
    };
    assert!(!settles(&led), "it is under way");
    led.pass(3000);
    assert!(settles(&led), "it may have been given up half way");
    assert_eq!(
        led.node.c.handing_over_to(),
        Some(n(2)),
        "there is no way back while it is joint"
    );
    assert_eq!(led.node.c.holding(), None);
    led.news.voters = vec![set(&[2])];
    led.news.learners = set(&[1]);
    let news = led.news.clone();
    assert_eq!(transferred(&led.node.tell(Event::Raft(news))), Some(n(2)));
}

#[test]
fn a_vote_that_cannot_be_given_away_stays_and_so_does_the_address() {
    let mut led = Led::of(&[1], &[2]);
    led.live = vec![1];
    let actions = led.node.tell(Event::MoveLeader {
        to: Some(n(2)),
        reason: HandoverReason::Shutdown,
    });
    let number = drop_number(&actions);
    led.node.tell(Event::Dropped { number });
    led.pass(1000);
    assert_eq!(led.node.c.holding(), None);
    led.pass(400);
    assert_eq!(led.node.c.handing_over_to(), None);
    assert!(led.node.c.holding().is_some(), "it goes on");
}

#[test]
fn a_leader_that_votes_no_more_does_not_say_by_itself_what_is() {
    let mut led = Led::of(&[1, 2, 3], &[]);
    let is_current = |led: &Led| led.node.c.is_current(at(led.node.now));
    assert!(is_current(&led));
    led.news.voters = vec![set(&[1, 2, 3]), set(&[2])];
    led.tell_news();
    assert!(!is_current(&led), "node-2 may have elected itself");
    led.news.voters = vec![set(&[2])];
    led.tell_news();
    assert!(!is_current(&led));
}
