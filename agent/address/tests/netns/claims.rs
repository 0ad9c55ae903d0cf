//! Another machine claims a held address, and a gateway that is not reached: what it means for who may hold.

use std::sync::Arc;

use ha_address::platform::{boot_now, start};
use ha_address::{OnClaim, Release, Traffic, VipEvent, VipSettings, VirtualIps, mac_words};
use ha_core::time::Instant;
use tokio::sync::mpsc::Receiver;

use crate::net::{Net, V4, V6, ip};
use crate::tools::{LEASE, ms, sleep, vip, wait_for};

struct NoTraffic;

impl Traffic for NoTraffic {
    fn open(&self, _: Instant) {}
    fn close(&self) {}
    fn sessions(&self) -> u64 {
        0
    }
}

fn started(net: &Net, settings: VipSettings) -> (Arc<dyn VirtualIps>, Receiver<VipEvent>) {
    let (sender, events) = tokio::sync::mpsc::channel(256);
    let (hands, _) = net
        .within("a", move || start(settings, Arc::new(NoTraffic), sender))
        .expect("started");
    hands.configure(vec![vip(V4), vip(V6)], vec![]);
    wait_for("ready", ms(3000), || hands.obstacle().is_none());
    (hands, events)
}

/// Holds until the condition is there.
fn hold_until(hands: &Arc<dyn VirtualIps>, what: &str, at_most: u64, mut is: impl FnMut() -> bool) {
    wait_for(what, ms(at_most), || {
        hands.hold(Instant::ZERO + boot_now() + LEASE, false);
        sleep(40);
        is()
    });
}

/// Machine `b` claims both addresses while they are held.
fn claim(net: &Net, hands: &Arc<dyn VirtualIps>) {
    std::thread::scope(|scope| {
        let claiming = scope.spawn(|| {
            // A new hardware address is told for each IPv6 address.
            net.sh(
                "b",
                &format!(
                    "sysctl -qw net.ipv6.conf.eth0.ndisc_notify=1; \
                     ip addr add {V4}/32 dev eth0; ip addr add {V6}/128 dev eth0 nodad; \
                     ip link set eth0 address {THEIRS}; \
                     arping -c 1 -U -I eth0 -S {V4} {V4} || arping -c 1 -U -I eth0 {V4}"
                ),
            )
        });
        hold_until(hands, "the claims", 10_000, || claiming.is_finished());
        claiming.join().expect("claimed");
    });
}

const THEIRS: &str = "02:00:00:00:77:bb";

#[test]
fn a_claim_is_told_with_its_hardware_address_in_both_families_and_defended() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    let (hands, mut events) = started(&net, VipSettings::new(ip("10.77.0.1")));
    hold_until(&hands, "held", 2000, || net.has_address("a", V4));
    claim(&net, &hands);
    let mut seen = vec![];
    hold_until(&hands, "both claims", 5000, || {
        while let Ok(event) = events.try_recv() {
            if let VipEvent::ForeignClaim { address, mac } = event {
                seen.push((address, mac_words(mac)));
            }
        }
        [V4, V6]
            .iter()
            .all(|a| seen.iter().any(|(s, _)| *s == ip(a)))
    });
    for address in [V4, V6] {
        assert!(seen.contains(&(ip(address), THEIRS.to_owned())), "{seen:?}");
    }
    assert_eq!(hands.obstacle(), None, "it goes on");
    let ours = net.sh("a", "cat /sys/class/net/eth0/address");
    hold_until(&hands, "the client to know the holder", 5000, || {
        net.sh(
            "c",
            &format!("ping -c 1 -W 1 {V4} > /dev/null; ip neigh show {V4}"),
        )
        .contains(ours.trim())
    });
}

#[test]
fn who_yields_is_not_fit_to_hold_until_the_other_machine_is_gone() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    let settings = VipSettings {
        on_claim: OnClaim::Yield,
        ..VipSettings::new(ip("10.77.0.1"))
    };
    let (hands, _events) = started(&net, settings);
    hold_until(&hands, "held", 2000, || net.has_address("a", V4));
    claim(&net, &hands);
    let words = "this node yields (`on_claim` in agent.toml)";
    hold_until(&hands, "it to yield", 5000, || {
        hands.obstacle().is_some_and(|o| o.contains(words))
    });
    let (done, away) = std::sync::mpsc::channel();
    hands.release(
        Release::Ended,
        Box::new(move || done.send(()).expect("heard")),
    );
    away.recv_timeout(ms(1000)).expect("released");
    // Longer than it stays away without asking.
    sleep(14_000);
    assert!(
        hands.obstacle().is_some(),
        "the other machine is still there"
    );
    net.sh(
        "b",
        &format!("ip addr del {V4}/32 dev eth0; ip addr del {V6}/128 dev eth0"),
    );
    wait_for("it to be fit again", ms(20_000), || {
        hands.obstacle().is_none()
    });
}

#[test]
fn a_node_that_reaches_no_gateway_is_not_fit_to_hold() {
    for gateway in ["10.77.0.2", "fd77::2"] {
        let Some(net) = Net::beside_others() else {
            return;
        };
        let settings = VipSettings {
            // One of them is enough.
            gateways: vec![ip("10.77.0.250"), ip(gateway)],
            ..VipSettings::new(ip("10.77.0.1"))
        };
        let (hands, _events) = started(&net, settings);
        sleep(5000);
        assert_eq!(hands.obstacle(), None, "{gateway} answers");
        net.sh("b", "ip link set eth0 down");
        let lost = wait_for("it to be missed", ms(10_000), || {
            hands
                .obstacle()
                .is_some_and(|o| o.contains("no gateway answers"))
        });
        net.sh(
            "b",
            "ip link set eth0 up; ip addr replace fd77::2/64 dev eth0 nodad",
        );
        let back = wait_for("it to be found again", ms(10_000), || {
            hands.obstacle().is_none()
        });
        println!("{gateway}: missed after {lost:?}, found again after {back:?}");
        drop(hands);
    }
}
