//! One machine: a namespace with an `eth0` whose other end is a port of the
//! switch. It has a cable that can be pulled and power that can be cut; its
//! directory is its disk and survives both.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Family, MANY_CLIENTS, pids_in, remove_namespace};
use crate::process::{self, Finished, Process, must};
use crate::sys;

/// What a machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs the system under test and its servers.
    Node,
    Client,
}

/// One node or client machine.
#[derive(Debug)]
pub struct Machine {
    /// Also its namespace: `node-1`, `client-1` and so on.
    pub name: String,
    /// From 1, in its role.
    pub number: u8,
    role: Role,
    family: Family,
    namespace: String,
    switch: String,
    dir: PathBuf,
}

impl Machine {
    pub(super) fn new(
        prefix: &str,
        (role, number): (Role, u8),
        family: Family,
        switch: &str,
        root: &Path,
    ) -> Machine {
        let name = match role {
            Role::Node => format!("node-{number}"),
            Role::Client => format!("client-{number}"),
        };
        let dir = root.join(&name);
        std::fs::create_dir_all(&dir).expect("machine directory");
        Machine {
            namespace: format!("{prefix}{name}"),
            name,
            number,
            role,
            family,
            switch: switch.into(),
            dir,
        }
    }

    /// Where it is reached, in the family of its network.
    pub fn ip(&self) -> IpAddr {
        match self.family {
            Family::Four => self.ip4(),
            Family::Six => self.ip6(),
        }
    }

    pub fn ip4(&self) -> IpAddr {
        IpAddr::from([10, 77, 0, self.host_byte()])
    }

    pub fn ip6(&self) -> IpAddr {
        IpAddr::from([0xfd77, 0, 0, 0, 0, 0, 0, u16::from(self.host_byte())])
    }

    pub fn mac(&self) -> [u8; 6] {
        [
            0x02,
            0x77,
            0,
            0,
            u8::from(self.role == Role::Client) + 1,
            self.number,
        ]
    }

    /// The name of its network namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its port on the switch.
    pub fn port(&self) -> String {
        format!("p-{}", self.name)
    }

    /// Its disk: survives power off.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A command that will run on this machine.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace])
            .arg(program);
        command
    }

    /// Starts a long-running program here; output goes to `NAME.log` on its disk.
    pub fn spawn<S: AsRef<std::ffi::OsStr>>(
        &self,
        name: &str,
        program: S,
        args: &[&str],
    ) -> Process {
        let mut command = self.command(program);
        command.args(args);
        let label = format!("{name} on {}", self.name);
        Process::start(&label, command, &self.dir.join(format!("{name}.log")))
    }

    /// Runs a command line here to its end, at most for `bound`.
    pub fn run(&self, words: &[&str], bound: Duration) -> Finished {
        let mut command = self.command(words[0]);
        command.args(&words[1..]);
        process::run(command, b"", bound)
    }

    /// Writes a kernel setting of this machine, as in `net/ipv4/ip_nonlocal_bind`.
    pub fn sysctl(&self, key: &str, value: &str) {
        sys::in_netns(&self.namespace, || {
            std::fs::write(format!("/proc/sys/{key}"), value)
        })
        .and_then(|written| written)
        .unwrap_or_else(|error| panic!("{}: sysctl {key}={value}: {error}", self.name));
    }

    /// Connects from this machine.
    pub fn connect(&self, to: SocketAddr, bound: Duration) -> io::Result<TcpStream> {
        sys::in_netns(&self.namespace, || TcpStream::connect_timeout(&to, bound))?
    }

    /// True when its kernel has this address on an interface.
    pub fn has_address(&self, address: IpAddr) -> bool {
        let Ok(file) = sys::in_netns(&self.namespace, || {
            let mut command = Command::new("ip");
            command.args(["-o", "addr", "show", "to", &address.to_string()]);
            // The thread is in the namespace, and a child is born where its thread is.
            process::run(command, b"", Duration::from_secs(5)).text()
        }) else {
            return false;
        };
        !file.trim().is_empty()
    }

    /// Pulls the cable: the port of the switch goes down, `eth0` loses its carrier.
    pub fn unplug(&self) -> Instant {
        self.set_port(false)
            .unwrap_or_else(|error| panic!("{}: unplug: {error}", self.name));
        Instant::now()
    }

    /// Puts the cable back.
    pub fn plug(&self) {
        self.set_port(true)
            .unwrap_or_else(|error| panic!("{}: plug: {error}", self.name));
    }

    /// Cuts the power: first the cable, so that no closing packet escapes, then every
    /// process in the same breath, then the namespace.
    pub fn power_off(&self) -> Instant {
        let at = self.unplug();
        for pid in pids_in(&self.namespace) {
            // One that has just ended is as good.
            let _ = sys::signal(pid, libc::SIGKILL);
        }
        remove_namespace(&self.namespace);
        at
    }

    /// Everything on it stands still, as while a hypervisor takes a snapshot, and goes on after so long.
    pub fn stall(&self, length: Duration) -> Instant {
        let at = Instant::now();
        let all = pids_in(&self.namespace);
        let tell = |signal| all.iter().for_each(|&pid| drop(sys::signal(pid, signal)));
        tell(libc::SIGSTOP);
        // The length is what is asked for, and not a condition.
        std::thread::sleep(length);
        tell(libc::SIGCONT);
        at
    }

    /// True between power on and power off.
    pub fn is_on(&self) -> bool {
        Path::new("/run/netns").join(&self.namespace).exists()
    }

    /// Switches the machine on: a new kernel network with the same addresses, no processes.
    pub fn power_on(&self) {
        let (ns, switch, port) = (self.namespace.as_str(), self.switch.as_str(), self.port());
        // The old port goes with the old namespace, a little later: make sure.
        let _ = Command::new("ip")
            .args(["-n", switch, "link", "del", &port])
            .output();
        must(&["ip", "netns", "add", ns], "");
        for key in ["all", "default"] {
            self.sysctl(&format!("net/ipv6/conf/{key}/accept_dad"), "0");
            self.sysctl(&format!("net/ipv6/conf/{key}/accept_ra"), "0");
        }
        must(
            &[
                "ip", "-n", switch, "link", "add", &port, "type", "veth", "peer", "name", "eth0",
                "netns", ns,
            ],
            "",
        );
        must(
            &["ip", "-n", switch, "-batch", "-"],
            &format!("link set {port} master br0\nlink set {port} up\n"),
        );
        must(&["ip", "-n", ns, "-batch", "-"], &self.setup());
        if self.role == Role::Client {
            self.sysctl("net/ipv4/ip_local_port_range", "1024 65000");
            self.sysctl("net/ipv4/tcp_tw_reuse", "1");
        }
    }

    pub(super) fn remove(&self) {
        remove_namespace(&self.namespace);
    }

    fn setup(&self) -> String {
        let mac = self.mac().map(|byte| format!("{byte:02x}")).join(":");
        let ip6 = self.ip6();
        let mut script = format!(
            "link set lo up\nlink set eth0 address {mac}\n\
             addr add {ip6}/64 dev eth0 nodad\nlink set eth0 up\n"
        );
        if self.family == Family::Six {
            return script;
        }
        script += &format!("addr add {}/24 dev eth0\n", self.ip4());
        // Routed, not on-link: ten thousand neighbours would overflow the kernel's table.
        script += &match (self.role, self.number) {
            (Role::Node, _) => format!("route add {MANY_CLIENTS} via 10.77.0.201\n"),
            (Role::Client, 1) => format!("route add local {MANY_CLIENTS} dev lo\n"),
            (Role::Client, _) => String::new(),
        };
        script
    }

    fn set_port(&self, up: bool) -> io::Result<()> {
        let port = self.port();
        sys::in_netns(&self.switch, || sys::set_link(&port, up))?
    }

    fn host_byte(&self) -> u8 {
        match self.role {
            Role::Node => self.number,
            Role::Client => 200 + self.number,
        }
    }
}
