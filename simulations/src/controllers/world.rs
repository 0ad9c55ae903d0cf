//! The simulated world: a network that delays, loses and cuts, an ideal log, and a plan of faults.

mod election;
mod faults;
mod mail;

pub use faults::FAULTS;

use super::Summary;
use super::invariant::OneHolder;
use super::node::{Node, PROMISE};
use super::rng::Rng;
use election::{ELECTION_US, Election};
use ha_core::balance::mix;
use ha_core::check::Kind;
use ha_core::command::{Command, Stamped};
use ha_core::controller::{Action, Event, NodeReport};
use ha_core::id::NodeId;
use ha_core::lease::{Lease, Refusal};
use ha_core::model::{Member, Role};
use ha_core::state::ClusterState;
use ha_core::time::Timestamp;
use ha_core::version::CURRENT;
use mail::{Letter, Message};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A bug that is put in on purpose, to see that the invariant finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Planted {
    /// The product as it is.
    #[default]
    Nothing,
    /// A voter that restarts forgets whom it promised and does not wait.
    NoWaitAfterRestart,
    /// A voter promises itself to whoever asks with the highest term.
    PromisesToTwo,
    /// The lease is longer than the promise.
    LeaseTooLong,
    /// Validity is counted from the arrival of the answer.
    CountedFromArrival,
}

impl Planted {
    /// All of them, with the word that names each.
    pub const ALL: [(&'static str, Planted); 4] = [
        ("no-wait-after-restart", Planted::NoWaitAfterRestart),
        ("promises-to-two", Planted::PromisesToTwo),
        ("lease-too-long", Planted::LeaseTooLong),
        ("counted-from-arrival", Planted::CountedFromArrival),
    ];
}

/// Faults end so long before the run does.
const CALM_US: u64 = 6_000_000;

pub struct World {
    rng: Rng,
    now: u64,
    nodes: Vec<Node>,
    state: ClusterState,
    election: Election,
    /// What is on its way; what arrives next is last.
    mail: Vec<Letter>,
    cut: BTreeSet<(usize, usize)>,
    cut_until: u64,
    down_until: Vec<u64>,
    planted: Planted,
    watch: OneHolder,
    summary: Summary,
    next_fault: u64,
    held_us: u64,
    total_us: u64,
}

impl World {
    /// A cluster that has formed.
    pub fn new(seed: u64, nodes: u8, planted: Planted) -> Self {
        let mut rng = Rng::new(seed);
        let lease = if planted == Planted::LeaseTooLong {
            PROMISE * 3 / 2
        } else {
            PROMISE * 4 / 5
        };
        let mut state = ClusterState::default();
        let make = |i: u8| Node {
            id: NodeId::from_random(u128::from(i)),
            rate: 1_000_000,
            running: None,
            kernel: None,
            durable_term: 0,
            lease,
            wake: 0,
        };
        let mut all: Vec<Node> = (1..=nodes).map(make).collect();
        for (i, node) in all.iter_mut().enumerate() {
            let ip = IpAddr::from([10, 0, 0, i as u8 + 1]);
            let member = Member {
                id: node.id,
                name: format!("node-{}", i + 1),
                listen: (ip, 7400).into(),
                address: ip,
                role: Role::Server,
                version: String::new(),
                speaks: CURRENT,
                checks: Kind::known_set(),
            };
            // Commands of the simulation itself are never refused: names and addresses are unique.
            let _ = state.apply(&Stamped {
                at: Timestamp(1),
                by: String::new(),
                command: Command::AddMember(member),
                request: None,
            });
            node.rate = rng.within(995_000, 1_005_000); // Half a percent of drift, either way.
            node.start(0, false);
        }
        let n = all.len();
        let timeout = (0..n)
            .map(|_| rng.within(ELECTION_US.0, ELECTION_US.1))
            .collect();
        World {
            rng,
            now: 1_000_000,
            nodes: all,
            state,
            election: Election {
                term: 0,
                leader: None,
                heard: vec![0; n],
                timeout,
            },
            mail: Vec::new(),
            cut: BTreeSet::new(),
            cut_until: 0,
            down_until: vec![0; n],
            planted,
            watch: OneHolder::default(),
            summary: Summary::default(),
            next_fault: 3_000_000,
            held_us: 0,
            total_us: 0,
        }
    }

    pub fn run(mut self, seconds: u64, story: &mut dyn FnMut(u64, &str)) -> Summary {
        let end = self.now + seconds * 1_000_000;
        let facts = self.state.facts.clone();
        for i in 0..self.nodes.len() {
            self.tell(i, Event::Applied(facts.clone()), story);
        }
        let faults_end = end - CALM_US;
        while self.now < end && self.summary.violation.is_none() {
            let next = self.next_change(faults_end).min(end);
            let (passed, answering) = (
                next - self.now,
                self.nodes
                    .iter()
                    .filter(|n| n.answers(self.now).is_some())
                    .count(),
            );
            self.total_us += passed;
            self.held_us += if answering == 1 { passed } else { 0 };
            self.now = next;
            self.hear();
            if self.now < faults_end {
                self.make_fault(story);
            }
            self.mend(story);
            self.deliver(story);
            self.elect(story);
            for i in 0..self.nodes.len() {
                if self.nodes[i].is_due(self.now) {
                    self.tell(i, Event::Tick, story);
                }
            }
            self.look(story);
        }
        (self.summary.total_ms, self.summary.held_ms) = (self.total_us / 1000, self.held_us / 1000);
        if self.summary.violation.is_none()
            && !self.nodes.iter().any(|n| n.answers(self.now).is_some())
        {
            self.violate("the faults are over and nobody answers".to_owned(), story);
        }
        self.summary.changes = self.watch.changes;
        self.summary
    }

    /// When something happens next: between these instants nothing does.
    fn next_change(&self, faults_end: u64) -> u64 {
        let mail = self.mail.last().map(|letter| letter.at);
        let fault = (self.next_fault < faults_end).then_some(self.next_fault);
        let healed = (!self.cut.is_empty()).then_some(self.cut_until);
        let of_nodes = self.nodes.iter().enumerate().map(|(i, n)| {
            n.next_change(self.now, self.gives_up(i))
                .unwrap_or(self.down_until[i])
        });
        of_nodes
            .chain(mail)
            .chain(fault)
            .chain(healed)
            .min()
            .map_or(u64::MAX, |at| at.max(self.now + 1))
    }

    fn look(&mut self, story: &mut dyn FnMut(u64, &str)) {
        let now = self.now;
        if let Err(what) = self.watch.look(
            self.nodes
                .iter()
                .filter_map(|n| Some((n.id, n.answers(now)?))),
        ) {
            self.violate(what, story);
        }
    }

    fn violate(&mut self, what: String, story: &mut dyn FnMut(u64, &str)) {
        self.note(&format!("VIOLATION {what}"), story);
        self.summary.violation = Some(format!("{} ms: {what}", self.now / 1000));
    }

    fn note(&mut self, what: &str, story: &mut dyn FnMut(u64, &str)) {
        for b in self.now.to_le_bytes().iter().chain(what.as_bytes()) {
            self.summary.trace = mix(self.summary.trace ^ u64::from(*b));
        }
        story(self.now, what);
    }

    fn tell(&mut self, i: usize, event: Event, story: &mut dyn FnMut(u64, &str)) {
        let actions = self.nodes[i].tell(self.now, event);
        for action in actions {
            self.act(i, action, story);
        }
    }

    fn act(&mut self, i: usize, action: Action, story: &mut dyn FnMut(u64, &str)) {
        let local = self.nodes[i].local(self.now);
        match action {
            Action::SendLease { lease, to } => {
                let me = self.nodes[i].id;
                let own = self.nodes[i].running.as_mut().map(|r| {
                    r.promise.note_term(lease.term);
                    r.promise.on_lease(local, me, lease)
                });
                if own == Some(Ok(())) {
                    self.send_all(i, &to, || Message::Lease(lease));
                    self.tell(i, answered(me, lease, Ok(())), story);
                }
            }
            Action::SendRelease { release, to } => {
                let me = self.nodes[i].id;
                if let Some(r) = &mut self.nodes[i].running {
                    r.promise.on_release(me, release);
                }
                self.send_all(i, &to, || Message::Release(release));
            }
            Action::Hold { epoch, until } => {
                let left = self.nodes[i].global(until.saturating_since(local));
                let until = self.now + left;
                if self.nodes[i].answers(self.now).is_none() {
                    self.note(&format!("node-{} answers, epoch {epoch}", i + 1), story);
                }
                self.nodes[i].kernel = Some((until, epoch));
            }
            Action::Drop { why, number } => {
                self.note(&format!("node-{} drops: {why:?}", i + 1), story);
                self.nodes[i].kernel = None;
                self.tell(i, Event::Dropped { number }, story);
            }
            Action::Campaign => {
                self.summary.campaigns += 1;
                self.try_to_lead(i, story);
            }
            Action::Transfer { to } => {
                self.note(&format!("node-{} asks {to} to lead", i + 1), story);
                if let Some(target) = self.nodes.iter().position(|n| n.id == to)
                    && self.can_reach(i, target)
                {
                    self.try_to_lead(target, story);
                }
            }
            _ => {}
        }
    }
}

fn answered(from: NodeId, lease: Lease, result: Result<(), Refusal>) -> Event {
    Event::LeaseAnswered {
        from,
        lease,
        result,
        report: NodeReport {
            eligible: true,
            ..NodeReport::default()
        },
    }
}
