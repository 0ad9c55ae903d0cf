//! The slots of the servers, as one process counts them, and who waits for one. Who gets a freed slot is decided by the
//! product's `ha_core::waiters`; what the product's pools do beside it, for many workers, is done here for one.
//!
//! ```text
//!   enter --> a place in the line --its turn--> Slot --drop--> whoever is next
//! ```

use super::scheduler;
use super::universe::Universe;
use ha_core::balance::{Loads, open_to_newcomers};
use ha_core::id::ServerId;
use ha_core::view::{Routes, ServerView, View};
use ha_core::waiters::{Queue, Waiters};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::{oneshot, watch};

/// Those of one process.
pub struct Slots {
    /// Tells it from others, also of the same node.
    process: u64,
    universe: Weak<Universe>,
    view: watch::Receiver<Arc<View>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiters: Waiters<(u64, oneshot::Sender<Slot>)>,
    pools: BTreeMap<ServerId, Pool>,
    /// What the pools were made for.
    seen: Option<Arc<Routes>>,
    came: u64,
}

/// What is free of one server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pool {
    /// 0: as many as come.
    pub max: u32,
    /// Whether it takes newcomers.
    pub open: bool,
    /// Slots that somebody has.
    pub used: u32,
    waiting: u32,
}

impl Pool {
    /// Whether one more may have a slot.
    pub fn is_free(&self) -> bool {
        self.max == 0 || self.used < self.max
    }
}

/// A slot of one server; dropping it gives it to the next in line.
pub struct Slot {
    slots: Option<Arc<Slots>>,
    server: ServerId,
}

/// A place in the line; dropping it leaves the line.
pub struct Place {
    slots: Arc<Slots>,
    number: u64,
    server: Option<ServerId>,
    pub turn: oneshot::Receiver<Slot>,
}

impl Slots {
    /// Of a process with that view.
    pub fn of(universe: &Arc<Universe>, view: watch::Receiver<Arc<View>>) -> Arc<Slots> {
        Arc::new(Slots {
            process: universe.with(|s| s.invariants.slots.begin()),
            universe: Arc::downgrade(universe),
            view,
            inner: Mutex::default(),
        })
    }

    /// Tells it from others.
    pub fn process(&self) -> u64 {
        self.process
    }

    /// A place in the line of `queue`; its turn may be now. `may`: what may serve this client, whatever it waits for.
    pub fn enter(self: &Arc<Self>, queue: Queue, client: usize, may: Queue) -> Place {
        let mut inner = self.inner();
        inner.came += 1;
        let number = inner.came;
        if let Some(universe) = self.universe.upgrade() {
            universe.with(|s| {
                s.invariants
                    .slots
                    .on_came(self.process, number, client, may)
            });
        }
        let (sender, turn) = oneshot::channel();
        let server = match &queue {
            Queue::Server(server) => Some(*server),
            Queue::Backend { .. } => None,
        };
        if let Some(server) = server {
            inner.pools.entry(server).or_default().waiting += 1;
        }
        inner.waiters.push(queue, (number, sender));
        self.serve_the_line(&mut inner);
        Place {
            slots: self.clone(),
            number,
            server,
            turn,
        }
    }

    /// Takes over what the view says of servers, and serves who may have a slot now.
    pub fn look(self: &Arc<Self>) {
        self.serve_the_line(&mut self.inner());
    }

    /// Every server with what is free of it.
    pub fn pools(&self) -> BTreeMap<ServerId, Pool> {
        self.inner().pools.clone()
    }

    fn serve_the_line(self: &Arc<Self>, inner: &mut Inner) {
        self.follow(inner);
        let servers: Vec<ServerId> = inner.pools.keys().copied().collect();
        for server in servers {
            self.hand_out(inner, server);
        }
    }

    fn follow(&self, inner: &mut Inner) {
        let routes = self.view.borrow().routes.clone();
        if inner.seen.as_ref().is_some_and(|r| Arc::ptr_eq(r, &routes)) {
            return;
        }
        for pool in inner.pools.values_mut() {
            pool.open = false;
        }
        for backend in &routes.backends {
            let open = open_to_newcomers(backend);
            for (i, server) in backend.servers.iter().enumerate() {
                let pool = inner.pools.entry(server.id).or_default();
                (pool.max, pool.open) = (server.maxconn, open.contains(&i));
            }
        }
        inner.seen = Some(routes);
    }

    fn hand_out(self: &Arc<Self>, inner: &mut Inner, server: ServerId) {
        while let Some(pool) = inner.pools.get_mut(&server).filter(|p| p.is_free()) {
            let open = pool.open;
            let gone = |(_, turn): &(u64, oneshot::Sender<Slot>)| turn.is_closed();
            let Some((number, turn)) = inner.waiters.next(server, open, gone) else {
                return;
            };
            pool.used += 1;
            let slot = Slot {
                slots: Some(self.clone()),
                server,
            };
            match turn.send(slot) {
                Ok(()) => self.granted(server, number, *pool),
                // It has just left. Disarmed: the slot's drop would want the lock that is held here.
                Err(mut refused) => {
                    refused.slots = None;
                    pool.used -= 1;
                }
            }
        }
    }

    fn granted(&self, server: ServerId, number: u64, pool: Pool) {
        let Some(universe) = self.universe.upgrade() else {
            return;
        };
        universe.with(|s| {
            let slots = &mut s.invariants.slots;
            let outcome = slots.on_granted(self.process, number, server, pool);
            s.check(outcome);
        });
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    pub fn server(&self) -> ServerId {
        self.server
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(slots) = self.slots.take() else {
            return;
        };
        let mut inner = slots.inner();
        if let Some(pool) = inner.pools.get_mut(&self.server) {
            pool.used -= 1;
        }
        slots.serve_the_line(&mut inner);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.slots.inner();
        if let Some(pool) = self.server.and_then(|s| inner.pools.get_mut(&s)) {
            pool.waiting -= 1;
        }
        drop(inner);
        if let Some(universe) = self.slots.universe.upgrade() {
            let process = self.slots.process;
            universe.with(|s| s.invariants.slots.on_left(process, self.number));
        }
    }
}

/// What a process carries, as the product's balance asks for it.
pub struct Carried<'a>(pub &'a Slots);

impl Loads for Carried<'_> {
    fn sessions(&self, server: &ServerView) -> u32 {
        let pools = self.0.inner();
        let pool = pools.pools.get(&server.id).copied().unwrap_or_default();
        pool.used + pool.waiting
    }

    fn random(&mut self) -> u64 {
        scheduler::draw()
    }
}
