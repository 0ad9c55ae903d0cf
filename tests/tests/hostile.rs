//! Garbage on every port closes that connection and nothing else. Needs no root: one agent on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ha_tests::cluster::{agent_program, cli_program};
use ha_tests::process::{Process, run};
use ha_tests::wait;

const BOUND: Duration = Duration::from_secs(20);

/// An address that nobody has at the moment.
fn free(ip: [u8; 4]) -> SocketAddr {
    TcpListener::bind(SocketAddr::from((ip, 0))).and_then(|l| l.local_addr()).expect("a free port")
}

struct Site {
    agent: Process,
    listen: SocketAddr,
    front: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Site {
    /// One agent in bind mode in front of a server that echoes.
    fn start() -> Site {
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
        let agent = format!("name = \"node-1\"\ndata_dir = {data:?}\nlisten = \"{listen}\"\nvip = \"bind\"\n");
        let cluster = format!(
            "[[virtual_ip]]\nname = \"v\"\naddress = \"127.0.0.99/8\"\n[[frontend]]\nname = \"f\"\nvirtual_ip = \"v\"\nlisteners = [{}]\nbackend = \"b\"\n\
             [[backend]]\nname = \"b\"\n[[backend.server]]\nname = \"s\"\naddress = \"127.0.0.1\"\nport = {port}\n",
            front.port()
        );
        std::fs::write(&agent_file, agent).expect("agent.toml");
        std::fs::write(&cluster_file, cluster).expect("cluster.toml");
        must(&agent_program(), &["init", "--config", text(&agent_file), "--cluster", text(&cluster_file)]);
        let mut command = Command::new(agent_program());
        command.args(["run", "--config", text(&agent_file)]);
        let agent = Process::start("ha-agent", command, &dir.path().join("agent.log"));
        let site = Site { agent, listen, front, _dir: dir };
        site.serves();
        site
    }

    /// The proxy carries bytes and the API answers.
    fn serves(&self) {
        wait::until("a client to be served", BOUND, || ask(self.front).map_err(|e| format!("{e}\n{}", self.agent.tail())));
        must(&cli_program(), &["--address", &self.listen.to_string(), "--output", "json", "status"]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

fn must(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args);
    run(command, b"", BOUND).ok().unwrap_or_else(|e| panic!("{program} {args:?}: {e}"))
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
    if &answer == b"hello" { Ok(()) } else { Err(std::io::Error::other(format!("{answer:?}"))) }
}

/// Bytes from a fixed sequence: the same in every run.
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        })
        .collect()
}

#[test]
fn garbage_closes_its_connection_and_nothing_else() {
    let mut site = Site::start();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut kept = TcpStream::connect(site.front).expect("a session that must survive");
    kept.set_read_timeout(Some(Duration::from_secs(2))).expect("a bound");
    for seed in 0..60 {
        let noise = garbage(seed, 1 + (seed as usize * 37) % 3000);
        let bytes = match seed % 4 {
            0 => noise,
            1 => [preface.clone(), noise].concat(),
            2 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            // A frame that announces far more than follows.
            _ => [preface.clone(), vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], noise].concat(),
        };
        let mut stream = TcpStream::connect(site.listen).expect("the agent's port accepts");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a bound");
        // The agent may close while we are still writing.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let began = Instant::now();
        let mut rest = Vec::new();
        let _ = stream.take(1 << 20).read_to_end(&mut rest);
        assert!(began.elapsed() < Duration::from_secs(5), "garbage {seed} was left hanging");
    }
    kept.write_all(b"still").expect("the session is there");
    let mut answer = [0; 5];
    kept.read_exact(&mut answer).expect("and carries bytes");
    assert!(site.agent.ended().is_none(), "the agent ended:\n{}", site.agent.tail());
    site.serves();
    assert!(!site.agent.tail().contains("panicked"), "{}", site.agent.tail());
}

#[test]
fn a_second_agent_on_the_same_data_is_refused() {
    let site = Site::start();
    let mut command = Command::new(agent_program());
    command.args(["run", "--config", text(&site._dir.path().join("agent.toml"))]);
    let refused = run(command, b"", BOUND).ok().expect_err("two agents on one data_dir");
    assert!(refused.contains("in use by another process"), "{refused}");
    site.serves();
}
