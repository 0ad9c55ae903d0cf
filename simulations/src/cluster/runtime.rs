//! What the consensus library runs on: tasks, timers and random numbers of the node whose task it is.

use super::scheduler::{clock_of, current, draw, in_world, spawn_on};
use super::watch::FairWatch;
use openraft_rt::{AsyncRuntime, Instant, OptionalSend};
use openraft_rt_tokio::{TokioMpsc, TokioMutex, TokioOneshot};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

/// An instant on the clock of the node whose task asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeInstant(i64);

impl Add<Duration> for NodeInstant {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        NodeInstant(self.0 + d.as_nanos() as i64)
    }
}
impl AddAssign<Duration> for NodeInstant {
    fn add_assign(&mut self, d: Duration) {
        *self = *self + d;
    }
}
impl Sub<Duration> for NodeInstant {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        NodeInstant(self.0 - d.as_nanos() as i64)
    }
}
impl SubAssign<Duration> for NodeInstant {
    fn sub_assign(&mut self, d: Duration) {
        *self = *self - d;
    }
}
impl Sub for NodeInstant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos((self.0 - earlier.0).max(0) as u64)
    }
}
impl Instant for NodeInstant {
    fn now() -> Self {
        NodeInstant(clock_of(current()) as i64)
    }
}

/// The runtime that the consensus library gets, on the simulated clock.
#[derive(Debug)]
pub struct NodeRuntime;

impl AsyncRuntime for NodeRuntime {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = tokio::task::JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = NodeInstant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = TokioMpsc;
    type Watch = FairWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    fn spawn<T>(task: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        spawn_on(current(), task)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        super::scheduler::sleep(duration)
    }

    fn sleep_until(deadline: NodeInstant) -> Self::Sleep {
        Self::sleep(deadline - NodeInstant::now())
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout(in_world(duration), future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: NodeInstant,
        future: F,
    ) -> Self::Timeout<R, F> {
        Self::timeout(deadline - NodeInstant::now(), future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        error.is_panic()
    }

    fn thread_rng() -> SmallRng {
        SmallRng::seed_from_u64(draw())
    }

    fn new(_threads: usize) -> Self {
        NodeRuntime
    }

    fn block_on<F, T>(&mut self, _: F) -> T
    where
        F: Future<Output = T>,
    {
        unreachable!("a simulated node never blocks its thread")
    }
}
