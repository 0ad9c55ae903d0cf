//! Claim, mend, hand over, clean up.

use ha_address::platform::{boot_now, cleanup};
use ha_address::{FenceMode, Intercept, VipEvent, VipSettings};

use crate::net::{Net, V4, V6, ip};
use crate::probes::{Ask, Prober};
use crate::tools::{Holder, LEASE, Vipd, figures, millis, ms, sleep, wait_for};

#[test]
fn a_claimed_address_answers_and_a_released_one_does_not() {
    let Some(net) = Net::new() else { return };
    let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    holder.configure(&[V4, V6], vec![]);
    let probes = [
        Prober::start(&net, "c", Ask::Arp, V4),
        Prober::start(&net, "b", Ask::Icmp, V6),
    ];
    let (mut claim4, mut claim6, mut released) = (vec![], vec![], vec![]);
    for _ in 0..10 {
        sleep(20);
        assert!(probes.iter().all(|p| p.is_silent_for(ms(10))));
        let start = boot_now();
        holder.kernel.hold(start + LEASE);
        holder.renew(true);
        wait_for("an answer", ms(1000), || probes[0].last() > start);
        claim4.push(millis(start, probes[0].last()));
        wait_for("an answer", ms(3000), || probes[1].last() > start);
        claim6.push(millis(start, probes[1].last()));
        released.push(holder.release().as_secs_f64() * 1000.0);
        let end = boot_now();
        sleep(30);
        assert!(
            probes.iter().all(|p| p.last() < end + ms(1)),
            "silent after release"
        );
        assert!(!net.has_address("a", V4) && !net.has_address("a", V6));
    }
    println!(
        "claim to first ARP answer (asked every 2 ms): {}",
        figures(&claim4)
    );
    println!(
        "claim to first ICMPv6 answer (after failed resolution): {}",
        figures(&claim6)
    );
    println!("release to done: {}", figures(&released));
}

#[test]
fn a_handed_over_address_is_found_at_its_new_place() {
    let Some(net) = Net::new() else { return };
    let a = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    let b = Holder::start(&net, "b", FenceMode::Auto, LEASE);
    a.configure(&[V4, V6], vec![]);
    b.configure(&[V4, V6], vec![]);
    let probes = [
        Prober::start(&net, "c", Ask::Icmp, V4),
        Prober::start(&net, "c", Ask::Icmp, V6),
    ];
    a.renew(true);
    probes.iter().for_each(|p| _ = p.wait_answer());
    let mut gaps = [vec![], vec![]];
    for turn in 0..10 {
        let (from, to) = if turn % 2 == 0 { (&a, &b) } else { (&b, &a) };
        from.release();
        let start = boot_now();
        to.kernel.hold(start + LEASE);
        to.renew(true);
        for (probe, list) in probes.iter().zip(&mut gaps) {
            wait_for("the new holder", ms(2000), || probe.last() > start);
            list.push(millis(start, probe.last()));
        }
    }
    println!(
        "handed over, claim to first ICMP answer: v4 {}",
        figures(&gaps[0])
    );
    println!(
        "handed over, claim to first ICMP answer: v6 {}",
        figures(&gaps[1])
    );
    assert!(
        gaps.iter().flatten().all(|g| *g < 100.0),
        "announced, so neighbours know at once"
    );
}

#[test]
fn what_is_deleted_by_hand_is_back_within_a_second() {
    let Some(net) = Net::new() else { return };
    let mut holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    holder.configure(&[V4, V6], vec![]);
    holder.renew(true);
    let probes = [
        Prober::start(&net, "c", Ask::Icmp, V4),
        Prober::start(&net, "c", Ask::Icmp, V6),
    ];
    probes.iter().for_each(|p| _ = p.wait_answer());
    holder.news();
    let mut mended = vec![];
    for _ in 0..5 {
        net.sh(
            "a",
            &format!("ip addr del {V4}/32 dev eth0; ip addr del {V6}/128 dev eth0"),
        );
        let start = boot_now();
        for probe in &probes {
            wait_for("mended", ms(1000), || probe.last() > start);
        }
        mended.push(millis(start, boot_now()));
        sleep(100);
    }
    println!("deleted by hand, answers again after: {}", figures(&mended));
    let news = holder.news();
    assert!(
        news.iter()
            .any(|e| matches!(e, VipEvent::AddressGone { .. })),
        "{news:?}"
    );
    assert!(
        news.iter().any(|e| matches!(e, VipEvent::Mended { .. })),
        "{news:?}"
    );

    sleep(300);
    probes.iter().for_each(Prober::forget_gap);
    let whole = rules(&net);
    let mut restored = vec![];
    for what in [
        "flush ruleset",
        "flush chain inet ha_fence out",
        "delete table netdev ha_fence",
    ] {
        net.sh("a", &format!("nft {what}"));
        restored.push(what);
        let took = wait_for("tables are back", ms(2000), || rules(&net) == whole);
        println!("nft {what}: tables are back after {took:?}");
        sleep(100);
    }
    for (table, set, element) in [
        ("netdev ha_fence", "vip4", V4),
        ("inet ha_fence", "vip6", V6),
    ] {
        net.sh("a", &format!("nft flush set {table} {set}"));
        let took = wait_for("the element is back", ms(2000), || {
            net.sh("a", &format!("nft list set {table} {set}"))
                .contains(element)
        });
        println!("nft flush set {table} {set}: {element} is back after {took:?}");
    }
    for probe in &probes {
        println!(
            "longest gap {:?}, {} questions lost",
            probe.longest_gap(),
            probe.lost()
        );
        assert!(probe.longest_gap() < ms(60));
    }
    // The link goes: the kernel drops IPv6 addresses, and brings up nothing by itself.
    net.sh("a", "ip link set eth0 down");
    wait_for("carrier is lost", ms(1000), || !holder.kernel.carrier());
    net.sh("a", "ip link set eth0 up");
    let start = boot_now();
    for probe in &probes {
        wait_for("answers after link up", ms(4000), || probe.last() > start);
    }
    println!(
        "link up, answers again after {:.1} ms",
        millis(start, boot_now())
    );
    assert!(holder.kernel.carrier());
    let news = holder.news();
    assert!(
        news.contains(&VipEvent::Carrier {
            interface: "eth0".into(),
            up: true
        }),
        "{news:?}"
    );
}

fn rules(net: &Net) -> String {
    // Without elements, whose remaining lives differ, and without made-up set numbers.
    let listed = net.sh("a", "nft -s list ruleset");
    let mut lines: Vec<&str> = listed.lines().filter(|l| !l.contains("expires")).collect();
    lines.retain(|l| !l.contains("elements =") && !l.trim().starts_with("fd77"));
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn leftovers_are_removed_at_start_and_by_cleanup() {
    let Some(net) = Net::new() else { return };
    for by_cleanup in [true, false] {
        let vipd = Vipd::start(&net, "a", "nftables", 240, &[V4, V6]);
        wait_for("held", ms(1000), || net.has_address("a", V6));
        vipd.signal(libc::SIGKILL);
        sleep(50);
        assert!(net.has_address("a", V4) && net.has_address("a", V6), "left");
        assert!(net.sh("a", "nft list ruleset").contains("ha_fence"), "left");
        let settings = VipSettings::new(ip("10.77.0.1"));
        if by_cleanup {
            let removed = net
                .within("a", move || cleanup(&settings, &[]))
                .expect("clean");
            assert_eq!(removed.len(), 2);
            assert!(!net.sh("a", "nft list ruleset").contains("ha_fence"));
        } else {
            let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
            assert!(!net.has_address("a", V4) && !net.has_address("a", V6));
            let start = boot_now();
            drop(holder);
            wait_for("gone", ms(1000), || {
                !net.sh("a", "nft list ruleset").contains("ha_fence")
            });
            println!("shutdown took {:?}", boot_now() - start);
        }
        assert!(!net.has_address("a", V4) && !net.has_address("a", V6));
        assert!(net.has_address("a", "10.77.0.1"), "what is not ours stays");
    }
}

#[test]
fn a_foreign_holder_is_found_before_and_noticed_after() {
    let Some(net) = Net::new() else { return };
    let mut holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    holder.configure(&[V4, V6], vec![]);
    for address in [V4, V6] {
        let start = boot_now();
        let kernel = holder.kernel.clone();
        let found = net.within("a", move || kernel.probe_duplicate(ip(address), ms(200)));
        assert_eq!(found.expect("asked"), None);
        println!("{address}: nobody, after {:?}", boot_now() - start);
    }
    net.sh(
        "b",
        &format!("ip addr add {V4}/24 dev eth0; ip addr add {V6}/64 dev eth0 nodad"),
    );
    let mac = net.sh("b", "cat /sys/class/net/eth0/address");
    for address in [V4, V6] {
        let start = boot_now();
        let kernel = holder.kernel.clone();
        let found = net.within("a", move || kernel.probe_duplicate(ip(address), ms(200)));
        let found = found.expect("asked").expect("found");
        println!(
            "{address}: foreign holder found after {:?}",
            boot_now() - start
        );
        let found: Vec<String> = found.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(found.join(":"), mac.trim());
    }
    holder.renew(true);
    wait_for("held", ms(1000), || net.has_address("a", V4));
    holder.news();
    net.sh(
        "b",
        &format!("arping -c 1 -U -I eth0 -S {V4} {V4} || arping -c 1 -U -I eth0 {V4}"),
    );
    let mut seen = vec![];
    wait_for("foreign claim", ms(1000), || {
        seen.extend(holder.news());
        seen.iter()
            .any(|e| matches!(e, VipEvent::ForeignClaim { address, .. } if *address == ip(V4)))
    });
}

#[test]
fn a_thousand_configurations_leave_no_gap() {
    let Some(net) = Net::new() else { return };
    let mut holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    let other = "10.77.0.101";
    let intercept = |ports| Intercept {
        address: ip(V4),
        ports,
        to_port: 15000,
    };
    holder.configure(&[V4, V6], vec![intercept(vec![5022..=5022])]);
    let listener = net.within("a", || crate::tools::transparent_listener(true, 15000));
    holder.renew(true);
    let probes = [
        Prober::start(&net, "b", Ask::Icmp, V4),
        Prober::start(&net, "c", Ask::Icmp, V6),
    ];
    probes.iter().for_each(|p| _ = p.wait_answer());
    let stream = net.within("c", || {
        std::net::TcpStream::connect((V4, 5022)).expect("connected")
    });
    let (mut server, _) = listener.accept().expect("accepted");
    let echo = std::thread::spawn(move || {
        let mut copy = server.try_clone().expect("clone");
        std::io::copy(&mut server, &mut copy)
    });
    let running = std::thread::spawn(move || ping_pong(stream));
    sleep(100);
    probes.iter().for_each(Prober::forget_gap);
    let start = boot_now();
    let mut took = vec![];
    // At least a thousand, and for so long that the connection makes a thousand round trips beside them.
    for round in 0..10_000_u16 {
        let before = boot_now();
        if round >= 1000 && before - start > ms(2000) {
            break;
        }
        let vips: &[&str] = if round % 3 == 0 {
            &[V4, V6, other]
        } else {
            &[V4, V6]
        };
        // Every fourth leaves out the connection's own port.
        let first = if round % 4 == 3 {
            6000..=6000
        } else {
            5022..=5022
        };
        holder.configure(
            vips,
            vec![intercept(vec![first, 7000 + round..=8000 + round])],
        );
        took.push(millis(before, boot_now()));
    }
    let spent = boot_now() - start;
    println!(
        "{} configurations in {spent:?}: {}",
        took.len(),
        figures(&took)
    );
    for probe in &probes {
        println!(
            "longest gap {:?}, {} questions lost",
            probe.longest_gap(),
            probe.lost()
        );
        assert!(probe.lost() == 0);
    }
    holder.release();
    let (rounds, slowest) = running.join().expect("ping pong");
    println!("connection: {rounds} round trips, slowest {slowest:.1} ms");
    assert!(rounds > 1000 && slowest < 100.0);
    let news = holder.news();
    assert!(
        !news.iter().any(|e| matches!(e, VipEvent::Failed { .. })),
        "{news:?}"
    );
    drop(echo);
}

/// Round trips until silence of 500 ms; their number and the slowest, in ms.
fn ping_pong(mut stream: std::net::TcpStream) -> (u64, f64) {
    use std::io::{Read as _, Write as _};
    stream.set_read_timeout(Some(ms(500))).expect("timeout");
    let (mut rounds, mut slowest) = (0, 0.0_f64);
    loop {
        let before = boot_now();
        let mut byte = [7];
        if stream.write_all(&byte).is_err() || stream.read_exact(&mut byte).is_err() {
            return (rounds, slowest);
        }
        slowest = slowest.max(millis(before, boot_now()));
        rounds += 1;
        sleep(1);
    }
}
