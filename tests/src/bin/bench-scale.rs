//! How far it goes: a million bindings, a thousand servers, two hundred listeners and fifty thousand sessions at once,
//! what they cost in memory, how long the driver's longest turn was, and how long clients waited when the holder was lost.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ha_tests::bench::crowd::{self, Crowd};
use ha_tests::bench::turns::longest_turn;
use ha_tests::bench::{echo, option, refuse_unknown};
use ha_tests::client::GapClient;
use ha_tests::cluster::{Cluster, Plan};
use ha_tests::netns::VIP4;
use ha_tests::system::System as _;
use ha_tests::{guard, sys, wait};
use serde::Serialize;

const USAGE: &str = "usage: bench-scale [--bindings N] [--sessions N] [--servers N] [--listeners N] [--output table|json]

Needs root (network namespaces) and about 4 GiB of memory. Three nodes, one client machine with as many addresses as
bindings. Memory is the resident size of the agents, before and after. The limit of open files is raised; where the
machine allows too few for the sessions, it says so and makes fewer. With all bindings a follower is restarted, and then
removed and joined again with an empty disk. Ends with 1 when a turn of a driver took more than a tenth of the lease.";

/// Behind the listeners: one address for each server, all of them local to node 1.
const SERVERS: &str = "10.80.0.0/16";
const SERVER_PORT: u16 = 9100;
const FIRST_LISTENER: u16 = 20_000;
const PROBE_PORT: u16 = 5022;
/// How long a node may take to come back with all bindings.
const BACK: Duration = Duration::from_secs(120);
/// Clients that connect at the same time.
const AT_A_TIME: usize = 256;
/// Open files that the agent wants for each session: it serves 3/8 of what it may open.
const FILES_PER_SESSION: u64 = 3;

#[derive(Serialize)]
struct Report {
    bindings: u32,
    bindings_per_second: f64,
    holder_bytes_per_binding: f64,
    follower_bytes_per_binding: f64,
    sessions: u32,
    bytes_per_session: f64,
    idle_rss_mib: f64,
    full_rss_mib: f64,
    gave_up: u32,
    longest_turns_ms: Vec<(String, f64)>,
    lease_ms: u32,
    /// Of a follower with all bindings on its disk, until the leader hears it again.
    restart_ms: f64,
    /// Of one with an empty disk, until it has all bindings and votes.
    join_ms: f64,
    gap_when_the_holder_is_lost_ms: f64,
    gap_failed: usize,
}

fn main() -> ExitCode {
    refuse_unknown(
        &[
            "--bindings",
            "--sessions",
            "--servers",
            "--listeners",
            "--output",
        ],
        USAGE,
    );
    if !guard::ready(&["ip", "nft"]) {
        return ExitCode::from(3);
    }
    let number = |name: &str, default: u32| {
        option(name).map_or(default, |text| {
            text.parse()
                .unwrap_or_else(|_| panic!("{name} takes a number"))
        })
    };
    let wanted = Wanted {
        bindings: number("--bindings", 1_000_000),
        sessions: sessions_here(number("--sessions", 50_000)),
        servers: number("--servers", 1000),
        listeners: number("--listeners", 200),
    };
    let report = measure(&wanted);
    match option("--output").as_deref() {
        Some("json") => println!(
            "{}",
            serde_json::to_string_pretty(&report).expect("plain data")
        ),
        _ => print_table(&report),
    }
    if report.turns_are_short() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// As many of the sessions that are wanted as this machine has open files for.
fn sessions_here(wanted: u32) -> u32 {
    // This process is all clients and all servers; an agent has two for each session and more in reserve.
    let needed = u64::from(wanted) * FILES_PER_SESSION + 10_000;
    let files = sys::open_files_max(needed).expect("a process knows its limits");
    let fit = u32::try_from(files / FILES_PER_SESSION).unwrap_or(u32::MAX);
    if fit < wanted {
        eprintln!(
            "{wanted} sessions need {} open files, and this machine allows {files}: {fit} sessions are made",
            u64::from(wanted) * FILES_PER_SESSION
        );
    }
    wanted.min(fit)
}

struct Wanted {
    bindings: u32,
    sessions: u32,
    servers: u32,
    listeners: u32,
}

impl Report {
    /// Whether no turn of a driver took more than a tenth of the lease: what waits behind it still has nine.
    fn turns_are_short(&self) -> bool {
        let most = f64::from(self.lease_ms) / 10.0;
        self.longest_turns_ms.iter().all(|(_, ms)| *ms <= most)
    }
}

fn measure(wanted: &Wanted) -> Report {
    let mut cluster = Cluster::machines_only(Plan {
        ports: vec![PROBE_PORT],
        ..Plan::default()
    });
    prepare(&cluster);
    let config = cluster.machine(1).dir().join("scale.toml");
    std::fs::write(&config, cluster_file(wanted)).expect("the configuration is written");
    for node in 1..=3 {
        cluster.start_server(node);
    }
    cluster.init_with(1, &config.to_string_lossy());
    cluster.join(2, 1);
    cluster.join(3, 1);
    let probe = GapClient::start(cluster.topology().client(1), cluster.address_on(PROBE_PORT));
    probe.wait_for_service(20, Duration::from_secs(60));
    let holder = cluster.wait_for_agreed_holder(Duration::from_secs(20));
    let follower = cluster.other_than(holder);
    let rss = |cluster: &Cluster, node| resident(cluster.agent(node).pid());
    let (idle, idle_follower) = (rss(&cluster, holder), rss(&cluster, follower));

    let bound = crowd_of(&cluster, 0..wanted.bindings, false, "bindings");
    let (full, full_follower) = (rss(&cluster, holder), rss(&cluster, follower));
    let (restarted, joined) = come_back(&mut cluster, follower, holder);
    let stays = crowd_of(&cluster, 0..wanted.sessions, true, "sessions");
    let with_sessions = rss(&cluster, holder);

    eprintln!("the holder, node-{holder}, loses its power");
    let lost = cluster.kill_machine(holder);
    let after = cluster.wait_for_other_holder(holder, Duration::from_secs(60));
    probe.wait_for_service(50, Duration::from_secs(60));
    let gap = probe.finish().gap_between(lost, Instant::now());
    let mut longest_turns_ms = vec![];
    for node in [1, 2, 3] {
        let log = cluster.machine(node).dir().join("agent.log");
        if node != holder {
            cluster.stop_agent(node);
        }
        let of = match node {
            _ if node == holder => "the holder, until it was lost",
            _ if node == after => "the next holder",
            _ => "a follower",
        };
        let text = std::fs::read_to_string(log).unwrap_or_default();
        longest_turns_ms.push((of.to_owned(), longest_turn(&text)));
    }
    drop(stays);
    Report {
        bindings: bound.answered,
        bindings_per_second: f64::from(bound.answered) / bound.took.as_secs_f64(),
        holder_bytes_per_binding: per(full, idle, bound.answered),
        follower_bytes_per_binding: per(full_follower, idle_follower, bound.answered),
        sessions: wanted.sessions,
        bytes_per_session: per(with_sessions, full, wanted.sessions),
        idle_rss_mib: idle as f64 / f64::from(1 << 20),
        full_rss_mib: with_sessions as f64 / f64::from(1 << 20),
        gave_up: bound.gave_up,
        longest_turns_ms,
        lease_ms: 240,
        restart_ms: restarted.as_secs_f64() * 1000.0,
        join_ms: joined.as_secs_f64() * 1000.0,
        gap_when_the_holder_is_lost_ms: gap.gap.as_secs_f64() * 1000.0,
        gap_failed: gap.failed,
    }
}

/// A follower stops and starts again with what is on its disk; then it leaves, and joins with an empty one. How long each
/// took, until the leader hears it and until it votes.
fn come_back(cluster: &mut Cluster, node: u8, holder: u8) -> (Duration, Duration) {
    let name = format!("node-{node}");
    let votes = |cluster: &Cluster| match cluster.status_at(holder)?.votes(&name) {
        true => Ok(()),
        false => Err(format!("{name} is not heard")),
    };
    eprintln!("{name} restarts");
    cluster.stop_agent(node);
    wait::until(&format!("{name} to be gone"), BACK, || {
        match votes(cluster) {
            Ok(()) => Err("it is still heard".to_owned()),
            Err(_) => Ok(()),
        }
    });
    let began = Instant::now();
    cluster.start_agent(node);
    wait::until(&format!("{name} to be back"), BACK, || votes(cluster));
    let restarted = began.elapsed();
    eprintln!("{name} leaves and joins again");
    let removed = cluster.cli_at(holder, &["member", "remove", &name, "--yes"], BACK);
    removed.ok().unwrap_or_else(|why| panic!("{why}"));
    cluster.stop_agent(node);
    std::fs::remove_dir_all(cluster.machine(node).dir().join("data")).expect("its disk is emptied");
    let began = Instant::now();
    cluster
        .try_join(node, holder)
        .unwrap_or_else(|why| panic!("{name}: {why}"));
    wait::until(&format!("{name} to vote"), BACK, || votes(cluster));
    (restarted, began.elapsed())
}

/// Routes, kernel settings, and the server that answers on every server's address.
fn prepare(cluster: &Cluster) {
    let must = |node: u8, words: &str| {
        let words: Vec<_> = words.split(' ').collect();
        let done = cluster.machine(node).run(&words, Duration::from_secs(5));
        done.ok().unwrap_or_else(|why| panic!("{words:?}: {why}"));
    };
    let client = cluster.topology().client(1);
    for node in 1..=3 {
        must(
            node,
            &format!("ip route add {} via {}", crowd::NETWORK, client.ip4()),
        );
        if node != 1 {
            let first = cluster.machine(1).ip4();
            must(node, &format!("ip route add {SERVERS} via {first}"));
        }
        cluster
            .machine(node)
            .sysctl("net/ipv4/tcp_max_tw_buckets", "5000");
        cluster
            .machine(node)
            .sysctl("net/ipv4/ip_local_port_range", "1024 65000");
    }
    must(1, &format!("ip route add local {SERVERS} dev lo"));
    let local = format!("ip route add local {} dev lo", crowd::NETWORK);
    let words: Vec<_> = local.split(' ').collect();
    let done = client.run(&words, Duration::from_secs(5));
    done.ok().unwrap_or_else(|why| panic!("{local}: {why}"));
    client.sysctl("net/ipv4/tcp_max_tw_buckets", "5000");
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SERVER_PORT));
    sys::in_netns(cluster.machine(1).namespace(), || {
        echo::serve(everywhere, 1)
    })
    .and_then(|served| served)
    .expect("the server listens");
}

fn cluster_file(wanted: &Wanted) -> String {
    let mut text = format!(
        "[cluster]\nname = \"scale\"\nbindings_max = {}\n\n[[virtual_ip]]\nname = \"print\"\naddress = \"{VIP4}/24\"\n",
        wanted.bindings + 1000
    );
    let last =
        FIRST_LISTENER + u16::try_from(wanted.listeners).expect("at most 40000 listeners") - 1;
    let ports: Vec<_> = (FIRST_LISTENER..=last)
        .map(|port| port.to_string())
        .collect();
    let _ = write!(
        text,
        "\n[[frontend]]\nname = \"front\"\nvirtual_ip = \"print\"\nlisteners = [{}]\nbackend = \"back\"\n\
         limit = {{ sessions = 0 }}\n\
         \n[[frontend]]\nname = \"probe\"\nvirtual_ip = \"print\"\nlisteners = [{PROBE_PORT}]\nbackend = \"probe\"\n\
         \n[[backend]]\nname = \"probe\"\nbalance = \"roundrobin\"\ncheck = {{ tcp = {PROBE_PORT}, inter = \"1s\" }}\n",
        ports.join(", ")
    );
    for node in 1..=3 {
        let _ = write!(
            text,
            "[[backend.server]]\nname = \"server-{node}\"\nnode = \"node-{node}\"\n"
        );
    }
    let _ = write!(
        text,
        "\n[[backend]]\nname = \"back\"\nbalance = \"roundrobin\"\n\
         persistence = {{ by = \"client-ip\", expire = \"30m\", group = \"mfp\" }}\n\
         check = {{ tcp = {SERVER_PORT}, inter = \"5s\" }}\n"
    );
    for index in 0..wanted.servers {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 80, 0, 1)) + index);
        let _ = write!(
            text,
            "[[backend.server]]\nname = \"s{index}\"\naddress = \"{address}\"\nport = {SERVER_PORT}\n"
        );
    }
    text
}

fn crowd_of(cluster: &Cluster, clients: std::ops::Range<u32>, stay: bool, what: &str) -> Crowd {
    let (to, all) = (cluster.address_on(FIRST_LISTENER), clients.len());
    let mut said = Instant::now();
    sys::in_netns(cluster.topology().client(1).namespace(), || {
        crowd::visit(clients, to, AT_A_TIME, stay, |done| {
            if said.elapsed() > Duration::from_secs(5) {
                said = Instant::now();
                eprintln!("  {what}: {done} of {all}");
            }
        })
    })
    .expect("the client's namespace is there")
}

/// Resident bytes of a process.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

fn per(after: u64, before: u64, count: u32) -> f64 {
    after.saturating_sub(before) as f64 / f64::from(count.max(1))
}

fn print_table(r: &Report) {
    println!(
        "bindings                          {:>12} ({:.0} a second, {} clients gave up)",
        r.bindings, r.bindings_per_second, r.gave_up
    );
    println!(
        "memory per binding, holder        {:>12.0} bytes",
        r.holder_bytes_per_binding
    );
    println!(
        "memory per binding, follower      {:>12.0} bytes",
        r.follower_bytes_per_binding
    );
    println!("sessions                          {:>12}", r.sessions);
    println!(
        "memory per session                {:>12.0} bytes",
        r.bytes_per_session
    );
    println!(
        "memory of the holder, idle        {:>12.1} MiB",
        r.idle_rss_mib
    );
    println!(
        "memory of the holder, with all    {:>12.1} MiB",
        r.full_rss_mib
    );
    for (of, turn) in &r.longest_turns_ms {
        println!(
            "longest turn of the driver        {turn:>12.2} ms  {of} (lease {} ms)",
            r.lease_ms
        );
    }
    let verdict = if r.turns_are_short() {
        "well"
    } else {
        "TOO LONG"
    };
    println!(
        "turns, at most a tenth of the lease  {verdict} ({:.1} ms)",
        f64::from(r.lease_ms) / 10.0
    );
    println!(
        "restart of a follower, until heard {:>11.1} ms",
        r.restart_ms
    );
    println!("join with an empty disk, to a vote {:>11.1} ms", r.join_ms);
    println!(
        "gap when the holder is lost       {:>12.1} ms, {} connections failed",
        r.gap_when_the_holder_is_lost_ms, r.gap_failed
    );
}
