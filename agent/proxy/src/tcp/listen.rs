//! `bind` mode: which listeners are open. One socket for each address and port, which all workers accept on.
//!
//! Open exactly while the gate is open. What cannot be opened (another process has the port, the address
//! is not here yet) is tried again every 20 ms and told once a second.

use crate::platform::sockets as sys;
use crate::report::ProxyEvent;
use crate::shared::Shared;
use ha_core::view::{Routes, View};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The open listeners. A listener closes when the last worker has let go of it.
pub(crate) type Listeners = BTreeMap<SocketAddr, Arc<TcpListener>>;

const RETRY: Duration = Duration::from_millis(20);
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Ports that are opened at most; the rest of a huge range is told as failed.
const LISTENERS_MAX: usize = 4096;
/// A pause that something else will end.
const LONG: Duration = Duration::from_secs(3600);

/// Opens and closes listeners as gate and view say, for ever.
pub(crate) async fn keep_listening(
    shared: Arc<Shared>,
    mut view: watch::Receiver<Arc<View>>,
    publish: watch::Sender<Arc<Listeners>>,
) {
    let mut gate = shared.gate.subscribe();
    let mut routes = view.borrow_and_update().routes.clone();
    let mut all = addresses(&routes);
    let mut told: BTreeMap<SocketAddr, Instant> = BTreeMap::new();
    loop {
        let left = shared.gate.left((shared.clock.now)());
        let none = BTreeSet::new();
        let wanted = if left.is_zero() { &none } else { &all };
        let missing = adjust(&publish, wanted, |address, error| {
            tell(&shared, &mut told, address, error)
        });
        let pause = match (left.is_zero(), missing) {
            (true, _) if shared.gate.is_shut() => LONG,
            // It has lapsed and may go on, which nobody tells.
            (true, _) => RETRY,
            (false, true) => RETRY.min(left),
            (false, false) => left,
        };
        tokio::select! {
            biased;
            changed = gate.changed() => if changed.is_err() { return },
            changed = view.changed() => {
                if changed.is_err() {
                    // Nobody publishes any more; the gate still counts.
                    let _ = gate.changed().await;
                }
                let new = view.borrow_and_update().routes.clone();
                if !Arc::ptr_eq(&new, &routes) {
                    (all, routes) = (addresses(&new), new);
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn addresses(routes: &Routes) -> BTreeSet<SocketAddr> {
    let ports = routes.frontends.iter().flat_map(|f| {
        let ports = f.spec.listeners.iter().flat_map(|l| l.first..=l.last);
        ports.flat_map(|p| f.addresses.iter().map(move |a| SocketAddr::new(*a, p)))
    });
    let mut all: BTreeSet<SocketAddr> = ports.take(LISTENERS_MAX + 1).collect();
    if all.len() > LISTENERS_MAX {
        tracing::error!(
            most = LISTENERS_MAX,
            "more ports are configured than bind mode opens; the last ones are not served"
        );
        all.pop_last();
    }
    all
}

/// Makes the open listeners the wanted ones. Whether some could not be opened.
fn adjust(
    publish: &watch::Sender<Arc<Listeners>>,
    wanted: &BTreeSet<SocketAddr>,
    mut failed: impl FnMut(SocketAddr, &io::Error),
) -> bool {
    let open = publish.borrow().clone();
    if open.len() == wanted.len() && open.keys().all(|a| wanted.contains(a)) {
        return false;
    }
    let mut next: Listeners = open
        .iter()
        .filter(|(a, _)| wanted.contains(a))
        .map(|(a, l)| (*a, l.clone()))
        .collect();
    for address in wanted {
        if !next.contains_key(address) {
            match sys::listen(*address) {
                Ok(listener) => drop(next.insert(*address, Arc::new(listener))),
                Err(e) => failed(*address, &e),
            }
        }
    }
    let missing = next.len() < wanted.len();
    if !next.keys().eq(open.keys()) {
        tracing::debug!(
            listeners = next.len(),
            wanted = wanted.len(),
            "listeners changed"
        );
        drop(open);
        publish.send_replace(Arc::new(next));
    }
    missing
}

fn tell(
    shared: &Shared,
    told: &mut BTreeMap<SocketAddr, Instant>,
    address: SocketAddr,
    error: &io::Error,
) {
    let now = Instant::now();
    if told.get(&address).is_some_and(|at| now - *at < TELL_EVERY) {
        return;
    }
    told.retain(|_, at| now - *at < TELL_EVERY);
    told.insert(address, now);
    tracing::warn!(%address, %error, "cannot listen; trying again");
    shared.report.send(ProxyEvent::BindFailed {
        address,
        error: error.to_string(),
    });
}
