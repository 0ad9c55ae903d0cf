//! Makes routes from the replicated state, and anew only what differs from those before.

use super::{BackendView, Cut, FrontendView, Overlay, Routes, ServerView};
use crate::balance::Ring;
use crate::model::{AdminState, Backend, OnDown};
use crate::placement;
use crate::state::Facts;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

impl Routes {
    /// Builds the routes from the replicated facts and what is known here beyond them.
    pub fn from_facts(facts: &Facts, overlay: &Overlay) -> Routes {
        Routes::default().next(facts, overlay)
    }

    /// The same, with every backend of these routes that has not changed, and the circle of every backend whose servers
    /// are where they were: a circle takes long to make, and the health of a server is not in it.
    pub fn next(&self, facts: &Facts, overlay: &Overlay) -> Routes {
        let before: BTreeMap<&str, &Arc<BackendView>> =
            self.backends.iter().map(|b| (b.name.as_str(), b)).collect();
        let backend = |b: &Backend| backend_view(facts, b, overlay, before.get(b.name.as_str()));
        let backends: Vec<Arc<BackendView>> = facts.config.backends.iter().map(backend).collect();
        let places = backends.iter().enumerate();
        let place: BTreeMap<&str, usize> = places.map(|(i, b)| (b.name.as_str(), i)).collect();
        let virtual_ips = facts.config.virtual_ips.iter();
        let address: BTreeMap<&str, IpAddr> =
            virtual_ips.map(|v| (v.name.as_str(), v.address)).collect();
        let frontends = facts
            .config
            .frontends
            .iter()
            .filter_map(|f| {
                Some(FrontendView {
                    spec: f.clone(),
                    address: *address.get(f.virtual_ip.as_str())?,
                    backend: *place.get(f.backend.as_str())?,
                })
            })
            .collect();
        Routes {
            frontends,
            backends,
        }
    }
}

fn server_views(facts: &Facts, b: &Backend, overlay: &Overlay) -> Vec<ServerView> {
    placement::in_backend(facts, b)
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
        .collect()
}

fn backend_view(
    facts: &Facts,
    b: &Backend,
    overlay: &Overlay,
    before: Option<&&Arc<BackendView>>,
) -> Arc<BackendView> {
    let servers = server_views(facts, b, overlay);
    let group = b
        .persistence
        .as_ref()
        .map_or(b.name.as_str(), |p| p.group.as_str())
        .into();
    let same_circle = before.filter(|before| Ring::is_same(&before.servers, &servers));
    let view = BackendView {
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
        ring: same_circle.map_or_else(|| Ring::of(&servers), |before| before.ring.clone()),
        servers,
    };
    match before {
        Some(before) if ***before == view => (*before).clone(),
        _ => Arc::new(view),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, Stamped};
    use crate::id::ServerId;
    use crate::state::ClusterState;
    use crate::testing::{backend, config, member, server};
    use crate::time::Timestamp;

    const BACKENDS: usize = 20;

    fn facts() -> Arc<Facts> {
        let mut state = ClusterState::default();
        let named = |i: usize| backend(&format!("b{i}"), vec![server(1), server(2)]);
        let configure = Command::Configure {
            config: config((0..BACKENDS).map(named).collect()),
            text: String::new(),
            expect: None,
        };
        let members = [1, 2].map(|n| Command::AddMember(member(n)));
        for command in members.into_iter().chain([configure]) {
            let (at, by) = (Timestamp(1), String::new());
            state.apply(&Stamped { at, by, command }).unwrap();
        }
        state.facts
    }

    /// Backends that were made anew, and circles.
    fn made(before: &Routes, after: &Routes) -> (usize, usize) {
        let both = || before.backends.iter().zip(&after.backends);
        let backends = both().filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        let circles = both().filter(|(a, b)| !a.ring.shares_points(&b.ring));
        (backends, circles.count())
    }

    #[test]
    fn a_change_of_health_makes_one_backend_anew_and_no_circle() {
        let facts = facts();
        let first = Routes::from_facts(&facts, &Overlay::default());
        assert_eq!(
            made(&Routes::from_facts(&facts, &Overlay::default()), &first),
            (BACKENDS, BACKENDS)
        );
        let down = first.backends[3].servers[0].id;
        let overlay = Overlay {
            health: [(down, false)].into(),
            ..Overlay::default()
        };
        let second = first.next(&facts, &overlay);
        assert_eq!(made(&first, &second), (1, 0));
        let servers = second.backends.iter().flat_map(|b| &b.servers);
        let are_down: Vec<ServerId> = servers.filter(|s| !s.up).map(|s| s.id).collect();
        assert_eq!(are_down, [down]);
        assert_eq!(made(&second, &second.next(&facts, &overlay)), (0, 0));
    }

    #[test]
    fn a_change_of_weight_makes_the_circle_of_its_backend_anew() {
        let facts = facts();
        let first = Routes::from_facts(&facts, &Overlay::default());
        let mut changed = (*facts).clone();
        let mut config = (*changed.config).clone();
        config.backends[5].servers[1].weight = 7;
        changed.config = Arc::new(config);
        let second = first.next(&changed, &Overlay::default());
        assert_eq!(made(&first, &second), (1, 1));
        let whole = Routes::from_facts(&changed, &Overlay::default());
        assert_eq!(second.backends, whole.backends);
    }
}
