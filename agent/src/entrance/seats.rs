//! So many connections of one kind at a time, of each who opens them and in all. When there is no seat left, the one
//! who has sat longest and asks nothing gives his up.

use ha_core::id::NodeId;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Whose connection it is, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of somebody at that address (see [`super::limiter::share_of`]).
    Address(IpAddr),
    Node(NodeId),
    User(String),
}

#[derive(Debug)]
pub(super) struct Seats {
    each: usize,
    all: usize,
    next: u64,
    /// In the order in which they were taken.
    taken: BTreeMap<u64, Seat>,
}

#[derive(Debug)]
struct Seat {
    whose: Whose,
    /// How many of its questions are under way.
    asks: u32,
    asked: u64,
    leave: oneshot::Sender<()>,
}

/// Seats as they are shared.
pub(super) type Shared = Arc<Mutex<Seats>>;

/// `each`: of one who opens them; `all`: together.
pub(super) fn seats(each: usize, all: usize) -> Shared {
    Arc::new(Mutex::new(Seats {
        each,
        all,
        next: 0,
        taken: BTreeMap::new(),
    }))
}

impl Seats {
    /// The seat that is given up for one of `whose`, if one must be. `Err`: nobody can be asked to.
    fn in_the_way(&self, whose: &Whose) -> Result<Option<u64>, ()> {
        let of_it = |seat: &&Seat| seat.whose == *whose;
        let share_is_used = self.taken.values().filter(of_it).count() >= self.each;
        if !share_is_used && self.taken.len() < self.all {
            return Ok(None);
        }
        let gives_up =
            |(_, seat): &(&u64, &Seat)| seat.asks == 0 && (!share_is_used || seat.whose == *whose);
        let oldest = self.taken.iter().find(gives_up);
        oldest.map(|(number, _)| Some(*number)).ok_or(())
    }

    fn give_up(&mut self, number: u64) {
        if let Some(seat) = self.taken.remove(&number) {
            // Who has gone by himself does not hear it.
            seat.leave.send(()).ok();
        }
    }
}

/// A seat for one of `whose`, and what tells it to leave. `None`: all are taken by who asks something.
pub(super) fn take(seats: &Shared, whose: Whose) -> Option<(Seated, oneshot::Receiver<()>)> {
    let mut inside = lock(seats);
    if let Some(number) = inside.in_the_way(&whose).ok()? {
        inside.give_up(number);
    }
    let (leave, told) = oneshot::channel();
    let number = inside.next;
    inside.next += 1;
    let seat = Seat {
        whose,
        asks: 0,
        asked: 0,
        leave,
    };
    inside.taken.insert(number, seat);
    drop(inside);
    let seats = seats.clone();
    Some((Seated { seats, number }, told))
}

/// The oldest one who asks nothing leaves, whether there are seats or not: `false` when there is none.
pub(super) fn make_room(seats: &Shared) -> bool {
    let mut inside = lock(seats);
    let idle = inside.taken.iter().find(|(_, seat)| seat.asks == 0);
    let Some(number) = idle.map(|(number, _)| *number) else {
        return false;
    };
    inside.give_up(number);
    true
}

/// Held while the connection is there.
#[derive(Debug)]
pub(super) struct Seated {
    seats: Shared,
    number: u64,
}

impl Seated {
    /// For whoever finds out what is asked.
    pub(super) fn visit(&self) -> Visit {
        Visit(self.seats.clone(), self.number)
    }

    /// Whether a question is under way, and how many there were.
    pub(super) fn asks(&self) -> (bool, u64) {
        let inside = lock(&self.seats);
        let seat = inside.taken.get(&self.number);
        seat.map_or((false, 0), |seat| (seat.asks > 0, seat.asked))
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        lock(&self.seats).taken.remove(&self.number);
    }
}

/// A connection that has a seat.
#[derive(Clone, Debug)]
pub struct Visit(Shared, u64);

impl Visit {
    /// A question that may be asked is under way until this is dropped: its connection is not closed for others.
    pub fn asks(&self) -> Asking {
        if let Some(seat) = lock(&self.0).taken.get_mut(&self.1) {
            seat.asks += 1;
            seat.asked += 1;
        }
        Asking(self.clone())
    }
}

/// A question under way, until it is dropped; see [`Visit::asks`].
#[derive(Debug)]
pub struct Asking(Visit);

impl Drop for Asking {
    fn drop(&mut self) {
        let Visit(seats, number) = &self.0;
        if let Some(seat) = lock(seats).taken.get_mut(number) {
            seat.asks = seat.asks.saturating_sub(1);
        }
    }
}

fn lock(seats: &Shared) -> MutexGuard<'_, Seats> {
    seats.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(i: u8) -> Whose {
        Whose::Address(IpAddr::from([10, 0, 0, i]))
    }

    fn was_told(told: &mut oneshot::Receiver<()>) -> bool {
        told.try_recv().is_ok()
    }

    #[test]
    fn the_oldest_who_asks_nothing_goes_first() {
        let seats = seats(2, 3);
        let (one, mut one_told) = take(&seats, from(1)).unwrap();
        let (_two, mut two_told) = take(&seats, from(2)).unwrap();
        let (_three, mut three_told) = take(&seats, from(3)).unwrap();
        let asking = one.visit().asks();
        assert_eq!(one.asks(), (true, 1));
        let (four, mut four_told) = take(&seats, from(4)).unwrap();
        assert!(!was_told(&mut one_told), "he is being answered");
        assert!(was_told(&mut two_told) && !was_told(&mut three_told));
        drop(asking);
        assert_eq!(one.asks(), (false, 1));
        let _five = take(&seats, from(5)).unwrap();
        assert!(was_told(&mut one_told) && !was_told(&mut four_told));
        drop((one, four));
        assert_eq!(lock(&seats).taken.len(), 2, "who left is not remembered");
    }

    #[test]
    fn who_has_used_his_share_gives_up_one_of_his_own() {
        let seats = seats(2, 9);
        let (_other, mut other_told) = take(&seats, from(1)).unwrap();
        let (_first, mut first_told) = take(&seats, from(2)).unwrap();
        let _second = take(&seats, from(2)).unwrap();
        let _third = take(&seats, from(2)).unwrap();
        assert!(was_told(&mut first_told) && !was_told(&mut other_told));
    }

    #[test]
    fn nobody_who_asks_is_sent_away() {
        let seats = seats(9, 2);
        let inside = [from(1), from(2)].map(|whose| take(&seats, whose).unwrap());
        let asking: Vec<_> = inside.iter().map(|(seat, _)| seat.visit().asks()).collect();
        assert!(take(&seats, from(3)).is_none());
        assert!(!make_room(&seats));
        drop(asking);
        assert!(make_room(&seats));
        assert!(take(&seats, from(3)).is_some());
    }
}
