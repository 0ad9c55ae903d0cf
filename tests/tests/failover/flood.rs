//! Floods: strangers, a program on a member's machine, viewers and one client each open as much as they can, at once.
//! The address stays where it is, clients are served, and what the agents need stays bounded. `HA_FULL=1`: for half an hour.

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ha_tests::cluster::{AGENT_PORT, Cluster, Plan};
use ha_tests::netns::Machine;
use ha_tests::require_root;
use ha_tests::scenario::{SOON, Watched};
use ha_tests::system::System;
use ha_tests::wait;

/// Of each of the two tests of floods (the other is `inside`): a minute together, or an hour.
const IN_CI: Duration = Duration::from_secs(30);
const IN_FULL: Duration = Duration::from_secs(1800);
const PATIENCE: Duration = Duration::from_secs(1);
/// Connections that one attacker keeps open; the oldest is let go for each more.
const KEPT: usize = 400;
/// Between two connections of one attacker: the machine has other work, and a flood is none of processors.
pub const BETWEEN: Duration = Duration::from_millis(1);
/// Memory of an agent, in KiB.
pub const MEMORY_MAX: u64 = 512 << 10;
/// Every seat of the entrance (docs/security.md), and what an agent needs itself.
const FILES_MAX: usize = 128 + 256 + 256 + 512 + 400;

/// The beginning of a TLS handshake that never goes on.
const HALF_HELLO: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
/// HTTP/2 without TLS, and noise.
const GARBAGE: [&[u8]; 3] = [
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    &[0xff; 4096],
];

/// How long there is a flood.
pub fn length() -> Duration {
    if std::env::var("HA_FULL").is_ok() {
        IN_FULL
    } else {
        IN_CI
    }
}

/// Opens connections from `machine` to `at` until `stop`, says `words` on each in turn, and keeps them open.
fn flood(machine: &Machine, at: SocketAddr, words: &[&[u8]], stop: &AtomicBool) -> usize {
    let (mut kept, mut opened) = (VecDeque::<TcpStream>::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(BETWEEN);
        let Ok(mut stream) = machine.connect(at, PATIENCE) else {
            continue;
        };
        // It may have been closed already: that is the point.
        stream.write_all(words[opened % words.len()]).ok();
        opened += 1;
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(stream);
    }
    opened
}

/// What a process has needed at most: KiB, and file descriptors at this moment.
pub fn needs(pid: u32) -> (u64, usize) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    (kib.expect("a peak"), files)
}

#[test]
fn floods_of_strangers_neighbours_viewers_and_clients_do_not_move_the_address() {
    require_root!();
    let length = length();
    let run = Watched::start(Plan::default());
    let holder = run.holder();
    let topology = run.cluster.topology();
    let stranger = topology.clients().last().expect("a client machine");
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let files = AtomicUsize::new(0);
    let from = Instant::now();
    std::thread::scope(|attackers| {
        let (stop, asked, run) = (&stop, &asked, &run);
        let flood_from = |machine, at: SocketAddr, words: &'static [&'static [u8]]| {
            attackers.spawn(move || println!("{at}: {} opened", flood(machine, at, words, stop)));
        };
        for n in 1..=3 {
            let at = SocketAddr::new(run.cluster.machine(n).ip4(), AGENT_PORT);
            // Strangers: half handshakes, and garbage.
            flood_from(stranger, at, &[HALF_HELLO]);
            flood_from(stranger, at, &GARBAGE);
            // Any program on a member's machine.
            let neighbour = run.cluster.machine(n % 3 + 1);
            flood_from(neighbour, at, &[HALF_HELLO, b""]);
            // Operators who look, again and again.
            attackers.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for words in [&["status"][..], &["events"], &["sessions"]] {
                        run.cluster.cli_at(n, words, SOON);
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // One client, through the virtual IP.
        flood_from(stranger, run.cluster.address(), &[b""]);
        let stayed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait::throughout("the address to stay", length, || {
                for n in 1..=3 {
                    files.fetch_max(needs(run.cluster.agent(n).pid()).1, Ordering::Relaxed);
                }
                match run.cluster.holder() {
                    Some(still) if still == holder => Ok(()),
                    other => Err(format!("{other:?} has it, not node-{holder}")),
                }
            });
        }));
        stop.store(true, Ordering::Relaxed);
        stayed.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    let gap = run.noticed_since(from);
    let memory = (1..=3).map(|n| needs(run.cluster.agent(n).pid()).0).max();
    let (memory, files) = (memory.unwrap_or(0), files.into_inner());
    println!(
        "{length:?}, {} questions: the client noticed {gap:?}; at most {memory} KiB and {files} files",
        asked.into_inner()
    );
    assert!(memory < MEMORY_MAX, "{memory} KiB");
    // The holder has sessions besides, two files each.
    assert!(files < FILES_MAX + 3 * KEPT, "{files} files");
    run.served_again();
    run.finish().assert_changes_of_hand(0);
}

/// Connections that ask nothing once kept operators and joiners out for a minute.
#[test]
fn a_node_lets_newcomers_in_while_idle_strangers_fill_it() {
    require_root!();
    let mut cluster = Cluster::machines_only(Plan::default());
    cluster.init(1);
    let at = SocketAddr::new(cluster.machine(1).ip4(), AGENT_PORT);
    wait::until("it to listen", SOON, || {
        let connected = cluster.machine(2).connect(at, PATIENCE);
        connected.map(drop).map_err(|e| e.to_string())
    });
    let idle: Vec<TcpStream> = (0..600_u16)
        .filter_map(|n| {
            let machine = cluster.machine(2 + (n % 2) as u8);
            machine.connect(at, PATIENCE).ok()
        })
        .collect();
    assert!(idle.len() > 300, "{}", idle.len());
    cluster.join(2, 1);
    // Whoever says nothing is not kept for long.
    for mut stream in idle {
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let closed = stream.read(&mut [0]);
        assert!(
            matches!(&closed, Ok(0))
                || closed
                    .as_ref()
                    .is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
            "{closed:?}"
        );
    }
}

/// The kinds of sockets that process `pid` has, as they are called under its `/proc/net`: those that others can send to.
fn sockets(pid: u32) -> BTreeSet<String> {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let links = links.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let inodes: BTreeSet<String> = links
        .filter_map(|link| {
            let link = link.to_str()?.to_owned();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let files = std::fs::read_dir(format!("/proc/{pid}/net")).expect("its network");
    let mut found = BTreeSet::new();
    for file in files.filter_map(Result::ok) {
        let kind = file.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        let is_its = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // Connections that it made or let in are no way in; whoever listens is (0A).
            let listens = !kind.starts_with("tcp") || words.get(3) == Some(&"0A");
            listens && words.iter().any(|word| inodes.contains(*word))
        };
        if text.lines().skip(1).any(is_its) {
            found.insert(kind.trim_end_matches('6').to_owned());
        }
    }
    found
}

#[test]
fn every_socket_of_an_agent_has_a_row_in_the_table_of_ways_in() {
    require_root!();
    let cluster = Cluster::start(Plan::default());
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let rows = page
        .lines()
        .skip_while(|l| !l.starts_with("way in | socket"));
    let known: BTreeSet<&str> = rows
        .skip(2)
        .map_while(|row| row.split(" | ").nth(1))
        .collect();
    for n in 1..=3 {
        let agent = cluster.agent(n);
        let open = sockets(agent.pid());
        println!("node-{n}: {open:?}");
        assert!(open.contains("tcp"), "{open:?}: {}", agent.tail());
        for kind in open {
            assert!(
                known.contains(kind.as_str()),
                "a {kind} socket: no row for it in docs/security.md"
            );
        }
    }
}
