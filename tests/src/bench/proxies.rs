//! The two proxies of the proxy benchmark, on the loopback of one machine, in
//! front of the same server: how each is set up, and how much processor it used.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::cluster::{Agent, Backend, Config, Frontend, Server, Timing, agent_program};
use crate::guard::find_program;
use crate::netns::Machine;
use crate::process::Process;
use crate::{sys, wait};

/// The port of the server behind both.
pub const SERVER_PORT: u16 = 9000;
const OURS: &str = "127.0.0.100";
const THEIRS: &str = "127.0.0.101";
const COPYING: &str = "127.0.0.102";
const FRONT_PORT: u16 = 9001;

pub struct Proxy {
    pub address: SocketAddr,
    process: Process,
}

/// The HAProxy that is measured against.
#[derive(Clone, Debug)]
pub struct Peer {
    pub program: PathBuf,
}

impl Peer {
    /// `named`, else the one that is installed.
    pub fn find(named: Option<String>) -> Option<Peer> {
        let program = named
            .map(PathBuf::from)
            .or_else(|| find_program("haproxy"))?;
        program.is_file().then_some(Peer { program })
    }

    /// What it says of itself, one line.
    pub fn version(&self) -> String {
        let said = Command::new(&self.program).arg("-v").output();
        let text = said.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        );
        text.lines().next().unwrap_or_default().to_owned()
    }

    /// Its configuration, as whoever wants throughput from it would write it: the kernel moves the bytes
    /// (`option splice-auto`) unless the program is to copy them.
    pub fn settings(threads: usize, server: SocketAddr, carries: Carries, address: &str) -> String {
        let splice = match carries {
            Carries::Splicing => "  option splice-auto\n",
            Carries::Copying => "",
        };
        format!(
            "global\n  maxconn 4000\n  nbthread {threads}\ndefaults\n  mode tcp\n{splice}  timeout connect 1s\n  \
             timeout client 1m\n  timeout server 1m\nfrontend front\n  bind {address}:{FRONT_PORT}\n  \
             default_backend back\nbackend back\n  balance roundrobin\n  server one {server} check inter 1s\n"
        )
    }
}

/// How HAProxy moves bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// In the kernel, with splice.
    Splicing,
    Copying,
}

impl Proxy {
    /// HAProxy in TCP mode with so many threads, on these processors, in front of a server.
    pub fn theirs(
        machine: &Machine,
        peer: &Peer,
        carries: Carries,
        threads: usize,
        cpus: &[usize],
        server: SocketAddr,
    ) -> Proxy {
        let (name, address) = match carries {
            Carries::Splicing => ("haproxy-bench", THEIRS),
            Carries::Copying => ("haproxy-copying", COPYING),
        };
        let file = machine.dir().join(format!("{name}.cfg"));
        let text = Peer::settings(threads, server, carries, address);
        std::fs::write(&file, text).expect("haproxy's configuration is written");
        let mut command = machine.command(&peer.program);
        command.arg("-db").arg("-f").arg(&file);
        Proxy::start(machine, name, command, address, cpus)
    }

    /// The product as a cluster of one in bind mode with so many workers, on these processors, in front of a server.
    pub fn ours(machine: &Machine, workers: usize, cpus: &[usize], server: SocketAddr) -> Proxy {
        let (dir, program) = (
            machine.dir().join(format!("bench-{workers}")),
            agent_program(),
        );
        std::fs::create_dir_all(&dir).expect("directory");
        let agent = Agent {
            name: "node-1".into(),
            data_dir: dir.join("data"),
            listen: "127.0.0.1:7400".into(),
            vip: "bind",
            fence: "auto",
            role: "server",
            interface: "lo",
            workers: Some(workers),
        };
        let server = Server {
            name: "one".into(),
            settings: format!(
                "address = \"{}\"\nport = {SERVER_PORT}\nweight = 1\n",
                server.ip()
            ),
        };
        let settings = format!(
            "balance = \"roundrobin\"\ncheck = {{ tcp = {SERVER_PORT}, inter = \"1s\" }}\n"
        );
        let config = Config {
            promise: None,
            voter_timeout: None,
            timing: Timing::Lan,
            virtual_ips: vec![format!("{OURS}/8")],
            frontends: vec![Frontend {
                name: "front".into(),
                listeners: FRONT_PORT.to_string(),
                backend: "back".into(),
            }],
            backends: vec![Backend {
                name: "back".into(),
                settings,
                servers: vec![server],
            }],
        };
        let (agent_file, cluster_file) = (dir.join("agent.toml"), dir.join("cluster.toml"));
        std::fs::write(&agent_file, agent.to_toml()).expect("agent.toml");
        std::fs::write(&cluster_file, config.to_toml()).expect("cluster.toml");
        let (agent_file, cluster_file) =
            (agent_file.to_string_lossy(), cluster_file.to_string_lossy());
        let words = [
            program.as_str(),
            "init",
            "--config",
            &agent_file,
            "--cluster",
            &cluster_file,
        ];
        machine
            .run(&words, Duration::from_secs(20))
            .ok()
            .unwrap_or_else(|why| panic!("ha-agent init: {why}"));
        let mut command = machine.command(&program);
        command.args(["run", "--config", &agent_file]);
        Proxy::start(machine, "agent-bench", command, OURS, cpus)
    }

    /// Processor time that it has used, all threads.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid()))
            .unwrap_or_default();
        // After the name in brackets: state is field 0, utime and stime are 11 and 12, in hundredths.
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|text| text.parse::<u64>().ok())
                .unwrap_or_default()
        };
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }

    fn start(
        machine: &Machine,
        name: &str,
        command: Command,
        address: &str,
        cpus: &[usize],
    ) -> Proxy {
        let log = machine.dir().join(format!("{name}.log"));
        let cpus = cpus.to_vec();
        // A child keeps the processors of the thread that it was born on.
        let born = std::thread::spawn({
            let name = name.to_owned();
            move || {
                sys::pin(&cpus).expect("processors exist");
                Process::start(&name, command, &log)
            }
        });
        let mut process = born.join().expect("starting does not panic");
        let address = SocketAddr::new(address.parse().expect("an address"), FRONT_PORT);
        wait::until(
            &format!("{name} to forward"),
            Duration::from_secs(20),
            || {
                assert!(
                    process.ended().is_none(),
                    "{name} ended: {}",
                    process.tail()
                );
                echoes(machine, address).map_err(|error| error.to_string())
            },
        );
        Proxy { address, process }
    }
}

/// One byte goes through and comes back.
fn echoes(machine: &Machine, to: SocketAddr) -> std::io::Result<()> {
    use std::io::{Read, Write};
    let mut stream = machine.connect(to, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}
