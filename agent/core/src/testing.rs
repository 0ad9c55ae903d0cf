//! What the tests of several modules begin with: nodes, a configuration.

use crate::check::Kind;
use crate::id::NodeId;
use crate::model::{
    Backend, Balance, Check, ClientLimit, ClusterConfig, Frontend, Member, OnDown, PortRange, Role,
    Server,
};
use crate::version::CURRENT;
use std::net::IpAddr;
use std::time::Duration;

const S: Duration = Duration::from_secs(1);

pub fn node(i: u8) -> NodeId {
    NodeId::from_random(u128::from(i))
}

/// The server node `node-i` at `10.0.0.i`, port 7400.
pub fn member(i: u8) -> Member {
    let ip = IpAddr::from([10, 0, 0, i]);
    Member {
        id: node(i),
        name: format!("node-{i}"),
        listen: (ip, 7400).into(),
        address: ip,
        role: Role::Server,
        version: "1".into(),
        speaks: CURRENT,
        checks: Kind::known_set(),
    }
}

/// The server `si`, which is on the node `node-i`.
pub fn server(i: u8) -> Server {
    Server {
        name: format!("s{i}"),
        node: Some(format!("node-{i}")),
        address: None,
        port: None,
        weight: 1,
        backup: false,
        maxconn: 0,
    }
}

pub fn backend(name: &str, servers: Vec<Server>) -> Backend {
    Backend {
        name: name.into(),
        balance: Balance::RoundRobin,
        persistence: None,
        check: None,
        on_down: OnDown::Purge,
        connect_timeout: 5 * S,
        server_timeout: Duration::ZERO,
        server_fin_timeout: Duration::ZERO,
        keepalive: Duration::ZERO,
        queue_timeout: 5 * S,
        maxqueue: 0,
        retries: 3,
        redispatch: true,
        observe: None,
        servers,
    }
}

/// With one port, on the virtual IP `v`.
pub fn frontend(name: &str, backend: &str, port: u16) -> Frontend {
    Frontend {
        name: name.into(),
        virtual_ips: vec!["v".into()],
        listeners: vec![PortRange {
            first: port,
            last: port,
        }],
        backend: backend.into(),
        maxconn: 0,
        limit: ClientLimit::default(),
        client_timeout: Duration::ZERO,
        client_fin_timeout: Duration::ZERO,
        keepalive: Duration::ZERO,
    }
}

pub fn check(kind: Kind) -> Check {
    Check {
        kind,
        inter: 5 * S,
        fastinter: 5 * S,
        downinter: 5 * S,
        timeout: 5 * S,
        rise: 2,
        fall: 3,
    }
}

pub fn config(backends: Vec<Backend>) -> ClusterConfig {
    ClusterConfig {
        name: "test".into(),
        bindings_max: 100,
        voter_timeout: None,
        backends,
        ..ClusterConfig::default()
    }
}
