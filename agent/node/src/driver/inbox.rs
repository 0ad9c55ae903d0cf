//! What reaches a driver, and what may be lost on the way.
//!
//! ```text
//!   consensus --newest only--+                      level: nothing of it is ever lost
//!   applied, drops ----------+--> Inbox::next --> Driver
//!   everything else --[4096]-+                      at the bound it is lost; each kind is repeated or asked again
//! ```
//!
//! | lost | made good by |
//! |---|---|
//! | an answer to a `Lease`, a promise, a report, session counts | the next one |
//! | an answer to a `Release` | the handover's deadline |
//! | the result of a check | the schedule takes it for lost and checks again (`core/src/controller/checks.rs`) |
//! | a connect that failed or worked | nothing: it is one of many |

use ha_core::controller::{Controller, Event, RaftNews};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Inputs that may wait; above it they are lost.
const QUEUE_MAX: usize = 4096;
/// Drops whose end nobody has looked at yet; of more, the oldest are forgotten.
const DROPS_MAX: usize = 64;

/// What reaches the driver.
pub enum Input {
    /// News for the controller.
    Event(Box<Event>),
    /// Something was applied: look.
    Applied,
    /// A question to the controller, answered between two steps.
    Ask(Box<dyn FnOnce(&Controller) + Send>),
}

/// How others reach the driver. Cheap to clone.
#[derive(Clone)]
pub struct DriverHandle {
    queue: mpsc::Sender<Input>,
    newest: Arc<Newest>,
}

/// What the driver reads.
pub struct Inbox {
    queue: mpsc::Receiver<Input>,
    newest: Arc<Newest>,
    through: Option<Through>,
    /// Neither side keeps the other waiting.
    queue_is_next: bool,
}

/// What is done to an event on its way; `None` loses it.
type Through = Box<dyn FnMut(Event) -> Option<Event> + Send>;

/// News of which only the newest counts.
#[derive(Default)]
struct Newest {
    changed: Notify,
    held: Mutex<Held>,
    /// The longest turn since it was last read, in nanoseconds.
    longest_turn: AtomicU64,
}

#[derive(Default)]
struct Held {
    raft: Option<RaftNews>,
    applied: bool,
    drops: VecDeque<u64>,
    /// Since it was last said.
    lost: u64,
}

/// A handle and the inbox it leads to.
pub fn channel() -> (DriverHandle, Inbox) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let newest = Arc::<Newest>::default();
    let handle = DriverHandle {
        queue: sender,
        newest: newest.clone(),
    };
    let inbox = Inbox {
        queue,
        newest,
        through: None,
        queue_is_next: false,
    };
    (handle, inbox)
}

impl DriverHandle {
    /// Tells the controller something. Never blocks; what is lost at the bound, and what makes it good, stands in
    /// the module.
    pub fn tell(&self, event: Event) {
        match event {
            Event::Raft(news) => self.hold(|held| held.raft = Some(news)),
            Event::Dropped { number } => self.hold(|held| {
                if held.drops.len() == DROPS_MAX {
                    held.drops.pop_front();
                }
                held.drops.push_back(number);
            }),
            event => {
                let input = Input::Event(Box::new(event));
                if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(input) {
                    self.newest.held().lost += 1;
                }
            }
        }
    }

    /// Tells the controller what nobody repeats, and waits until there is room for it. `false`: the driver has ended.
    pub async fn order(&self, event: Event) -> bool {
        self.queue.send(Input::Event(Box::new(event))).await.is_ok()
    }

    /// Says that something was applied.
    pub fn applied(&self) {
        self.hold(|held| held.applied = true);
    }

    /// Asks the controller something; `None` when the driver has ended.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Controller) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, waiting) = tokio::sync::oneshot::channel();
        let ask = Input::Ask(Box::new(move |c| drop(answer.send(question(c)))));
        self.queue.send(ask).await.ok()?;
        waiting.await.ok()
    }

    /// The longest that the driver has taken from an input to being ready for the next one.
    pub fn longest_turn(&self) -> Duration {
        Duration::from_nanos(self.newest.longest_turn.load(Ordering::Relaxed))
    }

    pub(super) fn note_turn(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.newest.longest_turn.fetch_max(nanos, Ordering::Relaxed);
    }

    fn hold(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.newest.held());
        self.newest.changed.notify_one();
    }
}

impl Inbox {
    /// Every event passes through `other`, for who watches or disturbs them.
    #[must_use]
    pub fn through(mut self, other: impl FnMut(Event) -> Option<Event> + Send + 'static) -> Self {
        self.through = Some(Box::new(other));
        self
    }

    /// The next input; `None` when nobody is left who could send one. What was not taken stays.
    pub async fn next(&mut self) -> Option<Input> {
        loop {
            match (self.any().await?, &mut self.through) {
                (Input::Event(event), Some(through)) => {
                    if let Some(event) = through(*event) {
                        return Some(Input::Event(Box::new(event)));
                    }
                }
                (input, _) => return Some(input),
            }
        }
    }

    async fn any(&mut self) -> Option<Input> {
        self.queue_is_next = !self.queue_is_next;
        if self.queue_is_next
            && let Ok(input) = self.queue.try_recv()
        {
            return Some(input);
        }
        loop {
            if let Some(input) = self.newest.take() {
                return Some(input);
            }
            tokio::select! {
                biased;
                () = self.newest.changed.notified() => {}
                input = self.queue.recv() => return input,
            }
        }
    }
}

impl Newest {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Input> {
        let mut held = self.held();
        let lost = std::mem::take(&mut held.lost);
        let event = |event| Some(Input::Event(Box::new(event)));
        let input = if let Some(number) = held.drops.pop_front() {
            event(Event::Dropped { number })
        } else if let Some(news) = held.raft.take() {
            event(Event::Raft(news))
        } else {
            std::mem::take(&mut held.applied).then_some(Input::Applied)
        };
        drop(held);
        if lost > 0 {
            tracing::warn!(
                lost,
                "the driver could not keep up: news were lost that come again"
            );
        }
        input
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ha_core::id::{NodeId, ServerId};

    fn news(term: u64) -> RaftNews {
        RaftNews {
            term,
            ..RaftNews::default()
        }
    }

    async fn all(inbox: &mut Inbox) -> Vec<Input> {
        let mut found = Vec::new();
        while let Ok(Some(input)) =
            tokio::time::timeout(std::time::Duration::ZERO, inbox.next()).await
        {
            found.push(input);
        }
        found
    }

    fn events(inputs: &[Input]) -> Vec<&Event> {
        let mut found: Vec<&Event> = Vec::new();
        for input in inputs {
            if let Input::Event(event) = input {
                found.push(event);
            }
        }
        found
    }

    /// The newest state of consensus, what was applied and what was dropped survive a queue that is full.
    #[tokio::test(start_paused = true)]
    async fn a_full_queue_loses_only_what_comes_again() {
        let (handle, mut inbox) = channel();
        for n in 0..2 * QUEUE_MAX as u32 {
            handle.tell(Event::ConnectFailed(ServerId(n)));
        }
        handle.tell(Event::Raft(news(1)));
        handle.tell(Event::Raft(news(2)));
        handle.tell(Event::Dropped { number: 7 });
        handle.tell(Event::Dropped { number: 8 });
        handle.applied();
        handle.applied();
        let found = all(&mut inbox).await;
        let (events, applied) = (
            events(&found),
            found.iter().filter(|i| matches!(i, Input::Applied)).count(),
        );
        let count = |wanted: &Event| events.iter().filter(|e| **e == wanted).count();
        assert_eq!(applied, 1);
        assert_eq!(
            (
                count(&Event::Raft(news(1))),
                count(&Event::Raft(news(2))),
                count(&Event::Dropped { number: 7 }),
                count(&Event::Dropped { number: 8 })
            ),
            (0, 1, 1, 1)
        );
        assert_eq!(events.len(), QUEUE_MAX + 3);
    }

    /// News that come faster than they are read do not keep the queue waiting, nor the other way round.
    #[tokio::test(start_paused = true)]
    async fn neither_side_keeps_the_other_waiting() {
        let (handle, mut inbox) = channel();
        for n in 0..10 {
            handle.tell(Event::Promised {
                to: NodeId::from_random(n),
            });
        }
        let mut promised = 0;
        for _ in 0..20 {
            handle.applied();
            if let Some(Input::Event(_)) = inbox.next().await {
                promised += 1;
            }
        }
        assert_eq!(promised, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_waits_for_room() {
        let (handle, mut inbox) = channel();
        for n in 0..QUEUE_MAX as u32 {
            handle.tell(Event::ConnectFailed(ServerId(n)));
        }
        let sender = handle.clone();
        let (told, found) = tokio::join!(sender.order(Event::Tick), all(&mut inbox));
        assert!(told);
        let ticks = events(&found).into_iter().filter(|e| **e == Event::Tick);
        assert_eq!(ticks.count(), 1);
    }
}
