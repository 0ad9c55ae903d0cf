//! The peer: keepalived (VRRP) in front of HAProxy, on the same machines and
//! with the same servers as the product would have, set up as its manual and
//! its users do it, and well: redispatch, fast checks, a stick table shared by peers.
//!
//! `config` writes the files. Nothing is installed; [`available`] says what is there.

mod config;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::guard::find_program;
use crate::netns::{Topology, VIP4};
use crate::process::Process;
use crate::servers;
use crate::system::System;
use crate::turn::Turn;
use crate::wait;
pub use config::Adverts;

/// The port that clients use.
pub const PORT: u16 = 5022;

/// keepalived + HAProxy on every node of a topology.
pub struct Peer {
    adverts: Adverts,
    keepalived: BTreeMap<u8, Process>,
    haproxy: BTreeMap<u8, Process>,
    servers: BTreeMap<u8, Process>,
    name: String,
    // Last: processes are reaped while their namespaces are still there.
    topology: Topology,
}

/// Says what is missing, if anything.
pub fn available() -> Result<(), String> {
    let missing: Vec<_> = ["keepalived", "haproxy"]
        .into_iter()
        .filter(|name| find_program(name).is_none())
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("{} not installed", missing.join(" and ")))
    }
}

impl Peer {
    /// Starts it on so many nodes (and one client machine) and waits until it serves.
    pub fn start(nodes: u8, adverts: Adverts) -> Peer {
        let name = format!("keepalived ({adverts}) + HAProxy");
        let (keepalived, haproxy, servers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let topology = Topology::new(nodes, 1, Turn::Alone);
        let mut peer = Peer {
            topology,
            adverts,
            keepalived,
            haproxy,
            servers,
            name,
        };
        for node in 1..=nodes {
            peer.start_node(node);
        }
        let holder = peer.wait_for_holder(Duration::from_secs(20));
        for node in 1..=nodes {
            peer.wait_for_checks(node);
        }
        assert_eq!(
            peer.holder(),
            Some(holder),
            "the address stays where it is while nothing happens"
        );
        peer
    }

    /// `kill -9` of keepalived alone: HAProxy goes on and the kernel keeps the address.
    pub fn kill_keepalived(&mut self, node: u8) -> Instant {
        kill_with_children(self.keepalived.remove(&node));
        Instant::now()
    }

    fn start_node(&mut self, number: u8) {
        let machine = self.topology.node(number);
        machine.sysctl("net/ipv4/ip_nonlocal_bind", "1");
        let own = machine.ip4().to_string();
        self.servers.insert(
            number,
            servers::sample(machine, &format!("server-{number}"), &own, &[PORT]),
        );
        self.start_haproxy(number);
        self.start_keepalived(number);
    }

    fn start_haproxy(&mut self, number: u8) {
        let machine = self.topology.node(number);
        let file = machine.dir().join("haproxy.cfg");
        std::fs::write(&file, config::haproxy(&self.topology, number, PORT)).expect("haproxy.cfg");
        let program = find_program("haproxy").expect("available() was asked");
        // -db: foreground, one process, so that its pid is the one that was started.
        let process = machine.spawn("haproxy", program, &["-db", "-f", &file.to_string_lossy()]);
        self.haproxy.insert(number, process);
    }

    fn start_keepalived(&mut self, number: u8) {
        let machine = self.topology.node(number);
        let dir = machine.dir().display();
        let file = machine.dir().join("keepalived.conf");
        std::fs::write(
            &file,
            config::keepalived(&self.topology, number, self.adverts),
        )
        .expect("keepalived.conf");
        let program = find_program("keepalived").expect("available() was asked");
        // As a boot would: a pid of before may be another process now, and keepalived then refuses to start.
        for name in ["keepalived.pid", "vrrp.pid"] {
            let _ = std::fs::remove_file(machine.dir().join(name));
        }
        let (pid, vrrp) = (
            format!("--pid={dir}/keepalived.pid"),
            format!("--vrrp_pid={dir}/vrrp.pid"),
        );
        let config = format!("--use-file={}", file.display());
        let args = [
            "--dont-fork",
            "--log-console",
            "--vrrp",
            &pid,
            &vrrp,
            &config,
        ];
        self.keepalived
            .insert(number, machine.spawn("keepalived", program, &args));
    }

    /// A signal to keepalived, its child, and HAProxy of a node, as far as they run.
    fn signal(&self, node: u8, signal: i32) {
        let (keepalived, haproxy) = (
            self.keepalived.get(&node).map(Process::pid),
            self.haproxy.get(&node).map(Process::pid),
        );
        for pid in keepalived
            .into_iter()
            .flat_map(|pid| [vec![pid], children(pid)].concat())
            .chain(haproxy)
        {
            let _ = crate::sys::signal(pid, signal);
        }
    }

    /// Waits until a node's HAProxy sees all servers of running machines up and keepalived has a state.
    fn wait_for_checks(&mut self, number: u8) {
        let running = self
            .topology
            .nodes()
            .iter()
            .filter(|node| node.is_on())
            .count();
        let machine = self.topology.node(number);
        let socket = machine.dir().join("haproxy.sock");
        wait::until(
            &format!("HAProxy of node-{number} to see {running} servers up"),
            Duration::from_secs(20),
            || {
                let stat = ask(&socket, "show stat\n").map_err(|error| error.to_string())?;
                let up = stat
                    .lines()
                    .filter(|line| {
                        line.starts_with("terminal-servers,server-") && line.contains(",UP,")
                    })
                    .count();
                if up == running {
                    Ok(())
                } else {
                    Err(format!("{up} up"))
                }
            },
        );
        let keepalived = &self.keepalived[&number];
        wait::until(
            &format!("keepalived of node-{number} to have a state"),
            Duration::from_secs(20),
            || {
                let log = std::fs::read_to_string(&keepalived.log).unwrap_or_default();
                // Its lines come in no fixed order, but each start has one of each.
                let count = |words: &str| log.lines().filter(|line| line.contains(words)).count();
                let ready = count("Starting Keepalived") == count("STATE (init)");
                ready.then_some(()).ok_or_else(|| keepalived.tail())
            },
        );
    }
}

impl System for Peer {
    fn name(&self) -> &str {
        &self.name
    }

    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::new(VIP4.parse().expect("an address"), PORT)
    }

    fn holder(&self) -> Option<u8> {
        let holders = self.topology.who_has(self.address().ip());
        (holders.len() == 1).then(|| holders[0])
    }

    fn kill_machine(&mut self, node: u8) -> Instant {
        let at = self.topology.node(node).power_off();
        for processes in [&mut self.keepalived, &mut self.haproxy, &mut self.servers] {
            processes.remove(&node);
        }
        at
    }

    fn kill_process(&mut self, node: u8) -> Instant {
        let at = Instant::now();
        kill_with_children(self.keepalived.remove(&node));
        kill_with_children(self.haproxy.remove(&node));
        at
    }

    fn stop_process(&mut self, node: u8) -> Instant {
        let at = Instant::now();
        self.signal(node, libc::SIGSTOP);
        at
    }

    fn graceful_move(&mut self, from: u8) -> Instant {
        let at = Instant::now();
        let mut keepalived = self
            .keepalived
            .remove(&from)
            .expect("keepalived runs on the node");
        keepalived.terminate(Duration::from_secs(10));
        at
    }

    fn restore(&mut self, node: u8) {
        if !self.topology.node(node).is_on() {
            self.topology.node(node).power_on();
            self.start_node(node);
        } else {
            // They may have been stopped.
            self.signal(node, libc::SIGCONT);
            // What keepalived left when it was killed; its next start takes it over, so remove it as an operator would.
            if !self.keepalived.contains_key(&node)
                && self.topology.node(node).has_address(self.address().ip())
            {
                let words = ["ip", "addr", "del", &format!("{VIP4}/24"), "dev", "eth0"];
                let _ = self.topology.node(node).run(&words, Duration::from_secs(5));
            }
            if !self.haproxy.contains_key(&node) {
                self.start_haproxy(node);
            }
            if !self.keepalived.contains_key(&node) {
                self.start_keepalived(node);
            }
        }
        let all: Vec<_> = self.haproxy.keys().copied().collect();
        for node in all {
            self.wait_for_checks(node);
        }
    }
}

/// keepalived's child would go on for a moment without its parent: both, child first.
fn kill_with_children(process: Option<Process>) {
    let Some(mut process) = process else { return };
    let pid = process.pid();
    // Stopped first, so that it does not start a new child when the old one is killed.
    let _ = crate::sys::signal(pid, libc::SIGSTOP);
    for child in children(pid) {
        let _ = crate::sys::signal(child, libc::SIGKILL);
    }
    process.kill();
}

fn children(pid: u32) -> Vec<u32> {
    let words =
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    words
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn ask(socket: &std::path::Path, question: &str) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(question.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
