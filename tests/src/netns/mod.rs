//! Machines as network namespaces on one switch: this module owns everything
//! that is created in the kernel for a test, and takes all of it away again.
//!
//! * [`Topology`] (here): builds and removes; leftovers of a crashed run go first.
//! * [`Family`]: in IPv4 or in IPv6.
//! * [`Machine`]: one node or client: processes, addresses, cable, power.
//! * `cuts`: frames dropped between two machines, one way or both.

mod cuts;
mod family;
mod machine;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

pub use family::Family;
pub use machine::{Machine, Role};

use crate::process::must;
use crate::turn::{Taken, Turn};
use crate::{sys, wait};

const PREFIX: &str = "hat-";
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The IPv4 virtual IP that tests use.
pub const VIP4: &str = "10.77.0.100";
/// The IPv6 virtual IP that tests use.
pub const VIP6: &str = "fd77::100";
/// The addresses of the many clients; routed to `client-1`, all of it local there.
pub const MANY_CLIENTS: &str = "10.78.0.0/16";

/// One switch and the machines on it. Removed on drop, also after a panic.
#[derive(Debug)]
pub struct Topology {
    nodes: Vec<Machine>,
    clients: Vec<Machine>,
    switch: String,
    dir: Option<TempDir>,
    // Last: it ends when everything else is gone.
    _turn: Taken,
}

impl Topology {
    /// Builds a switch with so many nodes and clients, when it is its turn.
    pub fn new(nodes: u8, clients: u8, turn: Turn) -> Topology {
        Topology::of(Family::Four, nodes, clients, turn)
    }

    /// The same with addresses of this family.
    pub fn of(family: Family, nodes: u8, clients: u8, turn: Turn) -> Topology {
        let taken = turn.take();
        remove_leftovers(turn);
        let prefix = format!(
            "{PREFIX}{}-{}-",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = tempfile::Builder::new()
            .prefix("ha-tests-")
            .tempdir()
            .expect("temporary directory");
        let switch = format!("{prefix}sw");
        let mut topology = Topology {
            nodes: vec![],
            clients: vec![],
            switch,
            dir: Some(dir),
            _turn: taken,
        };
        topology.build_switch();
        for number in 1..=nodes {
            let machine = Machine::new(
                &prefix,
                (Role::Node, number),
                family,
                &topology.switch,
                topology.dir(),
            );
            topology.nodes.push(machine);
            topology.node(number).power_on();
        }
        for number in 1..=clients {
            let machine = Machine::new(
                &prefix,
                (Role::Client, number),
                family,
                &topology.switch,
                topology.dir(),
            );
            topology.clients.push(machine);
            topology.client(number).power_on();
        }
        topology
    }

    /// Node `number`, from 1.
    pub fn node(&self, number: u8) -> &Machine {
        &self.nodes[usize::from(number) - 1]
    }

    pub fn nodes(&self) -> &[Machine] {
        &self.nodes
    }

    pub fn clients(&self) -> &[Machine] {
        &self.clients
    }

    /// Client machine `number`, from 1.
    pub fn client(&self, number: u8) -> &Machine {
        &self.clients[usize::from(number) - 1]
    }

    /// The namespace of the switch.
    pub fn switch(&self) -> &str {
        &self.switch
    }

    /// Configuration, data and logs of this topology.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("present until drop").path()
    }

    /// The nodes whose kernel has this address on an interface.
    pub fn who_has(&self, address: IpAddr) -> Vec<u8> {
        self.nodes
            .iter()
            .filter(|node| node.has_address(address))
            .map(|node| node.number)
            .collect()
    }

    fn build_switch(&self) {
        let switch = self.switch.as_str();
        must(&["ip", "netns", "add", switch], "");
        // No multicast snooping: a switch that forgets who listens is a test of its own.
        must(
            &["ip", "-n", switch, "-batch", "-"],
            "link set lo up\nlink add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br0 up\n",
        );
        cuts::prepare(switch);
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        for machine in self.nodes.iter().chain(&self.clients) {
            machine.remove();
        }
        remove_namespace(&self.switch);
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            let kept = dir.keep();
            eprintln!(
                "logs and data of the failed test are kept in {}",
                kept.display()
            );
        }
    }
}

/// Kills what runs in a namespace (only what this crate started can be there) and deletes it.
fn remove_namespace(name: &str) {
    let bound = Duration::from_secs(5);
    let gone = wait::try_until(bound, || {
        let pids = pids_in(name);
        pids.iter()
            .for_each(|&pid| drop(sys::signal(pid, libc::SIGKILL)));
        if pids.is_empty() {
            Ok(())
        } else {
            Err(format!("{pids:?}"))
        }
    });
    if let Err(left) = gone {
        eprintln!("processes in {name} survive SIGKILL: {left}");
    }
    let _ = std::process::Command::new("ip")
        .args(["netns", "del", name])
        .output();
}

/// The processes whose network namespace is this one; zombies are not counted.
fn pids_in(namespace: &str) -> Vec<u32> {
    use std::os::unix::fs::MetadataExt;
    let Ok(wanted) = std::fs::metadata(Path::new("/run/netns").join(namespace)) else {
        return vec![];
    };
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return vec![];
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|&pid| pid != std::process::id())
        .filter(|pid| {
            let namespace = std::fs::metadata(PathBuf::from(format!("/proc/{pid}/ns/net")));
            namespace.is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
        })
        .collect()
}

/// Removes namespaces of runs that crashed. Who is alone knows that every one found is such; beside others it is
/// one whose process is gone.
fn remove_leftovers(turn: Turn) {
    let Ok(entries) = std::fs::read_dir("/run/netns") else {
        return;
    };
    let left = |name: &str| {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        owner.is_some_and(|pid| turn == Turn::Alone || !Path::new("/proc").join(pid).exists())
    };
    for entry in entries.flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|name| left(name)) {
            remove_namespace(name);
        }
    }
}
