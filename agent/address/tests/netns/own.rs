//! Addresses that a machine has already, and that are to be virtual IPs.

use ha_address::platform::examine;
use ha_address::{FenceMode, Taken, VipError, VipSettings};

use crate::net::{Net, V4, V6, ip};
use crate::probes::{Ask, Prober};
use crate::tools::{Holder, LEASE, sleep, vip};

#[test]
fn an_address_that_the_machine_is_reached_at_gets_no_fence() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    net.sh(
        "a",
        "ip link add eth1 type bridge && ip link set eth1 up && ip addr add 10.78.0.1/24 dev eth1 && \
         ip addr add 10.77.0.50/24 dev eth0 && ip route add default via 10.77.0.2 src 10.77.0.50",
    );
    net.sh("c", "ip route add 10.78.0.1 via 10.77.0.1");
    let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    let rows = [
        ("10.77.0.1", "the node's own address"),
        ("fd77::1", "its IPv6 address"),
        ("10.78.0.1", "the address of another interface"),
        ("10.77.0.50", "the source of the default route"),
    ];
    for (address, why) in rows {
        let outcome = holder.kernel.configure(vec![vip(V4), vip(address)], vec![]);
        assert!(
            matches!(outcome, Err(VipError::Own { address: a }) if a == ip(address)),
            "{why}: {outcome:?}"
        );
        // It may look again meanwhile, and holds what it can.
        holder.renew(true);
        Prober::start(&net, "c", Ask::Icmp, V4).wait_answer();
        Prober::start(&net, "c", Ask::Icmp, address).wait_answer();
        holder.release();
        Prober::start(&net, "c", Ask::Icmp, address).wait_answer();
    }
}

#[test]
fn an_address_that_keepalived_left_is_silent_and_told() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    net.sh(
        "a",
        &format!("ip addr add {V4}/24 dev eth0; ip addr add {V6}/128 dev eth0 nodad"),
    );
    let vips = [vip(V4), vip(V6), vip("10.77.0.1"), vip("10.77.0.101")];
    let found = net.within("a", move || {
        examine::at_home(&VipSettings::new(ip("10.77.0.1")), &vips)
    });
    let left = |prefix| Taken::Left {
        interface: "eth0".into(),
        prefix,
    };
    assert_eq!(
        found.expect("looked"),
        [
            (ip("10.77.0.1"), Taken::Own),
            (ip(V4), left(24)),
            (ip(V6), left(128))
        ]
    );
    let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    holder.configure(&[V4, V6], vec![]);
    let probes = [
        Prober::start(&net, "c", Ask::Icmp, V4),
        Prober::start(&net, "c", Ask::Icmp, V6),
        Prober::start(&net, "b", Ask::Arp, V4),
    ];
    sleep(500);
    assert!(probes.iter().all(|p| p.last().is_zero()), "nothing answers");
    assert_eq!(
        holder.kernel.left(),
        [(ip(V4), left(24)), (ip(V6), left(128))]
    );
}

#[test]
fn another_machine_that_has_the_address_is_found_before_it_is_configured() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    net.sh(
        "b",
        &format!("ip addr add {V4}/32 dev eth0; ip addr add {V6}/128 dev eth0 nodad"),
    );
    let mac = net.sh("b", "cat /sys/class/net/eth0/address");
    let vips = [vip(V4), vip("10.77.0.101"), vip(V6)];
    let found = net
        .within("a", move || {
            let settings = VipSettings::new(ip("10.77.0.1"));
            examine::claimed(&settings, &vips, std::time::Duration::from_millis(300))
        })
        .expect("asked");
    let of: Vec<_> = found.iter().map(|(address, _)| *address).collect();
    assert_eq!(of, [ip(V4), ip(V6)]);
    for (address, taken) in found {
        let (words, _) = taken.words(address);
        assert!(words.contains(mac.trim()), "{words}");
    }
}
