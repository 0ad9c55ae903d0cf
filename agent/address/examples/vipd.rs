//! Holds virtual IPs with a lease that is renewed every 50 ms, so that tests can stop or kill it.
//!
//! `vipd NODE FENCE LEASE_MS STATE_FILE VIP...`; prints `ready` and then events. The state file
//! gets the time since boot of the newest renewal, in nanoseconds. FENCE is auto, nftables, lifetime,
//! or warden: as auto, and with a warden beside it.

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use ha_address::platform::{Kernel, boot_now, warden};
use ha_address::{FenceMode, Vip, VipSettings};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, mark] = args.as_slice()
        && word == warden::WORD
    {
        return warden::run(mark.parse().expect("mark"), std::io::stdin()).expect("warden");
    }
    let node: IpAddr = args[0].parse().expect("node address");
    let lease = Duration::from_millis(args[2].parse().expect("lease in ms"));
    let state = std::fs::File::create(&args[3]).expect("state file");
    let settings = VipSettings {
        fence: match args[1].as_str() {
            "auto" | "warden" => FenceMode::Auto,
            "nftables" => FenceMode::Nftables,
            _ => FenceMode::Lifetime,
        },
        overrun: Duration::from_millis(240),
        warden: (args[1] == "warden").then(|| "/proc/self/exe".into()),
        ..VipSettings::new(node)
    };
    let (events, mut news) = tokio::sync::mpsc::channel(64);
    let kernel = Kernel::start(settings, events).expect("started");
    let vips = args[4..].iter().map(|a| Vip {
        name: a.clone(),
        address: a.parse().expect("virtual IP"),
        interface: None,
    });
    kernel
        .configure(vips.collect(), vec![])
        .expect("configured");
    std::thread::spawn(move || {
        while let Some(event) = news.blocking_recv() {
            println!("{event:?}");
        }
    });
    println!("ready {:?}", kernel.fence());
    std::io::stdout().flush().expect("stdout");
    loop {
        let now = boot_now();
        state
            .write_all_at(&(now.as_nanos() as u64).to_ne_bytes(), 0)
            .expect("state");
        kernel.hold(now + lease);
        std::thread::sleep(Duration::from_millis(50));
    }
}
