//! The simulated world: a network that delays, loses and cuts, an ideal log, and a plan of faults.

use super::Summary;
use super::invariant::OneHolder;
use super::node::{Node, PROMISE};
use super::rng::Rng;
use ha_core::balance::mix;
use ha_core::check::Kind;
use ha_core::command::{Command, Stamped};
use ha_core::controller::{Action, Event, HandoverReason, NodeReport, RaftNews, RaftRole};
use ha_core::id::NodeId;
use ha_core::lease::{Ballot, Lease, Promise, Refusal, VoteDecision};
use ha_core::model::{Member, Role};
use ha_core::state::ClusterState;
use ha_core::time::{Instant, Timestamp};
use ha_core::version::CURRENT;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What can go wrong, and what an operator can do.
pub const FAULTS: [&str; 9] = [
    "crash",
    "crash and restart at once",
    "all others restart at once",
    "pause",
    "cut",
    "cut one way",
    "move",
    "move and cut",
    "move and pause",
];

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
const ELECTION_US: (u64, u64) = (150_000, 300_000);

enum Message {
    Lease(Lease),
    LeaseAnswer(Lease, Result<(), Refusal>),
    Release(Lease),
    ReleaseAnswer(Lease),
}

struct Letter {
    /// When it arrives.
    at: u64,
    from: usize,
    to: usize,
    message: Message,
}

/// The ideal log's idea of leadership: one leader per term; entries commit at once while a majority is reachable.
struct Election {
    term: u64,
    leader: Option<usize>,
    /// When each node last heard the leader's log.
    heard: Vec<u64>,
    timeout: Vec<u64>,
}

/// See the module.
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

    /// Lets time pass.
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

    fn send_all(&mut self, from: usize, to: &BTreeSet<NodeId>, message: impl Fn() -> Message) {
        let targets: Vec<usize> = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, n)| to.contains(&n.id))
            .map(|(i, _)| i)
            .collect();
        for target in targets {
            self.send(from, target, message());
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if self.cut.contains(&(from, to)) || self.rng.percent(1) {
            return;
        }
        // Now and then a message is very late: its validity must not count from its arrival.
        let delay = if self.rng.percent(3) {
            self.rng.within(20_000, 400_000)
        } else {
            self.rng.within(200, 5_000)
        };
        self.put(Letter {
            at: self.now + delay,
            from,
            to,
            message,
        });
    }

    /// Behind what arrives at the same instant.
    fn put(&mut self, letter: Letter) {
        let place = self.mail.partition_point(|other| other.at > letter.at);
        self.mail.insert(place, letter);
    }

    fn deliver(&mut self, story: &mut dyn FnMut(u64, &str)) {
        while let Some(letter) = self.mail.pop_if(|letter| letter.at <= self.now) {
            let Some(running) = &self.nodes[letter.to].running else {
                continue;
            };
            if running.paused_until > self.now {
                // The kernel of a paused node keeps what comes until it is looked at.
                let at = running.paused_until + 1;
                self.put(Letter { at, ..letter });
                continue;
            }
            self.receive(letter.from, letter.to, letter.message, story);
        }
    }

    fn receive(
        &mut self,
        from: usize,
        to: usize,
        message: Message,
        story: &mut dyn FnMut(u64, &str),
    ) {
        let (sender, local) = (self.nodes[from].id, self.nodes[to].local(self.now));
        let planted = self.planted;
        let Some(running) = &mut self.nodes[to].running else {
            return;
        };
        match message {
            Message::Lease(lease) => {
                if planted == Planted::PromisesToTwo {
                    running.promise = Promise::starting(Instant::ZERO, PROMISE, 0);
                }
                running.promise.note_term(lease.term); // A leader's entries come before its lease.
                let result = running.promise.on_lease(local, sender, lease);
                if result.is_ok() {
                    self.tell(to, Event::Promised { to: sender }, story);
                }
                self.send(to, from, Message::LeaseAnswer(lease, result));
            }
            Message::LeaseAnswer(mut lease, result) => {
                if planted == Planted::CountedFromArrival {
                    lease.sent = local;
                }
                self.tell(to, answered(sender, lease, result), story);
            }
            Message::Release(release) => {
                running.promise.on_release(sender, release);
                self.send(to, from, Message::ReleaseAnswer(release));
            }
            Message::ReleaseAnswer(release) => self.tell(
                to,
                Event::ReleaseAnswered {
                    from: sender,
                    release,
                },
                story,
            ),
        }
    }

    fn can_reach(&self, a: usize, b: usize) -> bool {
        a == b
            || (!self.cut.contains(&(a, b))
                && !self.cut.contains(&(b, a))
                && self.nodes[a].is_awake(self.now)
                && self.nodes[b].is_awake(self.now))
    }

    /// The ideal log: the leader is heard by whom it reaches.
    fn hear(&mut self) {
        let Some(leader) = self.election.leader else {
            return;
        };
        for i in 0..self.nodes.len() {
            if self.can_reach(leader, i) {
                self.election.heard[i] = self.now;
            }
        }
    }

    /// Whoever has heard nothing for long tries to lead.
    fn elect(&mut self, story: &mut dyn FnMut(u64, &str)) {
        for i in 0..self.nodes.len() {
            if self.nodes[i].is_awake(self.now) && self.gives_up(i) <= self.now {
                self.election.timeout[i] = self.rng.within(ELECTION_US.0, ELECTION_US.1);
                self.election.heard[i] = self.now;
                self.try_to_lead(i, story);
            }
        }
    }

    /// When a node has heard nothing for too long.
    fn gives_up(&self, i: usize) -> u64 {
        self.election.heard[i] + self.election.timeout[i]
    }

    /// A pre-vote, then a vote, with the product's guard in both directions. A deposed leader does not know until it hears.
    fn try_to_lead(&mut self, i: usize, story: &mut dyn FnMut(u64, &str)) {
        let term = self.election.term + 1;
        for ballot in [Ballot::PreVote, Ballot::Vote] {
            let votes = self.ballot(i, term, ballot);
            if votes * 2 <= self.nodes.len() {
                return self.note(
                    &format!("node-{} is not elected: {votes} in the {ballot:?}", i + 1),
                    story,
                );
            }
        }
        self.summary.elections += 1;
        self.election.term = term;
        self.election.leader = Some(i);
        self.note(&format!("node-{} leads term {term}", i + 1), story);
        for v in 0..self.nodes.len() {
            // A node that cannot be reached goes on believing what it believed.
            if self.can_reach(i, v) && self.nodes[v].running.is_some() {
                self.nodes[v].durable_term = term;
                let news = self.news(v);
                self.tell(v, Event::Raft(news), story);
            }
        }
    }

    /// How many nodes vote for `i`, itself included.
    fn ballot(&mut self, i: usize, term: u64, ballot: Ballot) -> usize {
        let (me, local) = (self.nodes[i].id, self.nodes[i].local(self.now));
        let allowed = self.nodes[i]
            .running
            .as_mut()
            .is_some_and(|r| r.promise.vote_out(local, me, term, ballot) == VoteDecision::Pass);
        if !allowed || !self.nodes[i].is_awake(self.now) {
            return 0;
        }
        let mut votes = 1;
        for v in 0..self.nodes.len() {
            let local = self.nodes[v].local(self.now);
            if v == i || !self.can_reach(i, v) {
                continue;
            }
            let Some(r) = &mut self.nodes[v].running else {
                continue;
            };
            if r.promise.vote_in(local, me, term, ballot) == VoteDecision::Pass {
                votes += 1;
                if ballot == Ballot::Vote {
                    r.promise.vote_answered(term);
                }
            }
        }
        votes
    }

    fn news(&self, i: usize) -> RaftNews {
        let leads = self.election.leader == Some(i);
        RaftNews {
            role: if leads {
                RaftRole::Leader
            } else {
                RaftRole::Follower
            },
            term: self.election.term,
            leader: self.election.leader.map(|l| self.nodes[l].id),
            voters: vec![self.nodes.iter().map(|n| n.id).collect()],
            applied_term: self.election.term,
            ..RaftNews::default()
        }
    }

    fn mend(&mut self, story: &mut dyn FnMut(u64, &str)) {
        if !self.cut.is_empty() && self.now >= self.cut_until {
            self.cut.clear();
            self.note("the cut is healed", story);
        }
        for i in 0..self.nodes.len() {
            if self.nodes[i].running.is_none() && self.now >= self.down_until[i] {
                self.note(&format!("node-{} starts", i + 1), story);
                self.start(i, story);
            }
            // Whoever is awake and reaches the leader learns who leads.
            let knows = self.nodes[i]
                .running
                .as_ref()
                .is_some_and(|r| r.controller.raft().term == self.election.term);
            if !knows
                && self
                    .election
                    .leader
                    .is_some_and(|l| l != i && self.can_reach(l, i))
            {
                let news = self.news(i);
                self.tell(i, Event::Raft(news), story);
            }
        }
    }

    fn start(&mut self, i: usize, story: &mut dyn FnMut(u64, &str)) {
        // What a crashed run left in the kernel is removed at start.
        self.nodes[i].kernel = None;
        self.nodes[i].start(self.now, self.planted != Planted::NoWaitAfterRestart);
        self.election.heard[i] = self.now;
        let facts = self.state.facts.clone();
        self.tell(i, Event::Applied(facts), story);
    }

    fn crash(&mut self, i: usize, for_us: u64, story: &mut dyn FnMut(u64, &str)) {
        self.note(
            &format!("node-{} crashes for {} ms", i + 1, for_us / 1000),
            story,
        );
        self.nodes[i].running = None;
        self.down_until[i] = self.now + for_us;
        if self.election.leader == Some(i) {
            self.election.leader = None;
        }
    }

    fn make_fault(&mut self, story: &mut dyn FnMut(u64, &str)) {
        if self.now < self.next_fault {
            return;
        }
        self.next_fault = self.now + self.rng.within(300_000, 2_000_000);
        let kind = self.rng.within(0, FAULTS.len() as u64) as usize;
        self.summary.faults[kind] += 1;
        let n = self.nodes.len() as u64;
        let leader = self.election.leader.unwrap_or(0);
        // The leader is the interesting one, more often than chance would have it.
        let victim = if self.rng.percent(60) {
            leader
        } else {
            self.rng.within(0, n) as usize
        };
        let length = self.rng.within(50_000, 2_500_000);
        self.note(
            &format!("FAULT {} at node-{}", FAULTS[kind], victim + 1),
            story,
        );
        match FAULTS[kind] {
            "crash" => self.crash(victim, length, story),
            "crash and restart at once" => {
                self.crash(victim, 1_000, story);
                self.cut_off(leader, length, story);
            }
            // Whoever promised itself to the leader has forgotten it, and the leader does not hear of that.
            "all others restart at once" => {
                self.cut_off(leader, length, story);
                for other in (0..self.nodes.len()).filter(|o| *o != leader) {
                    self.crash(other, 1_000, story);
                }
            }
            "pause" => self.pause(victim, length),
            "cut" => self.cut_off(victim, length, story),
            "cut one way" => {
                let out = self.rng.percent(50);
                self.cut.extend(
                    (0..self.nodes.len())
                        .filter(|o| *o != victim)
                        .map(|o| if out { (victim, o) } else { (o, victim) }),
                );
                self.cut_until = self.now + length;
            }
            _ => {
                let to = self.nodes[(leader + 1) % self.nodes.len()].id;
                self.tell(
                    leader,
                    Event::MoveLeader {
                        to: Some(to),
                        reason: HandoverReason::Operator("simulation".into()),
                    },
                    story,
                );
                match FAULTS[kind] {
                    "move and cut" => self.cut_off(leader, length, story),
                    "move and pause" => self.pause(leader, length),
                    _ => {}
                }
            }
        }
    }

    fn pause(&mut self, i: usize, for_us: u64) {
        let until = self.now + for_us;
        if let Some(r) = &mut self.nodes[i].running {
            r.paused_until = until;
        }
    }

    fn cut_off(&mut self, i: usize, for_us: u64, story: &mut dyn FnMut(u64, &str)) {
        self.note(
            &format!("node-{} is cut off for {} ms", i + 1, for_us / 1000),
            story,
        );
        self.cut.extend(
            (0..self.nodes.len())
                .filter(|o| *o != i)
                .flat_map(|o| [(i, o), (o, i)]),
        );
        self.cut_until = self.now + for_us;
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
