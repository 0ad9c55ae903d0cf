//! The one snapshot that the proxy and the API read. Made from the replicated state; never changed.

use crate::balance::Ring;
use crate::id::ServerId;
use crate::model::{AdminState, Balance, BindingMode, Frontend, OnDown, Persistence, Sticky};
use crate::placement;
use crate::state::Facts;
use crate::stick::{StickKey, StickTable, mask};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What one node sees of the cluster at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Frontends with their backends.
    pub routes: Arc<Routes>,
    /// Who is bound to whom.
    pub stick: StickTable,
}

impl View {
    pub fn empty() -> Self {
        View {
            routes: Arc::new(Routes::default()),
            stick: StickTable::default(),
        }
    }
}

/// What one node knows beyond the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Servers on silent nodes that did not answer a quick probe.
    pub suspects: BTreeSet<ServerId>,
    /// On the leader: what its checks say, which may be newer than the log.
    pub health: BTreeMap<ServerId, bool>,
}

/// Everything that decides where a connection goes, except the bindings.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// In the order of the file.
    pub frontends: Vec<FrontendView>,
    /// In the order of the file.
    pub backends: Vec<Arc<BackendView>>,
}

/// A frontend whose address and backend are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendView {
    pub spec: Frontend,
    /// The addresses of its virtual IPs.
    pub addresses: Vec<IpAddr>,
    /// An index into [`Routes::backends`].
    pub backend: usize,
}

/// A backend with the state of its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendView {
    /// Unique among those of its kind in the configuration.
    pub name: String,
    /// How a server is chosen.
    pub balance: Balance,
    /// Whether clients come back to their server.
    pub persistence: Option<Persistence>,
    /// The group as it stands in keys.
    pub group: Arc<str>,
    pub on_down: OnDown,
    pub connect_timeout: Duration,
    pub server_timeout: Duration,
    pub server_fin_timeout: Duration,
    pub keepalive: Duration,
    pub queue_timeout: Duration,
    pub maxqueue: u32,
    pub retries: u32,
    pub redispatch: bool,
    /// In the order of the file.
    pub servers: Vec<ServerView>,
    /// The consistent hash of all servers with a weight.
    pub ring: Ring,
}

/// A server and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerView {
    /// The number that the log gave it.
    pub id: ServerId,
    /// Its name in the backend.
    pub name: String,
    /// Where it is; `None` while the node it runs on is unknown.
    pub address: Option<IpAddr>,
    /// Its port; `None`: the one that the client asked for.
    pub port: Option<u16>,
    /// HAProxy's weight, 0 to 256; 0 takes no new clients.
    pub weight: u16,
    /// Used only when no other is usable.
    pub backup: bool,
    /// Sessions at once; 0 = unlimited.
    pub maxconn: u32,
    /// The stricter of what is wanted of it and of its node.
    pub admin: AdminState,
    /// What a drain does with bound clients.
    pub sticky: Sticky,
    /// What the checks say.
    pub up: bool,
    /// Its node is unreachable: others are tried first, before any check has failed.
    pub suspect: bool,
    /// Its sessions end now.
    pub cut: Option<Cut>,
}

/// Why the sessions of a server end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is down and the backend says `on_down = "purge"`.
    Down,
    /// It is in maintenance and the backend says `on_down = "purge"`.
    Maintenance,
    /// Its drain is over: it is empty, or the deadline has passed.
    Drained,
}

/// Who is looking for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newcomer {
    /// A client that is bound to it.
    Bound,
    /// A client without a binding.
    New,
}

impl ServerView {
    /// Whether it may get a session of such a client. A suspect server may, if nothing better is there.
    pub fn accepts(&self, who: Newcomer) -> bool {
        let by_admin = match (self.admin, who) {
            (AdminState::Ready, Newcomer::Bound) => true,
            (AdminState::Ready, Newcomer::New) => self.weight > 0,
            (AdminState::Drain, Newcomer::Bound) => self.sticky == Sticky::Honour,
            (AdminState::Drain, Newcomer::New) | (AdminState::Maintenance, _) => false,
        };
        by_admin && self.cut.is_none() && self.up && self.address.is_some()
    }
}

impl Routes {
    /// Builds the routes from the replicated facts and what is known here beyond them.
    pub fn from_facts(facts: &Facts, overlay: &Overlay) -> Routes {
        Routes::default().next(facts, overlay)
    }

    /// The routes after these: what has not changed is shared, circles are made anew only for other servers.
    pub fn following(before: &Arc<Routes>, facts: &Facts, overlay: &Overlay) -> Arc<Routes> {
        let next = before.next(facts, overlay);
        let mut backends = next.backends.iter().zip(&before.backends);
        let same = next.backends.len() == before.backends.len()
            && next.frontends == before.frontends
            && backends.all(|(a, b)| Arc::ptr_eq(a, b));
        if same { before.clone() } else { Arc::new(next) }
    }

    fn next(&self, facts: &Facts, overlay: &Overlay) -> Routes {
        let shared = |mut made: BackendView| {
            let before = self.backends.iter().find(|b| b.name == made.name);
            let Some(before) = before else {
                return Arc::new(made);
            };
            if before.ring == made.ring {
                made.ring = before.ring.clone();
            }
            if **before == made {
                before.clone()
            } else {
                Arc::new(made)
            }
        };
        let backends = facts.config.backends.iter();
        let backends: Vec<Arc<BackendView>> = backends
            .map(|b| shared(backend_view(facts, b, overlay)))
            .collect();
        let address: BTreeMap<&str, IpAddr> = facts
            .config
            .virtual_ips
            .iter()
            .map(|v| (v.name.as_str(), v.address))
            .collect();
        let frontends = facts
            .config
            .frontends
            .iter()
            .filter_map(|f| {
                let of = |name: &String| address.get(name.as_str()).copied();
                Some(FrontendView {
                    spec: f.clone(),
                    addresses: f.virtual_ips.iter().filter_map(of).collect(),
                    backend: backends.iter().position(|b| b.name == f.backend)?,
                })
            })
            .collect();
        Routes {
            frontends,
            backends,
        }
    }

    /// The frontend that accepts on `address` and `port`.
    pub fn frontend_at(&self, address: IpAddr, port: u16) -> Option<&FrontendView> {
        let address = address.to_canonical();
        self.frontends.iter().find(|f| {
            f.addresses.contains(&address) && f.spec.listeners.iter().any(|l| l.contains(port))
        })
    }

    /// The backend and server with that number.
    pub fn server(&self, id: ServerId) -> Option<(&BackendView, &ServerView)> {
        self.backends.iter().find_map(|b| {
            b.servers
                .iter()
                .find(|s| s.id == id)
                .map(|s| (b.as_ref(), s))
        })
    }
}

impl BackendView {
    /// The key under which a client is bound here; `None` without persistence.
    pub fn stick_key(&self, client: IpAddr) -> Option<StickKey> {
        let p = self.persistence.as_ref()?;
        Some(StickKey {
            group: self.group.clone(),
            client: mask(client, p.mask_v4, p.mask_v6),
        })
    }

    /// The server that `client` is bound to here, whether usable or not.
    ///
    /// A binding made through another backend of the group counts for the server on the same host.
    pub fn bound(&self, stick: &StickTable, client: IpAddr, now: Timestamp) -> Option<usize> {
        let entry = stick.get(&self.stick_key(client)?, now)?;
        let by_id = self.servers.iter().position(|s| s.id == entry.server);
        by_id.or_else(|| {
            self.servers
                .iter()
                .position(|s| s.address == Some(entry.host))
        })
    }

    /// Whether new bindings are committed before the first byte.
    pub fn commits_bindings(&self) -> bool {
        self.persistence
            .as_ref()
            .is_some_and(|p| p.mode == BindingMode::Commit)
    }
}

fn backend_view(facts: &Facts, b: &crate::model::Backend, overlay: &Overlay) -> BackendView {
    let servers: Vec<ServerView> = placement::in_backend(facts, b)
        .map(|place| {
            let (id, s) = (place.id, place.server);
            let order = facts.effective_admin(id, place.node_id());
            let up = overlay
                .health
                .get(&id)
                .copied()
                .unwrap_or_else(|| facts.is_up(id));
            // As HAProxy's `on-marked-down`: maintenance counts as down. The end of a drain was asked for.
            let cut = match (order.state, up, b.on_down) {
                (AdminState::Maintenance, _, OnDown::Purge) => Some(Cut::Maintenance),
                (_, false, OnDown::Purge) => Some(Cut::Down),
                (AdminState::Ready, _, _) => None,
                _ => order.ended.as_ref().map(|_| Cut::Drained),
            };
            ServerView {
                id,
                name: s.name.clone(),
                address: place.address(),
                port: s.port,
                weight: s.weight,
                backup: s.backup,
                maxconn: s.maxconn,
                admin: order.state,
                sticky: order.sticky,
                up,
                suspect: overlay.suspects.contains(&id),
                cut,
            }
        })
        .collect();
    let group = b
        .persistence
        .as_ref()
        .map_or(b.name.as_str(), |p| p.group.as_str())
        .into();
    BackendView {
        name: b.name.clone(),
        balance: b.balance,
        persistence: b.persistence.clone(),
        group,
        on_down: b.on_down,
        connect_timeout: b.connect_timeout,
        server_timeout: b.server_timeout,
        server_fin_timeout: b.server_fin_timeout,
        keepalive: b.keepalive,
        queue_timeout: b.queue_timeout,
        maxqueue: b.maxqueue,
        retries: b.retries,
        redispatch: b.redispatch,
        ring: Ring::of(&servers),
        servers,
    }
}

#[cfg(test)]
mod tests;
