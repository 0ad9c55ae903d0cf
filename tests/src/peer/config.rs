//! The peer's configuration files. Pure text.

use std::fmt;

use crate::netns::{Topology, VIP4};

/// How often the VRRP master speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adverts {
    /// Every second: keepalived's default.
    Default,
    /// Every 0.1 s, VRRP version 3: about as fast as people run it.
    Fast,
}

impl fmt::Display for Adverts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Adverts::Default => "advert_int 1",
            Adverts::Fast => "advert_int 0.1",
        })
    }
}

pub(super) fn keepalived(topology: &Topology, number: u8, adverts: Adverts) -> String {
    let me = topology.node(number);
    let (version, interval) = match adverts {
        Adverts::Default => (2, "1"),
        Adverts::Fast => (3, "0.1"),
    };
    let others: String = topology
        .nodes()
        .iter()
        .filter(|node| node.number != number)
        .map(|node| format!("    {}\n", node.ip4()))
        .collect();
    // All BACKUP with nopreempt: the address stays where it is, like the product's default.
    format!(
        "global_defs {{\n  router_id {name}\n  vrrp_version {version}\n  vrrp_garp_master_refresh 10\n}}\n\
         vrrp_instance print {{\n  state BACKUP\n  nopreempt\n  interface eth0\n  virtual_router_id 51\n\
           priority {priority}\n  advert_int {interval}\n  unicast_src_ip {ip}\n  unicast_peer {{\n{others}  }}\n\
           virtual_ipaddress {{\n    {VIP4}/24 dev eth0\n  }}\n}}\n",
        name = me.name,
        priority = 160 - u32::from(number) * 10,
        ip = me.ip4(),
    )
}

pub(super) fn haproxy(topology: &Topology, number: u8, port: u16) -> String {
    let me = topology.node(number);
    let peers: String = topology
        .nodes()
        .iter()
        .map(|node| format!("  peer {} {}:10000\n", node.name, node.ip4()))
        .collect();
    let servers: String = topology
        .nodes()
        .iter()
        .map(|node| format!("  server server-{} {}:{port} check inter 1s fall 3 rise 2 on-marked-down shutdown-sessions\n", node.number, node.ip4()))
        .collect();
    format!(
        "global\n  maxconn 8000\n  nbthread 2\n  localpeer {name}\n  stats socket {dir}/haproxy.sock mode 600 level admin\n\
         defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 30m\n  timeout server 30m\n  retries 3\n  option redispatch 1\n\
         peers nodes\n{peers}\
         frontend paragon\n  bind {VIP4}:{port}\n  default_backend terminal-servers\n\
         backend terminal-servers\n  balance roundrobin\n  stick-table type ip size 200k expire 30m peers nodes\n  stick on src\n{servers}",
        name = me.name,
        dir = me.dir().display(),
    )
}
