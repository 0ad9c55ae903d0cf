//! One worker: a thread with a runtime of its own, on which sessions live and die.
//!
//! ```text
//!   view  --> follow the view: look up counters, end sessions of servers that are cut
//!   gate  --> tick: end all sessions when the lease is over; look at sessions that are due; byte counts
//!   listeners --> accept loops --> sessions
//! ```

use super::shared::Shared;
use super::tcp::accept::{self, Arrival};
use super::tcp::listen::{self, Listeners};
use super::worker::Worker;
use futures_util::future::select_all;
use ha_core::close::CloseReason;
use ha_core::view::View;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

/// How often a worker with sessions looks at the gate, at least.
const TICK: Duration = Duration::from_millis(5);
/// How often a worker without sessions looks around.
const IDLE_TICK: Duration = Duration::from_millis(500);

/// What a worker is given to start with.
pub(super) struct Start {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) view: watch::Receiver<Arc<View>>,
    /// Listeners of its own, open from the beginning.
    pub(super) own: Vec<(Arc<TcpListener>, Arrival)>,
    /// Listeners that all workers share and that come and go.
    pub(super) common: watch::Receiver<Arc<Listeners>>,
    /// Whether this worker opens and closes the common ones.
    pub(super) keeps: Option<watch::Sender<Arc<Listeners>>>,
}

/// The life of a worker's thread.
pub(super) fn run(start: Start) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    let stop = start.shared.stop.clone();
    runtime.block_on(local.run_until(async {
        let worker = Worker::new(start.index, start.shared.clone(), start.view.clone());
        let mut essential = vec![spawn_local(accept::follow_listeners(
            worker.clone(),
            start.common,
        ))];
        for (listener, arrival) in start.own {
            essential.push(spawn_local(accept::accept_loop(
                worker.clone(),
                listener,
                arrival,
            )));
        }
        if let Some(publish) = start.keeps {
            essential.push(spawn_local(listen::keep_listening(
                worker.shared.clone(),
                start.view.clone(),
                publish,
            )));
        }
        // These never end by themselves. Should one fail, the worker ends, and with it every session: without
        // `tick` a session might outlive the lease.
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tick(&worker) => {}
            () = follow_view(&worker, start.view.clone()) => {}
            _ = select_all(essential) => {}
        }
        worker.table.cut(|_| Some(CloseReason::Shutdown));
    }));
    // Dropping the tasks resets what is left of their sessions.
    drop(local);
    Ok(())
}

async fn follow_view(worker: &Worker, mut view: watch::Receiver<Arc<View>>) {
    while view.changed().await.is_ok() {
        worker.counted_view();
    }
    // Nobody publishes any more; the last view stays.
    std::future::pending().await
}

async fn tick(worker: &Worker) {
    let shared = &worker.shared;
    let mut gate = shared.gate.subscribe();
    let mut closings = shared.gate.closings();
    loop {
        worker.update_coarse();
        shared.beats[worker.index].store((shared.clock.now)().0, Relaxed);
        let busy = worker.table.len() > 0;
        let left = shared.gate.left((shared.clock.now)());
        let closed = std::mem::replace(&mut closings, shared.gate.closings()) != closings;
        if (left.is_zero() && busy) || closed {
            worker.table.cut(|_| Some(CloseReason::LeaseEnded));
        }
        worker.sweep.turn(&worker.table, worker.coarse());
        shared.report.settle();
        let pause = if left.is_zero() {
            IDLE_TICK
        } else {
            left.min(IDLE_TICK)
        };
        let pause = if busy { pause.min(TICK) } else { pause };
        tokio::select! {
            biased;
            changed = gate.changed() => if changed.is_err() { return },
            () = worker.first_session.notified(), if !busy => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
