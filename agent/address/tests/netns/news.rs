//! More news of the kernel than its socket has room for.

use std::fmt::Write as _;

use ha_address::FenceMode;
use ha_address::platform::boot_now;

use crate::net::{Net, V4};
use crate::probes::{Ask, Prober};
use crate::tools::{Holder, LEASE, ms, wait_for};

/// Changes in one go: some hundred bytes of news each, where the socket has room for about 200 KiB.
const CHANGES: usize = 20_000;

#[test]
fn in_a_flood_of_news_what_was_deleted_is_seen_all_the_same() {
    let Some(net) = Net::beside_others() else {
        return;
    };
    let holder = Holder::start(&net, "a", FenceMode::Auto, LEASE);
    holder.configure(&[V4], vec![]);
    holder.renew(true);
    let probe = Prober::start(&net, "c", Ask::Icmp, V4);
    probe.wait_answer();
    net.sh("a", "ip link add name other type bridge");
    let mut batch = String::new();
    for n in 0..CHANGES / 2 {
        let address = format!("10.9.{}.{}/32", n / 250, n % 250 + 1);
        let _ = writeln!(batch, "addr add {address} dev other");
        let _ = writeln!(batch, "addr del {address} dev other");
        if n == CHANGES / 4 {
            let _ = writeln!(batch, "addr del {V4}/32 dev eth0");
        }
    }
    let file = std::env::temp_dir().join(format!("{}.batch", net.name("a")));
    std::fs::write(&file, batch).unwrap();
    for _ in 0..3 {
        net.sh("a", &format!("ip -batch {}", file.display()));
        let after = boot_now();
        wait_for("mended", ms(2000), || probe.last() > after);
        assert!(net.has_address("a", V4));
    }
    std::fs::remove_file(&file).unwrap();
}
