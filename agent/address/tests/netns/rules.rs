//! Other people's rules on the holder: which of them let clients through, and whether that is told beforehand.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use ha_address::platform::examine;
use ha_address::{FenceMode, Intercept, VipSettings};

use crate::net::{Net, V4, V6, ip};
use crate::probes::{Ask, Prober};
use crate::tools::{Holder, LEASE, ms, sleep, transparent_listener, vip};

const PORT: u16 = 5022;

/// A name, the rules, whether clients are served with them, and what is told of those that stop them.
type Row = (&'static str, &'static str, bool, &'static str);

/// Written after what the programs of these names make.
const ROWS: &[Row] = &[
    ("none", "", true, ""),
    (
        "a redirect of the same port",
        "table inet other { chain pre { type nat hook prerouting priority dstnat; tcp dport 5022 redirect to :8080; }; }",
        true,
        "",
    ),
    (
        "a port that Docker publishes",
        "table ip nat {
           chain DOCKER { iifname != \"docker0\" tcp dport 5022 dnat to 10.77.0.1:8080; }
           chain PREROUTING { type nat hook prerouting priority dstnat; fib daddr type local jump DOCKER; }
           chain OUTPUT { type nat hook output priority -100; ip daddr != 127.0.0.0/8 fib daddr type local jump DOCKER; }
           chain POSTROUTING { type nat hook postrouting priority srcnat; ip saddr 172.17.0.0/16 oifname != \"docker0\" masquerade; } }
         table ip6 nat {
           chain PREROUTING { type nat hook prerouting priority dstnat; tcp dport 5022 fib daddr type local redirect to :8080; }
           chain OUTPUT { type nat hook output priority -100; tcp dport 5022 fib daddr type local redirect to :8080; } }",
        true,
        "",
    ),
    (
        "masquerading of everything",
        "table inet other { chain post { type nat hook postrouting priority srcnat; masquerade; }; }",
        true,
        "",
    ),
    (
        "firewalld with the port open",
        "table inet firewalld {
           chain public { tcp dport 22 accept; tcp dport 5022 accept; meta l4proto { icmp, ipv6-icmp } accept; }
           chain zones { iifname \"eth0\" goto public; goto public; }
           chain filter_INPUT { type filter hook input priority filter + 10;
             ct state { established, related } accept; ct status dnat accept; iifname \"lo\" accept;
             ct state invalid drop; jump zones; reject with icmpx admin-prohibited; } }",
        true,
        "",
    ),
    (
        "firewalld with the port closed",
        "table inet firewalld {
           chain public { tcp dport 22 accept; meta l4proto { icmp, ipv6-icmp } accept; }
           chain zones { iifname \"eth0\" goto public; goto public; }
           chain filter_INPUT { type filter hook input priority filter + 10;
             ct state { established, related } accept; ct status dnat accept; iifname \"lo\" accept;
             ct state invalid drop; jump zones; reject with icmpx admin-prohibited; } }",
        false,
        "firewall-cmd --permanent --add-port=5022/tcp",
    ),
    (
        "ufw with the port open",
        "table inet filter {
           chain ufw-user-input { tcp dport 5022 accept; }
           chain ufw-not-local { fib daddr type local return; fib daddr type multicast return; drop; }
           chain INPUT { type filter hook input priority filter; policy drop;
             iifname \"lo\" accept; ct state related,established accept; ct state invalid drop;
             meta l4proto { icmp, ipv6-icmp } accept; jump ufw-not-local; jump ufw-user-input; } }",
        true,
        "",
    ),
    (
        "ufw with the port closed",
        "table inet filter {
           chain ufw-user-input { tcp dport 22 accept; }
           chain INPUT { type filter hook input priority filter; policy drop;
             iifname \"lo\" accept; ct state related,established accept; ct state invalid drop;
             meta l4proto { icmp, ipv6-icmp } accept; jump ufw-user-input; } }",
        false,
        "ufw allow 5022/tcp",
    ),
    (
        "a policy that drops",
        "table inet mine { chain in { type filter hook input priority filter; policy drop;
           iifname lo accept; meta l4proto { icmp, ipv6-icmp } accept; tcp dport 22 accept; } }",
        false,
        "insert rule inet mine in tcp dport 5022 accept",
    ),
    (
        "rules that let only tracked connections begin",
        "table inet mine { chain in { type filter hook input priority filter; policy drop;
           ct state vmap { established : accept, related : accept, invalid : drop }
           iifname lo accept; meta l4proto { icmp, ipv6-icmp } accept; tcp dport 5022 ct state new accept; } }",
        false,
        "ct state untracked",
    ),
    (
        "rules that let only tracked connections out",
        "table inet mine { chain out { type filter hook output priority filter; policy drop;
           oifname lo accept; meta l4proto { icmp, ipv6-icmp } accept; ct state established,related accept; } }",
        false,
        "ct state untracked",
    ),
    (
        "invalid packets are dropped",
        "table inet mine { chain in { type filter hook prerouting priority mangle - 5; ct state invalid drop; } }",
        true,
        "",
    ),
    (
        "the virtual IP is dropped before routing",
        "table inet mine { chain pre { type filter hook prerouting priority mangle;
           ip daddr 10.77.0.96/28 meta l4proto tcp drop; ip6 daddr fd77::100 meta l4proto tcp drop; } }",
        false,
        "inet mine pre",
    ),
    (
        "only some clients are dropped",
        "table inet mine { chain in { type filter hook input priority filter;
           ip saddr 10.99.0.0/16 drop; ip6 saddr fd99::/16 drop; tcp dport 5022 tcp flags & (fin | syn) == fin | syn drop; } }",
        true,
        "",
    ),
];

fn ask(net: &Net, from: &str, address: &str) -> Option<String> {
    let at = SocketAddr::new(ip(address), PORT);
    net.within(from, move || {
        let mut stream = TcpStream::connect_timeout(&at, ms(600)).ok()?;
        stream.set_read_timeout(Some(ms(600))).ok()?;
        let mut words = String::new();
        stream.read_to_string(&mut words).ok()?;
        Some(words)
    })
}

fn serve(listener: TcpListener, name: &'static str) {
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            // A client that is gone is no matter here.
            let _ = stream.write_all(name.as_bytes());
        }
    });
}

#[test]
fn foreign_rules_let_clients_through_or_are_told() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    net.within("a", || {
        serve(transparent_listener(true, 15000), "proxy");
        serve(transparent_listener(false, 15000), "proxy");
        // Where the redirections lead.
        serve(TcpListener::bind("[::]:8080").expect("bound"), "container");
    });
    let intercept = |address| Intercept {
        address: ip(address),
        ports: vec![PORT..=PORT],
        to_port: 15000,
    };
    holder.configure(&[V4, V6], vec![intercept(V4), intercept(V6)]);
    holder.renew(true);
    for address in [V4, V6] {
        Prober::start(&net, "c", Ask::Icmp, address).wait_answer();
    }
    let file = std::env::temp_dir().join(net.name("rules"));
    for (name, rules, served, told) in ROWS {
        // This program wants a line for each closing brace.
        let rules = rules.replace("; }", ";\n}").replace("\n} }", "\n}\n}");
        std::fs::write(&file, rules).expect("written");
        net.sh("a", &format!("nft -f {}", file.display()));
        let expected = served.then(|| "proxy".to_owned());
        for address in [V4, V6] {
            assert_eq!(ask(&net, "c", address), expected, "{name}: {address}");
            if *served {
                let here = ask(&net, "a", address);
                assert_eq!(here, expected, "{name}: {address} from the holder");
            }
        }
        let found = net.within("a", || {
            let settings = VipSettings::new(ip("10.77.0.1"));
            let ports: Vec<_> = [V4, V6].map(|a| (ip(a), vec![PORT..=PORT])).into();
            examine::foreign_rules(&settings, &[vip(V4), vip(V6)], &ports).expect("looked")
        });
        assert_eq!(found.is_empty(), *served, "{name}: {found:?}");
        let words: Vec<String> = found.into_iter().map(|f| f.remedy).collect();
        assert!(
            words.iter().all(|w| w.contains(told)) || *served,
            "{name}: {words:?}"
        );
        // Ours stay.
        for table in net.sh("a", "nft list tables").lines() {
            if !table.contains("ha_") {
                net.sh("a", &format!("nft delete {table}"));
            }
        }
        sleep(1);
    }
    std::fs::remove_file(file).expect("removed");
}
