//! Messages of the lease protocol on their way: late, lost, or kept by the kernel of a paused node.

use super::{Planted, World, answered};
use crate::controllers::node::PROMISE;
use ha_core::controller::Event;
use ha_core::id::NodeId;
use ha_core::lease::{Lease, Promise, Refusal};
use ha_core::time::Instant;
use std::collections::BTreeSet;

pub(super) enum Message {
    Lease(Lease),
    LeaseAnswer(Lease, Result<(), Refusal>),
    Release(Lease),
    ReleaseAnswer(Lease),
}

pub(super) struct Letter {
    pub(super) at: u64,
    from: usize,
    to: usize,
    message: Message,
}

impl World {
    pub(super) fn send_all(
        &mut self,
        from: usize,
        to: &BTreeSet<NodeId>,
        message: impl Fn() -> Message,
    ) {
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

    pub(super) fn deliver(&mut self, story: &mut dyn FnMut(u64, &str)) {
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
}
