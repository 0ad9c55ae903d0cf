//! The state of one worker, which never leaves its thread: the view, counters looked up once, sessions, a buffer.
//!
//! Nothing here is shared with other workers but [`Shared`]. What goes on in a worker is in `run`, what a session does in
//! `tcp`, where it goes in `ha_core::dispatch`.

use super::shared::Shared;
use super::stats::RouteStats;
use super::sweep::Sweep;
use super::table::Table;
use crate::platform::sockets::{self as sys, Reserve};
use crate::platform::splice::Pipes;
use ha_core::balance::{AllTurns, mix};
use ha_core::close::CloseReason;
use ha_core::view::{Cut, Routes, View};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// What one read takes at most: the size of the worker's buffer, in bytes.
pub(super) const BUFFER: usize = 64 * 1024;

/// The view with the counters of everything in it.
pub(super) struct CountedView {
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
    counted: RefCell<Rc<CountedView>>,
    pub(super) turns: RefCell<AllTurns>,
    random: Cell<u64>,
    sessions_begun: Cell<u64>,
    started: tokio::time::Instant,
    coarse: Cell<u32>,
}

impl Worker {
    /// Number `index`, without sessions.
    pub(super) fn new(
        index: usize,
        shared: Arc<Shared>,
        mut view: watch::Receiver<Arc<View>>,
    ) -> Rc<Worker> {
        let first = view.borrow_and_update().clone();
        let stats = Rc::new(shared.stats.of_routes(&first.routes));
        let mut reserve = Reserve::default();
        reserve.refill();
        Rc::new(Worker {
            index,
            table: shared.tables[index].clone(),
            sweep: Sweep::default(),
            buffer: RefCell::new(vec![0; BUFFER].into_boxed_slice()),
            pipes: Pipes::new(shared.pipes_open.clone(), shared.pipes_max),
            reserve: RefCell::new(reserve),
            routes_changed: Notify::new(),
            first_session: Notify::new(),
            view: RefCell::new(view),
            counted: RefCell::new(Rc::new(CountedView { view: first, stats })),
            turns: RefCell::new(AllTurns::of_worker(index)),
            random: Cell::new(mix((shared.clock.wall)().0 ^ (index as u64) << 56)),
            sessions_begun: Cell::new(0),
            started: tokio::time::Instant::now(),
            coarse: Cell::new(0),
            shared,
        })
    }

    pub(super) fn counted_view(&self) -> Rc<CountedView> {
        // An error says that nobody publishes any more; the last view stays.
        if self.view.borrow().has_changed().unwrap_or(false) {
            self.refresh();
        }
        self.counted.borrow().clone()
    }

    fn refresh(&self) {
        let view = self.view.borrow_mut().borrow_and_update().clone();
        let old = self.counted.borrow().clone();
        let changed = !Arc::ptr_eq(&view.routes, &old.view.routes);
        let stats = if changed {
            Rc::new(self.shared.stats.of_routes(&view.routes))
        } else {
            old.stats.clone()
        };
        let routes = view.routes.clone();
        self.counted.replace(Rc::new(CountedView { view, stats }));
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
        let counted = self.counted.borrow().clone();
        let in_use = |id| {
            counted
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
