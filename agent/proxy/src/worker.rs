//! One worker: a thread with a runtime of its own, on which sessions live and die.
//!
//! ```text
//!   view  --> follow the view: look up counters, end sessions of servers that are cut
//!   gate  --> tick: end all sessions when the lease is over; idle timers; byte counts
//!   listeners --> accept loops --> sessions
//! ```
//!
//! Nothing here is shared with other workers but [`Shared`]. What a session does is in `session`,
//! where it goes in `ha_core::dispatch`.

use super::binder::Binder;
use super::gate::WatchedGate;
use super::report::EventSender;
use super::settings::Clock;
use super::stats::{RouteStats, Stats};
use super::sweep::Sweep;
use super::table::Table;
use crate::platform::sockets::{self as sys, Reserve};
use crate::platform::splice::Pipes;
use crate::tcp::accept::{self, Arrival};
use crate::tcp::carry::BUFFER;
use crate::tcp::listen::{self, Listeners};
use futures_util::future::select_all;
use ha_core::balance::{AllTurns, mix};
use ha_core::close::CloseReason;
use ha_core::view::{Cut, Routes, View};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;

/// How often a worker with sessions looks at the gate, at least.
const TICK: Duration = Duration::from_millis(5);
/// How often a worker without sessions looks around.
const IDLE_TICK: Duration = Duration::from_millis(500);

/// What all workers share.
pub(super) struct Shared {
    /// Clients come through the kernel's interception: the address is not bound by this process alone.
    pub(super) intercepts: bool,
    pub(super) clock: Clock,
    pub(super) gate: Arc<WatchedGate>,
    pub(super) binder: Arc<dyn Binder>,
    pub(super) stats: Stats,
    pub(super) report: EventSender,
    pub(super) stop: CancellationToken,
    pub(super) sessions_max: u64,
    pub(super) pipes_open: Arc<AtomicUsize>,
    pub(super) pipes_max: usize,
    pub(super) tables: Vec<Arc<Table>>,
    /// When each worker last went round, in nanoseconds of the clock.
    pub(super) beats: Vec<AtomicU64>,
}

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

/// The view with the counters of everything in it.
pub(super) struct Snapshot {
    pub(super) view: Arc<View>,
    pub(super) stats: Rc<RouteStats>,
}

/// The state of one worker. Never leaves its thread.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) table: Arc<Table>,
    pub(super) sweep: Sweep,
    pub(super) buffer: RefCell<Box<[u8]>>,
    pub(super) pipes: Pipes,
    pub(super) reserve: RefCell<Reserve>,
    /// Fires when servers or frontends have changed.
    pub(super) routes_changed: Notify,
    /// Fires when there is a session where there was none.
    pub(super) first_session: Notify,
    view: RefCell<watch::Receiver<Arc<View>>>,
    snapshot: RefCell<Rc<Snapshot>>,
    pub(super) turns: RefCell<AllTurns>,
    random: Cell<u64>,
    sessions_begun: Cell<u64>,
    started: tokio::time::Instant,
    coarse: Cell<u32>,
}

/// The life of a worker's thread.
pub(super) fn run(start: Start) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = LocalSet::new();
    let stop = start.shared.stop.clone();
    runtime.block_on(local.run_until(async {
        let worker = Worker::new(&start);
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

impl Worker {
    fn new(start: &Start) -> Rc<Worker> {
        let shared = start.shared.clone();
        let mut view = start.view.clone();
        let first = view.borrow_and_update().clone();
        let stats = Rc::new(shared.stats.of_routes(&first.routes));
        let mut reserve = Reserve::default();
        reserve.refill();
        Rc::new(Worker {
            index: start.index,
            table: shared.tables[start.index].clone(),
            sweep: Sweep::default(),
            buffer: RefCell::new(vec![0; BUFFER].into_boxed_slice()),
            pipes: Pipes::new(shared.pipes_open.clone(), shared.pipes_max),
            reserve: RefCell::new(reserve),
            routes_changed: Notify::new(),
            first_session: Notify::new(),
            view: RefCell::new(view),
            snapshot: RefCell::new(Rc::new(Snapshot { view: first, stats })),
            turns: RefCell::new(AllTurns::of_worker(start.index)),
            random: Cell::new(mix((shared.clock.wall)().0 ^ (start.index as u64) << 56)),
            sessions_begun: Cell::new(0),
            started: tokio::time::Instant::now(),
            coarse: Cell::new(0),
            shared,
        })
    }

    /// The newest view.
    pub(super) fn snapshot(&self) -> Rc<Snapshot> {
        // An error says that nobody publishes any more; the last view stays.
        if self.view.borrow().has_changed().unwrap_or(false) {
            self.refresh();
        }
        self.snapshot.borrow().clone()
    }

    fn refresh(&self) {
        let view = self.view.borrow_mut().borrow_and_update().clone();
        let old = self.snapshot.borrow().clone();
        let changed = !Arc::ptr_eq(&view.routes, &old.view.routes);
        let stats = if changed {
            Rc::new(self.shared.stats.of_routes(&view.routes))
        } else {
            old.stats.clone()
        };
        let routes = view.routes.clone();
        self.snapshot.replace(Rc::new(Snapshot { view, stats }));
        drop(old);
        if changed {
            self.shared.stats.forget_all_but(&routes);
            self.turns
                .borrow_mut()
                .keep_only(|backend| routes.backends.iter().any(|b| b.name == backend));
            self.cut_servers(&routes);
            self.routes_changed.notify_waiters();
        }
    }

    fn cut_servers(&self, routes: &Routes) {
        let snapshot = self.snapshot.borrow().clone();
        let in_use = |id| {
            snapshot
                .stats
                .servers
                .get(&id)
                .is_some_and(|s| s.pool.used() > 0)
        };
        let cut: BTreeMap<_, _> = routes
            .backends
            .iter()
            .flat_map(|b| &b.servers)
            .filter_map(|s| Some((s.id, s.cut?)))
            .filter(|(id, _)| in_use(*id))
            .collect();
        if cut.is_empty() {
            return;
        }
        self.table.cut(|entry| {
            // Who only waits for it goes elsewhere.
            Some(match cut.get(&entry.held_server()?)? {
                Cut::Down => CloseReason::ServerDown,
                Cut::Maintenance => CloseReason::Maintenance,
                Cut::Drained => CloseReason::Drained,
            })
        });
    }

    /// The number of a new session; no other of this proxy has it.
    pub(super) fn next_session(&self) -> u64 {
        self.sessions_begun.set(self.sessions_begun.get() + 1);
        // The worker in front; programs that read numbers as doubles get all of it.
        (self.index as u64 + 1) << 45 | self.sessions_begun.get()
    }

    /// A number that is random enough to balance by.
    pub(super) fn random(&self) -> u64 {
        self.random.set(self.random.get().wrapping_add(1));
        mix(self.random.get())
    }

    /// Milliseconds since the worker began, as of the last tick: at most [`TICK`] old while there are sessions.
    pub(super) fn coarse(&self) -> u32 {
        self.coarse.get()
    }

    pub(super) fn update_coarse(&self) {
        // It wraps after 49 days; differences are taken wrapping.
        self.coarse.set(self.started.elapsed().as_millis() as u32);
    }

    /// Makes closing this client's connection a reset; or nothing at all once the lease has run out.
    pub(super) fn turn_away(&self, client: &impl AsFd) {
        if self.shared.intercepts && self.shared.gate.has_lapsed((self.shared.clock.now)()) {
            sys::vanish_on_close(client)
        } else {
            sys::reset_on_close(client)
        }
    }

    /// Whether this node may serve right now.
    pub(super) fn may_serve(&self) -> bool {
        self.shared.gate.is_open((self.shared.clock.now)())
    }
}

async fn follow_view(worker: &Worker, mut view: watch::Receiver<Arc<View>>) {
    while view.changed().await.is_ok() {
        worker.snapshot();
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
        worker.sweep();
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
