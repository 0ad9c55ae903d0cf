//! A proxy on loopback with small servers behind it, for the tests of the data plane.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails; its tasks belong to its runtime"
)]
#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

mod clients;
mod servers;

pub use clients::*;
pub use servers::*;

use ha_core::balance::Ring;
use ha_core::dispatch::{Remembered, UnderWay};
use ha_core::id::ServerId;
use ha_core::model::{
    AdminState, Balance, BindingMode, ClientLimit, Frontend, OnDown, Persistence, PortRange, Sticky,
};
use ha_core::stick::{StickEntry, StickIndex, StickKey, StickTable};
use ha_core::time::{Instant, Timestamp};
use ha_core::view::{BackendView, FrontendView, Routes, ServerView, View};
use ha_proxy::{Binder, Binding, Clock, Proxy, ProxyEvent, ProxySettings, Reach, WatchedGate};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};

/// Long enough for anything that should happen at all.
pub const BOUND: Duration = Duration::from_secs(10);

fn read_clock(which: libc::clockid_t) -> Duration {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is a valid timespec.
    unsafe { libc::clock_gettime(which, &raw mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

pub fn boot() -> Instant {
    Instant::from(read_clock(libc::CLOCK_BOOTTIME))
}

pub fn wall() -> Timestamp {
    Timestamp(read_clock(libc::CLOCK_REALTIME).as_millis() as u64)
}

/// An address of this test's own in 127/8, so that tests do not meet.
pub fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id();
    IpAddr::from([
        127,
        1 + (pid >> 8) as u8 % 200,
        pid as u8,
        NEXT.fetch_add(1, Ordering::Relaxed),
    ])
}

/// Ports that were free a moment ago.
pub async fn free_ports<const N: usize>(address: IpAddr) -> [u16; N] {
    let mut held = Vec::new();
    for _ in 0..N {
        held.push(TcpListener::bind((address, 0)).await.unwrap());
    }
    std::array::from_fn(|i| held[i].local_addr().unwrap().port())
}

pub fn server(id: u32, at: SocketAddr) -> ServerView {
    ServerView {
        id: ServerId(id),
        name: format!("s{id}"),
        address: Some(at.ip()),
        port: Some(at.port()),
        weight: 1,
        backup: false,
        maxconn: 0,
        admin: AdminState::Ready,
        sticky: Sticky::Honour,
        up: true,
        suspect: false,
        cut: None,
    }
}

pub fn backend(name: &str, servers: Vec<ServerView>) -> BackendView {
    BackendView {
        name: name.into(),
        balance: Balance::RoundRobin,
        persistence: None,
        group: name.into(),
        on_down: OnDown::Purge,
        connect_timeout: Duration::from_secs(2),
        server_timeout: Duration::ZERO,
        server_fin_timeout: Duration::ZERO,
        keepalive: Duration::ZERO,
        queue_timeout: Duration::from_secs(5),
        maxqueue: 0,
        retries: 3,
        redispatch: true,
        ring: Ring::of(&servers),
        servers,
    }
}

pub fn sticky(mode: BindingMode) -> Option<Persistence> {
    Some(Persistence {
        expire: Duration::from_secs(1800),
        group: "g".into(),
        mask_v4: 32,
        mask_v6: 128,
        mode,
    })
}

pub fn frontend(address: IpAddr, ports: &[u16]) -> FrontendView {
    let listeners = ports
        .iter()
        .map(|p| PortRange {
            first: *p,
            last: *p,
        })
        .collect();
    let spec = Frontend {
        name: "f".into(),
        virtual_ips: vec!["v".into()],
        listeners,
        backend: "b".into(),
        maxconn: 0,
        limit: ClientLimit::NONE,
        client_timeout: Duration::ZERO,
        client_fin_timeout: Duration::ZERO,
        keepalive: Duration::ZERO,
    };
    FrontendView {
        spec,
        addresses: vec![address],
        backend: 0,
    }
}

pub fn routes(frontend: FrontendView, backend: BackendView) -> Arc<Routes> {
    Arc::new(Routes {
        frontends: vec![frontend],
        backends: vec![Arc::new(backend)],
    })
}

/// Keeps bindings like the driver would, and commits when it is told to.
pub struct TestBinder {
    pub commits: bool,
    under_way: Mutex<BTreeMap<StickKey, StickEntry>>,
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
    pub binds: Mutex<Vec<StickEntry>>,
    pub refreshes: Mutex<Vec<StickEntry>>,
}

impl TestBinder {
    pub fn new(commits: bool) -> Arc<TestBinder> {
        Arc::new(TestBinder {
            commits,
            under_way: Mutex::default(),
            waiting: Mutex::default(),
            binds: Mutex::default(),
            refreshes: Mutex::default(),
        })
    }

    fn answer(&self) -> oneshot::Receiver<()> {
        let (sender, committed) = oneshot::channel();
        self.waiting.lock().unwrap().push(sender);
        if self.commits {
            self.commit_all();
        }
        committed
    }

    pub fn commit_all(&self) {
        for committed in self.waiting.lock().unwrap().drain(..) {
            let _ = committed.send(());
        }
    }
}

impl UnderWay for TestBinder {
    fn is_under_way(&self, key: &StickKey) -> bool {
        self.under_way.lock().unwrap().contains_key(key)
    }
}

impl Binder for TestBinder {
    fn bind(&self, key: StickKey, proposal: StickEntry, _: Remembered) -> Binding {
        let mut under_way = self.under_way.lock().unwrap();
        let entry = *under_way.entry(key.clone()).or_insert(proposal);
        self.binds.lock().unwrap().push(entry);
        // Decided and done: the next one of this key is asked anew.
        if self.commits && entry == proposal {
            under_way.remove(&key);
        }
        let committed = self.answer();
        Binding { entry, committed }
    }

    fn refresh(&self, _: StickKey, entry: StickEntry) -> Binding {
        self.refreshes.lock().unwrap().push(entry);
        let committed = self.answer();
        Binding { entry, committed }
    }
}

pub struct Lab {
    pub proxy: Proxy,
    pub gate: Arc<WatchedGate>,
    pub view: watch::Sender<Arc<View>>,
    pub events: mpsc::Receiver<ProxyEvent>,
    pub binder: Arc<TestBinder>,
}

impl Lab {
    /// With an open gate, listening on all ports of the routes.
    pub async fn start(workers: usize, routes: Arc<Routes>) -> Lab {
        Lab::with(
            ProxySettings {
                workers,
                reach: Reach::Bind,
                sessions_max: 0,
            },
            routes,
            TestBinder::new(true),
        )
        .await
    }

    /// With an open gate, listening at the address that comes with it; behind it is one server.
    pub async fn in_front_of(workers: usize, server_at: SocketAddr) -> (Lab, SocketAddr) {
        let address = own_address();
        let [port] = free_ports(address).await;
        let behind = backend("b", vec![server(1, server_at)]);
        let lab = Lab::start(workers, routes(frontend(address, &[port]), behind)).await;
        (lab, SocketAddr::new(address, port))
    }

    pub async fn with(
        settings: ProxySettings,
        routes: Arc<Routes>,
        binder: Arc<TestBinder>,
    ) -> Lab {
        let lab = Lab::closed(settings, routes.clone(), binder);
        lab.gate.open(boot() + Duration::from_secs(3600));
        for f in &routes.frontends {
            for port in f.spec.listeners.iter().flat_map(|l| l.first..=l.last) {
                until("the listener is open", || {
                    is_listening(SocketAddr::new(f.addresses[0], port))
                })
                .await;
            }
        }
        lab
    }

    pub fn closed(settings: ProxySettings, routes: Arc<Routes>, binder: Arc<TestBinder>) -> Lab {
        let (view, seen) = watch::channel(Arc::new(View {
            routes,
            stick: StickTable::default(),
        }));
        let (events_in, events) = mpsc::channel(1024);
        let gate = WatchedGate::new();
        let proxy = Proxy::start(
            settings,
            seen,
            gate.clone(),
            binder.clone(),
            Clock { now: boot, wall },
            events_in,
        )
        .unwrap();
        Lab {
            proxy,
            gate,
            view,
            events,
            binder,
        }
    }

    pub fn publish(&self, routes: Arc<Routes>) {
        self.view.send_modify(|v| {
            *v = Arc::new(View {
                routes,
                stick: v.stick.clone(),
            })
        });
    }

    pub fn change(&self, f: impl FnOnce(&mut FrontendView, &mut BackendView)) {
        let mut routes = (*self.view.borrow().routes).clone();
        let mut b = (*routes.backends[0]).clone();
        f(&mut routes.frontends[0], &mut b);
        routes.backends[0] = Arc::new(b);
        self.publish(Arc::new(routes));
    }

    pub fn bind(&self, key: StickKey, entry: StickEntry) {
        let mut index = StickIndex::default();
        index.put(key, entry, 100);
        self.view.send_modify(|v| {
            *v = Arc::new(View {
                routes: v.routes.clone(),
                stick: index.table().clone(),
            })
        });
    }

    pub async fn event(&mut self, what: &str, wanted: impl Fn(&ProxyEvent) -> bool) -> ProxyEvent {
        let find = async {
            loop {
                let event = self.events.recv().await.expect("the proxy runs");
                if wanted(&event) {
                    return event;
                }
            }
        };
        timeout(BOUND, find)
            .await
            .unwrap_or_else(|_| panic!("no event: {what}"))
    }
}

/// Whether somebody listens there, without connecting.
pub fn is_listening(at: SocketAddr) -> bool {
    let IpAddr::V4(ip) = at.ip() else {
        return false;
    };
    let wanted = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), at.port());
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
    table
        .lines()
        .filter_map(|l| l.split_whitespace().nth(1).zip(l.split_whitespace().nth(3)))
        .any(|(local, state)| local == wanted && state == "0A")
}

pub async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(BOUND, wait)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}
