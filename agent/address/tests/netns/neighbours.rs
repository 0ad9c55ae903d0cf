//! Neighbours that believe something else are put right.

use ha_address::FenceMode;
use ha_address::platform::boot_now;

use crate::net::{Net, V4, V6};
use crate::probes::{Ask, Prober};
use crate::tools::{Holder, LEASE, figures, millis, ms, sleep, wait_for};

/// An entry that nobody doubts, with another node's hardware address.
fn mislead(net: &Net, address: &str) {
    let mac = net.sh("b", "cat /sys/class/net/eth0/address");
    net.sh(
        "c",
        &format!(
            "ip neigh replace {address} lladdr {} dev eth0 nud reachable",
            mac.trim()
        ),
    );
}

#[test]
fn a_neighbour_that_was_misled_finds_the_holder_again_within_2_5_s() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    // It would ask again by itself once it doubts the entry.
    for family in ["ipv4", "ipv6"] {
        net.sh(
            "c",
            &format!("sysctl -qw net.{family}.neigh.eth0.base_reachable_time_ms=600000"),
        );
    }
    let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    holder.configure(&[V4, V6], vec![]);
    holder.renew(true);
    let probes = [
        Prober::start(&net, "c", Ask::Icmp, V4),
        Prober::start(&net, "c", Ask::Icmp, V6),
    ];
    probes.iter().for_each(|p| _ = p.wait_answer());
    let held_since = boot_now();
    let mut healed = [vec![], vec![]];
    for round in 0..8_u64 {
        // Most of them when the claim is long over.
        if round == 2 {
            let until = held_since + ms(11_000);
            std::thread::sleep(until.saturating_sub(boot_now()));
        }
        sleep(37 * round);
        sleep(170 * (round % 4));
        for ((probe, address), list) in probes.iter().zip([V4, V6]).zip(&mut healed) {
            mislead(&net, address);
            let misled = boot_now();
            wait_for("silence", ms(500), || {
                probe.is_silent_for(ms(20)) || probe.last() > misled + ms(30)
            });
            wait_for("the holder again", ms(10_000), || {
                probe.last() > misled + ms(20)
            });
            list.push(millis(misled, boot_now()));
        }
    }
    for (address, list) in [V4, V6].iter().zip(&healed) {
        println!("{address}: found again after {}", figures(list));
    }
    assert!(healed.iter().flatten().all(|h| *h < 2500.0), "{healed:?}");
}

#[test]
fn a_new_hardware_address_is_announced_at_once() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    holder.configure(&[V4, V6], vec![]);
    holder.renew(true);
    let probes = [
        Prober::start(&net, "c", Ask::Icmp, V4),
        Prober::start(&net, "c", Ask::Icmp, V6),
    ];
    probes.iter().for_each(|p| _ = p.wait_answer());
    // Else the first announcements after the claim would do.
    sleep(10_500);
    let mut took = vec![];
    for last in 1..=8_u64 {
        // At different distances from the announcements that come anyway.
        sleep(230 * last);
        net.sh(
            "a",
            &format!("ip link set eth0 address 02:00:00:00:77:0{last}"),
        );
        let changed = boot_now();
        for probe in &probes {
            wait_for("its new place", ms(5000), || probe.last() > changed);
        }
        took.push(millis(changed, boot_now()));
    }
    println!("found at a new hardware address after {}", figures(&took));
    took.sort_by(f64::total_cmp);
    assert!(
        took[took.len() / 2] < 200.0 && took[took.len() - 1] < 1000.0,
        "{took:?}"
    );
}
