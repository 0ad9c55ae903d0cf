//! One agent on loopback, in bind mode, in front of a server that echoes: for tests that need no root.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cluster::{agent_program, cli_program};
use crate::process::{Finished, Process, run};
use crate::turn::{Taken, Turn};
use crate::wait;

const BOUND: Duration = Duration::from_secs(20);

/// An address that nobody has at the moment.
fn free(ip: [u8; 4]) -> SocketAddr {
    TcpListener::bind(SocketAddr::from((ip, 0)))
        .and_then(|l| l.local_addr())
        .expect("a free port")
}

pub struct Site {
    pub agent: Process,
    /// Where operators reach it.
    pub listen: SocketAddr,
    /// Where clients reach it.
    pub front: SocketAddr,
    dir: tempfile::TempDir,
    _turn: Taken,
}

impl Site {
    /// Founds a cluster of this one node beside others, starts it and waits until a client is served.
    pub fn start() -> Site {
        let turn = Turn::BesideOthers.take();
        let dir = tempfile::tempdir().expect("a directory");
        let (listen, front) = (free([127, 0, 0, 1]), free([127, 0, 0, 99]));
        let server = TcpListener::bind("127.0.0.1:0").expect("a server");
        let port = server.local_addr().expect("its address").port();
        std::thread::spawn(move || {
            for stream in server.incoming().flatten() {
                std::thread::spawn(move || echo(stream));
            }
        });
        let agent_file = dir.path().join("agent.toml");
        let cluster_file = dir.path().join("cluster.toml");
        let data = dir.path().join("data");
        let agent = format!(
            "name = \"node-1\"\ndata_dir = {data:?}\nlisten = \"{listen}\"\nvip = \"bind\"\n"
        );
        let cluster = format!(
            "[[virtual_ip]]\nname = \"v\"\naddress = \"127.0.0.99/8\"\n[[frontend]]\nname = \"f\"\nvirtual_ip = \"v\"\nlisteners = [{}]\nbackend = \"b\"\n\
             [[backend]]\nname = \"b\"\n[[backend.server]]\nname = \"s\"\naddress = \"127.0.0.1\"\nport = {port}\n",
            front.port()
        );
        std::fs::write(&agent_file, agent).expect("agent.toml");
        std::fs::write(&cluster_file, cluster).expect("cluster.toml");
        must(
            &agent_program(),
            &[
                "init",
                "--config",
                text(&agent_file),
                "--cluster",
                text(&cluster_file),
            ],
        );
        let site = Site {
            agent: running(dir.path()),
            listen,
            front,
            dir,
            _turn: turn,
        };
        site.serves();
        site
    }

    /// The proxy carries bytes and the API answers.
    pub fn serves(&self) {
        wait::until("a client to be served", BOUND, || {
            ask(self.front).map_err(|e| format!("{e}\n{}", self.agent.tail()))
        });
        self.cli(&["status"])
            .ok()
            .unwrap_or_else(|e| panic!("ha-cli status: {e}"));
    }

    /// The node holds: it leads, and knows everything that was committed.
    pub fn holds(&self) {
        wait::until("the node to hold", BOUND, || {
            self.leads()
                .map_err(|e| format!("{e}\n{}", self.agent.tail()))
        });
    }

    /// Whether it does now.
    pub fn leads(&self) -> Result<(), String> {
        let status = self.cli(&["status"]).ok()?;
        let status: serde_json::Value = serde_json::from_str(&status).map_err(|e| e.to_string())?;
        if status["holder"].as_str().is_some_and(|h| !h.is_empty()) {
            Ok(())
        } else {
            Err(status.to_string())
        }
    }

    /// `ha-cli`, with JSON as its output.
    pub fn cli(&self, words: &[&str]) -> Finished {
        let mut command = Command::new(cli_program());
        command
            .args([
                "--address",
                &format!("unix:{}", self.data().join("control.sock").display()),
                "--output",
                "json",
            ])
            .args(words);
        run(command, b"", BOUND)
    }

    /// Starts the agent again after it has ended.
    pub fn start_again(&mut self) {
        self.agent = running(self.dir.path());
    }

    /// The same under another program, such as one that sets limits.
    pub fn start_under(&mut self, words: &[&str]) {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(agent_program()).args([
            "run",
            "--config",
            text(&self.dir.path().join("agent.toml")),
        ]);
        self.agent = Process::start("ha-agent", command, &self.dir.path().join("agent.log"));
    }

    /// `ha-agent` with this node's file, to its end.
    pub fn ha_agent(&self, word: &str) -> Finished {
        let mut command = Command::new(agent_program());
        command.args([word, "--config", text(&self.dir.path().join("agent.toml"))]);
        run(command, b"", BOUND)
    }

    /// Where the node keeps its log and identity.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

fn running(dir: &Path) -> Process {
    let mut command = Command::new(agent_program());
    command.args(["run", "--config", text(&dir.join("agent.toml"))]);
    Process::start("ha-agent", command, &dir.join("agent.log"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

fn must(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args);
    run(command, b"", BOUND)
        .ok()
        .unwrap_or_else(|e| panic!("{program} {args:?}: {e}"))
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

fn ask(at: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"hello")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    if &answer == b"hello" {
        Ok(())
    } else {
        Err(std::io::Error::other(format!("{answer:?}")))
    }
}
