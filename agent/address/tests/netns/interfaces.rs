//! No interface of a standby answers for the virtual IP, whichever it is and whenever it came.

use std::process::Command;

use ha_address::{FenceMode, Vip};

use crate::net::{Net, V4, V6};
use crate::probes::{Ask, Prober};
use crate::tools::{Holder, LEASE, Vipd, ms, sleep, vip, wait_for};

/// Whether the neighbour table of `node` has a hardware address for this one.
fn is_resolved(net: &Net, node: &str, address: &str) -> bool {
    net.sh(node, &format!("ip neigh show {address}"))
        .contains("lladdr")
}

/// Another interface of `node` on the same segment, up and without an address.
fn plug_in(net: &Net, node: &str, interface: &str) {
    let (switch, name) = (net.name("sw"), net.name(node));
    crate::net::sh(&format!(
        "ip -n {switch} link add name {node}-{interface} type veth peer name {interface} netns {name} && \
         ip -n {switch} link set {node}-{interface} master bridge0 up && \
         ip -n {name} link set {interface} up"
    ));
    net.sh(
        node,
        &format!("sysctl -qw net.ipv6.conf.{interface}.accept_dad=0"),
    );
}

fn both_questions(net: &Net) -> [Prober; 2] {
    // The one from `c` makes it ask for its neighbour as well.
    [
        Prober::start(net, "b", Ask::Arp, V4),
        Prober::start(net, "c", Ask::Icmp, V6),
    ]
}

#[test]
fn a_second_interface_on_the_same_segment_does_not_answer() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    plug_in(&net, "a", "eth1");
    net.sh("a", "ip addr add 10.77.0.11/24 dev eth1");
    let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    holder.configure(&[V4, V6], vec![]);
    // Linux answers ARP on any interface for an address on any other; neighbour discovery only where it is.
    net.sh(
        "a",
        &format!("ip addr add {V4}/32 dev eth0; ip addr add {V6}/64 dev eth1 nodad"),
    );
    let probes = both_questions(&net);
    sleep(600);
    assert!(probes[0].last().is_zero(), "ARP is answered");
    assert!(
        !is_resolved(&net, "c", V6),
        "a neighbour solicitation is answered"
    );
    // The questions are such as a holder answers.
    holder.renew(true);
    probes[0].wait_answer();
    wait_for("resolved", ms(3000), || is_resolved(&net, "c", V6));
}

#[test]
fn an_interface_that_appears_while_the_agent_is_stopped_does_not_answer() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    let vipd = Vipd::start(&net, "a", "auto", 240, &[V4, V6]);
    let probes = both_questions(&net);
    probes.iter().for_each(|p| _ = p.wait_answer());
    vipd.signal(libc::SIGSTOP);
    wait_for("silence", ms(2000), || {
        probes.iter().all(|p| p.is_silent_for(ms(300)))
    });
    wait_for("the addresses go", ms(3000), || {
        !net.has_address("a", V4) && !net.has_address("a", V6)
    });
    net.sh("c", "ip neigh flush dev eth0");
    net.sh("a", &format!("ip addr add {V4}/32 dev eth0"));
    let silent_since = probes[0].last();
    // Questions come every 2 ms, so each meets the first moments of its interface.
    for interface in ["eth1", "eth2", "eth3"] {
        plug_in(&net, "a", interface);
        net.sh("a", &format!("ip addr add {V6}/64 dev {interface} nodad"));
        sleep(200);
        assert_eq!(probes[0].last(), silent_since, "ARP is answered");
        assert!(
            !is_resolved(&net, "c", V6),
            "a neighbour solicitation is answered on {interface}"
        );
        net.sh("a", &format!("ip addr del {V6}/64 dev {interface}"));
    }
}

/// What only passes through a standby is not its own to answer or to drop.
#[test]
fn a_guest_behind_a_bridge_of_a_standby_finds_the_holder() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    holder.configure(&[V4, V6], vec![]);
    holder.renew(true);
    let guest = net.name("guest");
    let _guest = Guest(guest.clone());
    let b = net.name("b");
    crate::net::sh(&format!(
        "ip netns add {guest} && ip -n {b} link add name br0 type bridge && \
         ip -n {b} addr flush dev eth0 && ip -n {b} link set eth0 master br0 && ip -n {b} link set br0 up && \
         ip -n {b} addr add 10.77.0.2/24 dev br0 && ip -n {b} addr add fd77::2/64 dev br0 nodad && \
         ip -n {b} link add name vnet0 type veth peer name eth0 netns {guest} && \
         ip -n {b} link set vnet0 master br0 up && ip -n {guest} link set eth0 up && \
         ip -n {guest} addr add 10.77.0.4/24 dev eth0 && ip -n {guest} addr add fd77::4/64 dev eth0 nodad"
    ));
    // Else frames that are only bridged pass the rules for packets, ours and everybody's.
    for tables in ["iptables", "ip6tables", "arptables"] {
        let key = format!("net.bridge.bridge-nf-call-{tables}");
        net.sh("b", &format!("sysctl -qw {key}=0 2>/dev/null || true"));
    }
    let standby = Holder::start_at(&net, "b", "10.77.0.2", FenceMode::Auto, LEASE);
    standby.configure(&[V4, V6], vec![]);
    let ask = Prober::start(&net, "guest", Ask::Arp, V4);
    ask.wait_answer();
    for (address, ask) in [(V4, Ask::Icmp), (V6, Ask::Icmp)] {
        println!(
            "a guest reaches {address} after {:?}",
            Prober::start(&net, "guest", ask, address).wait_answer()
        );
    }
    // And the bridge holds as an interface does.
    holder.release();
    standby.renew(true);
    for address in [V4, V6] {
        Prober::start(&net, "c", Ask::Icmp, address).wait_answer();
        Prober::start(&net, "guest", Ask::Icmp, address).wait_answer();
    }
    assert!(net.sh("b", "ip addr show dev br0").contains(V4));
}

struct Guest(String);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A name, and how it is made in the node and in the client.
type Kind = (&'static str, &'static str, &'static str, &'static str);

const KINDS: [Kind; 4] = [
    (
        "vlan",
        "eth0.20",
        "ip link add link eth0 name eth0.20 type vlan id 20",
        "ip link add link eth0 name eth0.20 type vlan id 20 && ip link set eth0.20 up && ip addr add 10.78.0.3/24 dev eth0.20",
    ),
    (
        "bond",
        "bond7",
        "ip link add bond7 type bond mode active-backup && ip link set eth1 down && ip link set eth1 master bond7",
        "ip addr add 10.78.0.3/24 dev eth0",
    ),
    (
        "bridge",
        "br7",
        "ip link add br7 type bridge && ip link set eth1 master br7",
        "ip addr add 10.78.0.3/24 dev eth0",
    ),
    (
        "macvlan",
        "mv7",
        "ip link add mv7 link eth1 type macvlan mode bridge",
        "ip addr add 10.78.0.3/24 dev eth0",
    ),
];

#[test]
fn each_virtual_ip_goes_on_its_own_interface_of_whatever_kind() {
    for (kind, name, make, in_client) in KINDS {
        let Some(net) = Net::beside_others() else {
            return;
        };
        plug_in(&net, "a", "eth1");
        let made = net.sh("a", &format!("{{ {make}; }} 2>&1 || echo FAILED"));
        if made.contains("Unknown device type") {
            eprintln!("skipped: this kernel has no {kind}");
            continue;
        }
        assert!(!made.contains("FAILED"), "{kind}: {made}");
        net.sh("a", &format!("ip link set {name} up"));
        net.sh("c", in_client);
        net.sh("a", "ip link set eth1 up");
        let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
        let there = "10.78.0.100";
        let vips = vec![
            vip(V4),
            Vip {
                interface: Some(name.to_owned()),
                ..vip(there)
            },
        ];
        holder.kernel.configure(vips, vec![]).expect(kind);
        holder.renew(true);
        net.sh(
            "c",
            "ip route replace 10.78.0.0/24 dev $(ip -o addr show to 10.78.0.3 | cut -d\" \" -f2)",
        );
        // The way back to the client.
        net.sh("a", &format!("ip route replace 10.78.0.0/24 dev {name}"));
        for address in [V4, there] {
            Prober::start(&net, "c", Ask::Icmp, address).wait_answer();
        }
        assert!(net.has_address("a", V4), "{kind}");
        let on = net.sh("a", &format!("ip addr show dev {name}"));
        assert!(on.contains(there), "{kind}: {on}");
        // They move together, and without a lease both are silent.
        holder.renew(false);
        let probes = [V4, there].map(|a| Prober::start(&net, "c", Ask::Icmp, a));
        wait_for("silence", ms(3000), || {
            probes.iter().all(|p| p.is_silent_for(ms(300)))
        });
    }
}
