//! What goes wrong and for how long, and what is mended.

use super::{Planted, World};
use ha_core::controller::{Event, HandoverReason};

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

impl World {
    pub(super) fn mend(&mut self, story: &mut dyn FnMut(u64, &str)) {
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

    pub(super) fn make_fault(&mut self, story: &mut dyn FnMut(u64, &str)) {
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
