//! Four namespaces: a switch, the node `a`, another node `b`, a client `c`.

use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static NUMBER: AtomicU32 = AtomicU32::new(0);
/// Who measures times is alone; who only waits is beside others of its kind.
static TURN: RwLock<()> = RwLock::new(());

enum Turn {
    Alone(#[allow(dead_code, reason = "held")] RwLockWriteGuard<'static, ()>),
    Beside(#[allow(dead_code, reason = "held")] RwLockReadGuard<'static, ()>),
}

pub const V4: &str = "10.77.0.100";
pub const V6: &str = "fd77::100";

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("a literal")
}

pub struct Net {
    id: String,
    _turn: Turn,
}

impl Net {
    /// For who measures milliseconds; `None` without root.
    pub fn new() -> Option<Net> {
        Net::with(|| Turn::Alone(TURN.write().unwrap_or_else(PoisonError::into_inner)))
    }

    /// For who waits for seconds, beside others that do.
    pub fn beside_others() -> Option<Net> {
        Net::with(|| Turn::Beside(TURN.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn with(turn: impl FnOnce() -> Turn) -> Option<Net> {
        // SAFETY: no arguments, cannot fail.
        if unsafe { libc::geteuid() } != 0 {
            assert!(std::env::var("CI").is_err(), "these tests need root");
            eprintln!("skipped: needs root");
            return None;
        }
        let turn = turn();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let net = Net {
            id: format!("hv-{}-{number}", std::process::id()),
            _turn: turn,
        };
        let switch = net.name("sw");
        sh(&format!("ip netns add {switch}"));
        sh(&format!(
            "ip -n {switch} link add name bridge0 type bridge && ip -n {switch} link set bridge0 up"
        ));
        for (node, n) in [("a", 1), ("b", 2), ("c", 3)] {
            let name = net.name(node);
            sh(&format!(
                "ip netns add {name} && ip -n {name} link set lo up && \
                 ip -n {switch} link add name to-{node} type veth peer name eth0 netns {name} && \
                 ip -n {switch} link set to-{node} master bridge0 up && \
                 ip -n {name} link set eth0 up && ip -n {name} addr add 10.77.0.{n}/24 dev eth0 && \
                 ip -n {name} addr add fd77::{n}/64 dev eth0 nodad"
            ));
        }
        // Else the node's own IPv6 address does not come back with the link.
        net.sh("a", "sysctl -qw net.ipv6.conf.all.keep_addr_on_down=1");
        Some(net)
    }

    pub fn name(&self, node: &str) -> String {
        format!("{}-{node}", self.id)
    }

    /// Runs a shell command inside a node; its output.
    pub fn sh(&self, node: &str, command: &str) -> String {
        let name = self.name(node);
        sh(&format!("ip netns exec {name} sh -c '{command}'"))
    }

    /// Runs `work` in a thread that lives in the node; so do the threads it starts.
    pub fn spawn<T: Send + 'static>(
        &self,
        node: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        let path = format!("/run/netns/{}", self.name(node));
        std::thread::spawn(move || {
            let file = std::fs::File::open(path).expect("a namespace");
            // SAFETY: a plain descriptor; changes this thread only.
            let moved = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(moved, 0, "setns");
            work()
        })
    }

    pub fn within<T: Send + 'static>(
        &self,
        node: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.spawn(node, work).join().expect("no panic inside")
    }

    pub fn has_address(&self, node: &str, address: &str) -> bool {
        self.sh(node, "ip addr show dev eth0")
            .contains(&format!(" {address}/"))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for node in ["a", "b", "c", "sw"] {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.name(node)])
                .status();
        }
    }
}

/// Runs a shell command that must succeed; its output.
pub fn sh(command: &str) -> String {
    let output = Command::new("sh")
        .args(["-c", command])
        .output()
        .expect("sh");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
