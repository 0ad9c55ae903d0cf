//! Where servers are: on which node, at which address, and what a check of them connects to.
//!
//! A server has an address of its own, or that of the node it runs on, which may not have joined yet. Whoever
//! needs to know asks here.

use crate::check::Probe;
use crate::id::{NodeId, ServerId};
use crate::model::{Backend, Member, Server};
use crate::state::Facts;
use std::net::IpAddr;
use std::time::Duration;

/// A server with its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// Its number, given when its configuration was applied.
    pub id: ServerId,
    /// The backend it belongs to.
    pub backend: &'a Backend,
    pub server: &'a Server,
    /// The member it runs on; `None` when it is not co-located, or its node has not joined.
    pub node: Option<&'a Member>,
}

impl<'a> Placement<'a> {
    fn of(facts: &'a Facts, backend: &'a Backend, server: &'a Server) -> Option<Self> {
        Some(Placement {
            id: facts.server_id(&backend.name, &server.name)?,
            backend,
            server,
            node: server.node.as_deref().and_then(|n| facts.member_named(n)),
        })
    }

    /// Its own address, else that of its node; `None` while that is unknown.
    pub fn address(&self) -> Option<IpAddr> {
        self.server.address.or(self.node.map(|n| n.address))
    }

    /// `None` also while the node that it is to run on has not joined.
    pub fn node_id(&self) -> Option<NodeId> {
        self.node.map(|n| n.id)
    }

    /// How its check looks at it; `None` when its backend has none, or there is nothing to connect to yet.
    pub fn probe(&self) -> Option<Probe> {
        let check = self.backend.check.as_ref()?;
        check
            .kind
            .probe(self.address()?, self.server.port, check.timeout)
    }

    /// Whether a look at it, because its node is silent, is a check of its backend as well.
    pub fn is_checked(&self) -> bool {
        let check = self.backend.check.as_ref();
        check.is_some_and(|c| c.kind.asks_the_server())
    }

    /// How it is looked at when its node is silent: as its check does, else by a connect to its own port, which may be
    /// that of a client of its. `None` when there is nothing to connect to.
    pub fn look(&self, facts: &Facts, within: Duration) -> Option<Probe> {
        if self.is_checked() {
            return Some(self.probe()?.at_most(within));
        }
        let of_clients = || {
            let mut frontends = facts.config.frontends.iter();
            let leads_here = frontends.find(|f| f.backend == self.backend.name)?;
            Some(leads_here.listeners.first()?.first)
        };
        let port = self.server.port.or_else(of_clients)?;
        Some(Probe::connect((self.address()?, port).into(), within))
    }

    /// The node that it is configured to run on and that has not joined.
    pub fn awaits(&self) -> Option<&'a str> {
        self.server.node.as_deref().filter(|_| self.node.is_none())
    }

    /// Its name as operators write it: `backend/server`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.backend.name, self.server.name)
    }
}

/// All configured servers, in the order of the file.
pub fn all(facts: &Facts) -> impl Iterator<Item = Placement<'_>> {
    facts
        .config
        .backends
        .iter()
        .flat_map(move |b| in_backend(facts, b))
}

/// The servers of one backend, in the order of the file.
pub fn in_backend<'a>(
    facts: &'a Facts,
    backend: &'a Backend,
) -> impl Iterator<Item = Placement<'a>> {
    backend
        .servers
        .iter()
        .filter_map(move |s| Placement::of(facts, backend, s))
}

/// The server with that number.
pub fn of(facts: &Facts, id: ServerId) -> Option<Placement<'_>> {
    let (backend, server) = facts.server_name(id)?;
    let backend = facts.config.backends.iter().find(|b| b.name == backend)?;
    let server = backend.servers.iter().find(|s| s.name == server)?;
    Placement::of(facts, backend, server)
}

/// The servers that run on a node.
pub fn on_node(facts: &Facts, node: NodeId) -> impl Iterator<Item = Placement<'_>> {
    on_nodes(facts, [node])
}

/// The servers that run on one of these, in the order of the file.
pub fn on_nodes(
    facts: &Facts,
    nodes: impl IntoIterator<Item = NodeId>,
) -> impl Iterator<Item = Placement<'_>> {
    // Few nodes are asked for at once; a search through them is quicker than making a set.
    let names: Vec<&str> = nodes
        .into_iter()
        .filter_map(|n| facts.members.get(&n))
        .map(|m| m.name.as_str())
        .collect();
    let backends = facts.config.backends.iter();
    backends
        .flat_map(|b| b.servers.iter().map(move |s| (b, s)))
        .filter(move |(_, s)| s.node.as_ref().is_some_and(|n| names.contains(&n.as_str())))
        .filter_map(|(b, s)| Placement::of(facts, b, s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{CheckClose, Kind};
    use crate::command::{Command, Stamped};
    use crate::state::ClusterState;
    use crate::testing::{backend, check, config, member, node, server};
    use crate::time::Timestamp;
    use std::net::SocketAddr;

    /// Two of three servers run on nodes; one of those nodes has not joined.
    fn facts(check_port: Option<u16>) -> std::sync::Arc<Facts> {
        let kind = Kind::Tcp {
            port: check_port,
            close: CheckClose::Fin,
        };
        let mut b = backend("b", vec![server(1), server(2), server(3)]);
        (b.servers[0].port, b.servers[2].port) = (Some(80), Some(81));
        (b.servers[2].node, b.servers[2].address) = (None, Some([10, 9, 9, 9].into()));
        b.check = Some(check(kind));
        let mut state = ClusterState::default();
        for command in [
            Command::AddMember(member(1)),
            Command::Configure {
                config: config(vec![b]),
                text: String::new(),
                expect: None,
            },
        ] {
            state
                .apply(&Stamped {
                    at: Timestamp(1),
                    by: String::new(),
                    command,
                    request: None,
                })
                .unwrap();
        }
        state.facts
    }
    fn probed(facts: &Facts) -> Vec<Option<SocketAddr>> {
        all(facts).map(|p| p.probe().map(|p| p.to())).collect()
    }

    #[test]
    fn a_server_is_at_its_own_address_or_that_of_its_node() {
        let facts = facts(None);
        let addresses: Vec<_> = all(&facts).map(|p| p.address()).collect();
        assert_eq!(
            addresses,
            [Some([10, 0, 0, 1].into()), None, Some([10, 9, 9, 9].into())]
        );
        let awaited: Vec<_> = all(&facts).map(|p| p.awaits()).collect();
        assert_eq!(awaited, [None, Some("node-2"), None]);
    }

    #[test]
    fn a_check_connects_to_its_own_port_or_that_of_the_server_where_the_server_is() {
        let to = |ip: [u8; 4], port: u16| Some(SocketAddr::from((ip, port)));
        assert_eq!(
            probed(&facts(None)),
            [to([10, 0, 0, 1], 80), None, to([10, 9, 9, 9], 81)]
        );
        assert_eq!(
            probed(&facts(Some(5))),
            [to([10, 0, 0, 1], 5), None, to([10, 9, 9, 9], 5)]
        );
    }

    #[test]
    fn a_server_without_a_check_is_looked_at_on_its_own_port_or_that_of_its_clients() {
        let within = Duration::from_millis(150);
        let looked = |facts: &Facts| -> Vec<Option<SocketAddr>> {
            let looks = all(facts).map(|p| p.look(facts, within));
            looks.map(|look| look.map(|p| p.to())).collect()
        };
        let own = [Some(SocketAddr::from(([10, 0, 0, 1], 80))), None];
        assert_eq!(looked(&facts(Some(5)))[0].map(|at| at.port()), Some(5));
        for kind in [None, Some(Kind::Always { up: true })] {
            let mut unchecked = (*facts(None)).clone();
            let config = std::sync::Arc::make_mut(&mut unchecked.config);
            config.backends[0].check = kind.map(check);
            assert_eq!(looked(&unchecked)[..2], own);
            let config = std::sync::Arc::make_mut(&mut unchecked.config);
            config.backends[0].servers[0].port = None;
            assert_eq!(looked(&unchecked)[0], None, "no frontend leads to it");
            let config = std::sync::Arc::make_mut(&mut unchecked.config);
            config
                .frontends
                .push(crate::testing::frontend("f", "b", 5012));
            let at = looked(&unchecked)[0].map(|at| at.port());
            assert_eq!(at, Some(5012));
        }
    }

    #[test]
    fn the_agent_beside_a_server_looks_at_it_as_the_leader_does() {
        let facts = facts(None);
        let beside: Vec<_> = on_node(&facts, node(1)).collect();
        let [place] = beside.as_slice() else {
            panic!("{beside:?}")
        };
        let probe = place.probe().unwrap();
        assert_eq!(of(&facts, place.id).unwrap().probe(), Some(probe.clone()));
        assert_eq!(
            (probe.kind, probe.within),
            (
                Kind::Tcp {
                    port: None,
                    close: CheckClose::Fin
                },
                Duration::from_secs(5)
            )
        );
        assert_eq!(on_node(&facts, node(2)).count(), 0, "it has not joined");
    }
}
