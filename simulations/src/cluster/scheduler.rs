//! Whose task runs. Every task belongs to a node (or to the world, node 0): it sees that node's clock,
//! draws that node's random numbers, stands still in its pause and dies in its crash.
//!
//! One run, one thread: everything here is thread-local. Time is tokio's paused clock, which jumps from
//! one timer to the next.

use ha_core::balance::mix;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::{AbortHandle, JoinHandle};

/// The world itself: network, disks, clients, faults.
pub const WORLD: usize = 0;

struct NodeTasks {
    /// Millionths by which its clock is faster than the world's.
    drift_ppm: i64,
    /// What its clock shows at the beginning, in nanoseconds.
    offset: u64,
    /// Nanoseconds for which its clock stood still.
    lost: u64,
    /// Since when its clock stands still.
    stopped: Option<u64>,
    paused: bool,
    wakers: Vec<Waker>,
    tasks: Vec<AbortHandle>,
    draws: u64,
}

struct Scheduler {
    base: tokio::time::Instant,
    seed: u64,
    current: usize,
    nodes: Vec<NodeTasks>,
}

thread_local! {
    static SCHEDULER: RefCell<Option<Scheduler>> = const { RefCell::new(None) };
}

fn with<T>(look: impl FnOnce(&mut Scheduler) -> T) -> T {
    SCHEDULER.with_borrow_mut(|s| look(s.as_mut().expect("a run has begun on this thread")))
}

/// Begins a run on this thread. `drifts`: of each node from 1 on, in millionths.
pub fn begin(seed: u64, drifts: &[i64]) {
    let node = |(index, drift_ppm): (usize, i64)| {
        // Clocks of different machines show different times; boot-time clocks are never compared.
        let offset = 1_000_000_000 + mix(seed ^ index as u64) % 3_600_000_000_000;
        NodeTasks {
            drift_ppm,
            offset,
            lost: 0,
            stopped: None,
            paused: false,
            wakers: Vec::new(),
            tasks: Vec::new(),
            draws: 0,
        }
    };
    let nodes = std::iter::once(0)
        .chain(drifts.iter().copied())
        .enumerate()
        .map(node)
        .collect();
    SCHEDULER.set(Some(Scheduler {
        base: tokio::time::Instant::now(),
        seed,
        current: WORLD,
        nodes,
    }));
}

/// World time since the run began, in nanoseconds.
pub fn world_now() -> u64 {
    with(|s| s.base.elapsed().as_nanos() as u64)
}

/// The node whose task runs.
pub fn current() -> usize {
    with(|s| s.current)
}

/// What the clock of a node shows, in nanoseconds.
pub fn clock_of(node: usize) -> u64 {
    with(|s| {
        let now = s.base.elapsed().as_nanos() as u64;
        let n = &s.nodes[node];
        let ran = n.stopped.unwrap_or(now) - n.lost;
        let drift = i128::from(ran) * i128::from(n.drift_ppm) / 1_000_000;
        n.offset + (i128::from(ran) + drift) as u64
    })
}

/// How long a duration on the current node's clock takes in the world.
pub fn in_world(local: Duration) -> Duration {
    with(|s| {
        let rate = 1_000_000 + s.nodes[s.current].drift_ppm;
        // Rounded up: who sleeps until an instant must find that it has come, or would ask for ever.
        Duration::from_nanos((local.as_nanos() * 1_000_000).div_ceil(rate as u128) as u64)
    })
}

/// The next random number of the current node.
pub fn draw() -> u64 {
    with(|s| {
        let (seed, current) = (s.seed, s.current);
        let node = &mut s.nodes[current];
        node.draws += 1;
        mix(mix(seed.wrapping_add(mix(current as u64))).wrapping_add(node.draws))
    })
}

/// A number below `bound`, of the current node's.
pub fn below(bound: u64) -> u64 {
    draw() % bound.max(1)
}

/// A number in a range, of the current node's.
pub fn between(from: u64, to: u64) -> u64 {
    from + below(to - from)
}

/// Whether something happens that happens so often in a thousand times.
pub fn happens(per_mille: u64) -> bool {
    below(1000) < per_mille
}

/// Stops a node's tasks; its clock goes on or stands still.
pub fn pause(node: usize, clock_goes_on: bool) {
    let now = world_now();
    with(|s| {
        let n = &mut s.nodes[node];
        n.paused = true;
        n.stopped = (!clock_goes_on).then_some(now);
    });
}

/// Lets a node go on, if it was paused.
pub fn resume(node: usize) {
    let now = world_now();
    let wakers = with(|s| {
        let n = &mut s.nodes[node];
        n.paused = false;
        n.lost += n.stopped.take().map_or(0, |since| now - since);
        std::mem::take(&mut n.wakers)
    });
    wakers.into_iter().for_each(Waker::wake);
}

/// Whether a node is paused.
pub fn is_paused(node: usize) -> bool {
    with(|s| s.nodes[node].paused)
}

/// Ends all tasks of a node, wherever they are.
pub fn crash(node: usize) {
    let tasks = with(|s| std::mem::take(&mut s.nodes[node].tasks));
    tasks.into_iter().for_each(|t| t.abort());
    resume(node);
}

/// Starts a task of a node.
#[allow(
    clippy::disallowed_methods,
    reason = "this is what the simulation spawns with"
)]
pub fn spawn_on<T>(node: usize, task: T) -> JoinHandle<T::Output>
where
    T: Future + Send + 'static,
    T::Output: Send + 'static,
{
    let handle = tokio::spawn(Owned {
        node,
        task: Box::pin(task),
    });
    if node != WORLD {
        with(|s| {
            let tasks = &mut s.nodes[node].tasks;
            if tasks.len() >= 256 {
                tasks.retain(|t| !t.is_finished());
            }
            tasks.push(handle.abort_handle());
        });
    }
    handle
}

/// Waits, on the clock of the current node.
pub fn sleep(local: Duration) -> tokio::time::Sleep {
    tokio::time::sleep(in_world(local))
}

/// Waits, in world time.
pub fn world_ms(ms: u64) -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_millis(ms))
}

struct Owned<F> {
    node: usize,
    task: Pin<Box<F>>,
}

impl<F: Future> Future for Owned<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let node = self.node;
        let outer = with(|s| {
            if s.nodes[node].paused {
                s.nodes[node].wakers.push(cx.waker().clone());
                return None;
            }
            Some(std::mem::replace(&mut s.current, node))
        });
        let Some(outer) = outer else {
            return Poll::Pending;
        };
        let polled = self.task.as_mut().poll(cx);
        with(|s| s.current = outer);
        polled
    }
}
