//! A server of a backend, and where it runs.

use super::Checker;
use super::agent_file::is_name;
use super::cluster_file::NAME_REMEDY;
use super::raw::RawServer;
use ha_core::model::Server;
use std::net::IpAddr;

impl Checker<'_> {
    pub(super) fn server(&mut self, s: &RawServer) -> Server {
        let at = s.name.span().start;
        let address = s.address.as_ref().and_then(|a| {
            let parsed = a.get_ref().parse::<IpAddr>().ok();
            if parsed.is_none() {
                self.problem(
                    a.span().start,
                    "backend.server.address",
                    format!("{:?}", a.get_ref()),
                    "write an IP address, e.g. \"10.0.0.1\" (the port goes into `port`)",
                );
            }
            parsed
        });
        match (&s.node, &s.address) {
            (None, None) => self.problem(
                at,
                "backend.server",
                format!("{} without `node` and `address`", s.name.get_ref()),
                "add `node = \"NODE\"` for a server on a node, or `address = \"IP\"`",
            ),
            (Some(n), Some(_)) => self.problem(
                n.span().start,
                "backend.server.node",
                "`node` and `address` together",
                "keep `node` (its address is taken from the node), or keep `address`",
            ),
            _ => {}
        }
        if let Some(p) = &s.port
            && *p.get_ref() == 0
        {
            self.problem(
                p.span().start,
                "backend.server.port",
                0,
                "use 1 to 65535, or leave it out: then it is the port that the client asked for",
            );
        }
        let weight = s.weight.as_ref().map_or(1, |w| {
            if *w.get_ref() > 256 {
                self.problem(
                    w.span().start,
                    "backend.server.weight",
                    w.get_ref(),
                    "use 0 to 256 (0 gets no new clients)",
                );
            }
            (*w.get_ref()).min(256) as u16
        });
        Server {
            name: s.name.get_ref().clone(),
            node: self.node_of(s),
            address,
            port: s.port.as_ref().map(|p| *p.get_ref()),
            weight,
            backup: s.backup,
            maxconn: s.maxconn,
        }
    }

    fn node_of(&mut self, s: &RawServer) -> Option<String> {
        let node = s.node.as_ref()?;
        if !is_name(node.get_ref()) {
            let found = format!("{:?}", node.get_ref());
            self.problem(node.span().start, "backend.server.node", found, NAME_REMEDY);
        }
        Some(node.get_ref().clone())
    }
}
