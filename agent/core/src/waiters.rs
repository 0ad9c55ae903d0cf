//! Who waits for a slot, and who gets the next one. Pure; slots are counted by whoever has them.
//!
//! ```text
//!   a client that belongs to one server --> that server's queue --+
//!                                                                 +--> a slot is freed: the older of the two heads
//!   any other, when all servers are full --> the backend's queue -+
//! ```
//!
//! As HAProxy has it: a queue for each server and one for the backend, and a freed slot goes to the oldest of those
//! who may use it, whichever queue they are in.

use crate::id::ServerId;
use std::collections::{BTreeMap, VecDeque};

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Queue {
    /// A slot of this server.
    Server(ServerId),
    /// A slot of any server that takes newcomers, but for these: they have failed this session.
    Backend {
        /// Servers that are not wanted; a handful at most.
        except: Vec<ServerId>,
    },
}

impl Queue {
    /// Whether a slot of that server will do; `open`: it takes newcomers.
    pub fn takes(&self, server: ServerId, open: bool) -> bool {
        match self {
            Queue::Server(wanted) => *wanted == server,
            Queue::Backend { except } => open && !except.contains(&server),
        }
    }
}

/// Those who wait for slots of one backend, in the order in which they came.
#[derive(Debug)]
pub struct Waiters<T> {
    came: u64,
    of_server: BTreeMap<ServerId, VecDeque<(u64, T)>>,
    of_backend: VecDeque<(u64, Queue, T)>,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Waiters {
            came: 0,
            of_server: BTreeMap::new(),
            of_backend: VecDeque::new(),
        }
    }
}

impl<T> Waiters<T> {
    /// Takes a place at the end of that queue.
    pub fn push(&mut self, queue: Queue, who: T) {
        self.came += 1;
        match queue {
            Queue::Server(server) => {
                let line = self.of_server.entry(server).or_default();
                line.push_back((self.came, who));
            }
            Queue::Backend { .. } => self.of_backend.push_back((self.came, queue, who)),
        }
    }

    /// Takes out who gets a slot of that server: the oldest that may use it. Those that are `gone` are passed over.
    pub fn next(&mut self, server: ServerId, open: bool, gone: impl Fn(&T) -> bool) -> Option<T> {
        let line = self.of_server.entry(server).or_default();
        while line.front().is_some_and(|(_, who)| gone(who)) {
            line.pop_front();
        }
        while self.of_backend.front().is_some_and(|(_, _, who)| gone(who)) {
            self.of_backend.pop_front();
        }
        let own = line.front().map(|(came, _)| *came);
        let any = self
            .of_backend
            .iter()
            .position(|(_, queue, who)| queue.takes(server, open) && !gone(who));
        let any_came = any.and_then(|at| self.of_backend.get(at)).map(|w| w.0);
        let found = match (own, any_came) {
            (Some(own), Some(any)) if own < any => line.pop_front().map(|(_, who)| who),
            (Some(_), None) => line.pop_front().map(|(_, who)| who),
            _ => any
                .and_then(|at| self.of_backend.remove(at))
                .map(|(_, _, who)| who),
        };
        if self.of_server.get(&server).is_some_and(VecDeque::is_empty) {
            self.of_server.remove(&server);
        }
        found
    }

    /// Forgets those that are gone and have not come to their turn.
    pub fn forget(&mut self, gone: impl Fn(&T) -> bool) {
        self.of_backend.retain(|(_, _, who)| !gone(who));
        for line in self.of_server.values_mut() {
            line.retain(|(_, who)| !gone(who));
        }
        self.of_server.retain(|_, line| !line.is_empty());
    }

    /// Places that are taken, by those who are gone as well.
    pub fn len(&self) -> usize {
        let in_lines: usize = self.of_server.values().map(VecDeque::len).sum();
        self.of_backend.len() + in_lines
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ServerId = ServerId(1);
    const B: ServerId = ServerId(2);

    fn any_but(except: &[ServerId]) -> Queue {
        Queue::Backend {
            except: except.to_vec(),
        }
    }

    /// Four who came in this order: any, A, any but A, B.
    fn four() -> Waiters<u8> {
        let mut waiters = Waiters::default();
        for (who, queue) in [
            any_but(&[]),
            Queue::Server(A),
            any_but(&[A]),
            Queue::Server(B),
        ]
        .into_iter()
        .enumerate()
        {
            waiters.push(queue, who as u8 + 1);
        }
        waiters
    }

    fn all(waiters: &mut Waiters<u8>, freed: &[ServerId]) -> Vec<Option<u8>> {
        let next = |server: &ServerId| waiters.next(*server, true, |_| false);
        freed.iter().map(next).collect()
    }

    #[test]
    fn a_freed_slot_goes_to_the_oldest_that_may_use_it() {
        for (freed, served) in [
            ([A, A, A, B], [Some(1), Some(2), None, Some(3)]),
            ([B, B, B, A], [Some(1), Some(3), Some(4), Some(2)]),
            ([A, B, B, A], [Some(1), Some(3), Some(4), Some(2)]),
        ] {
            assert_eq!(all(&mut four(), &freed), served, "{freed:?}");
        }
    }

    #[test]
    fn a_server_that_takes_nobody_new_serves_its_own_queue_only() {
        let mut waiters = four();
        assert_eq!(waiters.next(A, false, |_| false), Some(2));
        assert_eq!(waiters.next(A, false, |_| false), None);
        assert_eq!(waiters.next(A, true, |_| false), Some(1));
    }

    /// The oldest of a plain list that may use a slot of that server.
    fn oldest(list: &mut Vec<(Queue, u64)>, server: ServerId, open: bool) -> Option<u64> {
        let at = list
            .iter()
            .position(|(queue, _)| queue.takes(server, open))?;
        Some(list.remove(at).1)
    }

    #[test]
    fn whatever_comes_and_is_freed_a_slot_goes_to_the_oldest_that_may_use_it() {
        let (mut waiters, mut list) = (Waiters::default(), Vec::new());
        for turn in 0..20_000u64 {
            let dice = crate::balance::mix(turn);
            let server = ServerId((dice >> 8) as u32 % 4);
            match dice % 5 {
                0 | 1 => {
                    let queue = match dice >> 16 & 3 {
                        0 => any_but(&[]),
                        1 => any_but(&[server]),
                        _ => Queue::Server(server),
                    };
                    list.push((queue.clone(), turn));
                    waiters.push(queue, turn);
                }
                _ => {
                    let open = dice >> 20 & 3 > 0;
                    let served = waiters.next(server, open, |_| false);
                    assert_eq!(served, oldest(&mut list, server, open), "turn {turn}");
                }
            }
            assert_eq!(waiters.len(), list.len());
        }
    }

    #[test]
    fn who_is_gone_is_passed_over_and_forgotten() {
        let mut waiters = four();
        assert_eq!(waiters.next(B, true, |who| *who < 4), Some(4));
        let mut waiters = four();
        waiters.forget(|who| *who != 2);
        assert_eq!((waiters.len(), waiters.is_empty()), (1, false));
        assert_eq!(waiters.next(A, true, |_| false), Some(2));
        assert!(waiters.is_empty());
    }
}
