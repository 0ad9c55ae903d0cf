//! What every simulated cluster is configured with.

use super::planted::Planted;
use super::universe::{Universe, VIP};
use ha_core::check::{CheckClose, Kind};
use ha_core::model::{
    BINDINGS_MAX, Backend, Balance, BindingMode, CERTIFICATE_LIFETIME, Check, ClientLimit,
    ClusterConfig, Failback, Frontend, OnDown, Persistence, PortRange, Role, Server, VirtualIp,
};
use std::fmt::Write as _;
use std::time::Duration;

/// How long a binding outlives its last use: so short that bindings end within a run.
pub const EXPIRE: Duration = Duration::from_secs(8);

/// [`EXPIRE`]; the state purges by the clocks of those who write, so not where those are wrong.
pub fn expire(universe: &Universe) -> Duration {
    match universe.planted {
        Planted::WallClockAhead => EXPIRE * 1000,
        _ => EXPIRE,
    }
}

/// The configuration, and the file it could have been written in. `weight`: of the first server.
pub fn of(universe: &Universe, weight: u64) -> (ClusterConfig, String) {
    let config = ClusterConfig {
        name: "simulated".to_owned(),
        virtual_ips: vec![VirtualIp {
            name: "print".to_owned(),
            address: VIP,
            prefix: 24,
        }],
        frontends: vec![frontend()],
        backends: vec![backend(universe, weight)],
        failback: Failback::Never,
        bindings_max: BINDINGS_MAX,
        certificate_lifetime: CERTIFICATE_LIFETIME,
        voter_timeout: Some(universe.voter_timeout()),
    };
    (config, file(universe, weight))
}

fn file(universe: &Universe, weight: u64) -> String {
    let mut text = format!(
        "[cluster]\nname = \"simulated\"\n[[virtual_ip]]\nname = \"print\"\naddress = \"{VIP}/24\"\n\
         [[frontend]]\nname = \"paragon\"\nvirtual_ip = \"print\"\nlisteners = [5012, \"5014-5019\", 5022]\nbackend = \"ts\"\n\
         [[backend]]\nname = \"ts\"\nbalance = \"roundrobin\"\npersistence = {{ by = \"client-ip\", expire = \"8s\", group = \"mfp\" }}\n\
         check = {{ tcp = 5022, inter = \"1s\", fall = 3, rise = 2 }}\n"
    );
    for node in servers(universe) {
        let weight = if node == 1 { weight } else { 1 };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "[[backend.server]]\nname = \"server-{node}\"\nnode = \"node-{node}\"\nweight = {weight}"
        );
        if universe.slots_each > 0 {
            let _ = writeln!(text, "maxconn = {}", universe.slots_each);
        }
    }
    text
}

/// The nodes with a server on them.
fn servers(universe: &Universe) -> Vec<usize> {
    (1..=universe.size())
        .filter(|node| universe.with(|s| s.nodes[*node].role == Role::Server))
        .collect()
}

fn frontend() -> Frontend {
    let ports = [(5012, 5012), (5014, 5019), (5022, 5022)];
    Frontend {
        name: "paragon".to_owned(),
        virtual_ips: vec!["print".to_owned()],
        listeners: ports
            .map(|(first, last)| PortRange { first, last })
            .to_vec(),
        backend: "ts".to_owned(),
        maxconn: 0,
        limit: ClientLimit::NONE,
        client_timeout: Duration::ZERO,
        client_fin_timeout: Duration::ZERO,
        keepalive: Duration::ZERO,
    }
}

fn backend(universe: &Universe, weight: u64) -> Backend {
    let second = Duration::from_secs(1);
    let server = |node| Server {
        name: format!("server-{node}"),
        node: Some(format!("node-{node}")),
        address: None,
        port: None,
        weight: if node == 1 { weight as u16 } else { 1 },
        backup: false,
        maxconn: universe.slots_each,
    };
    Backend {
        name: "ts".to_owned(),
        balance: Balance::RoundRobin,
        persistence: Some(Persistence {
            expire: expire(universe),
            group: "mfp".to_owned(),
            mask_v4: 32,
            mask_v6: 128,
            mode: BindingMode::Commit,
        }),
        check: Some(Check {
            kind: Kind::Tcp {
                port: Some(5022),
                close: CheckClose::Rst,
            },
            inter: second,
            fastinter: second,
            downinter: second,
            timeout: second,
            rise: 2,
            fall: 3,
        }),
        on_down: OnDown::Purge,
        connect_timeout: 5 * second,
        server_timeout: Duration::ZERO,
        server_fin_timeout: Duration::ZERO,
        keepalive: Duration::ZERO,
        queue_timeout: 5 * second,
        maxqueue: 0,
        retries: match universe.planted {
            Planted::LeavesAtFirstRefusal => 1,
            _ => 3,
        },
        redispatch: true,
        observe: None,
        servers: servers(universe).into_iter().map(server).collect(),
    }
}
