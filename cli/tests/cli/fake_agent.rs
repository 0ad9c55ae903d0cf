//! A stand-in for `ha-agent`, good enough for the demo: whoever locks a file leads, binds the
//! virtual address and passes every connection to one server. The lock goes with the process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ha_proto::control::{NodeStatus, StatusReply};

use crate::common::{Mock, Scene};

/// What the stand-in does wrong, by the name in `HA_FAKE_FAULT`.
pub const FAULTS: [&str; 3] = ["init fails", "run ends", "changes server"];

/// Does what `ha-agent ARGS` would do. Returns when that is done.
pub fn act(args: &[String], fault: &str) {
    let text = |path: &Path| std::fs::read_to_string(path).expect("the demo wrote it");
    let value_of = |name: &str| {
        args.iter()
            .skip_while(|a| *a != name)
            .nth(1)
            .map(PathBuf::from)
    };
    let config = text(&value_of("--config").expect("--config is given"));
    let dir = PathBuf::from(value(&config, "data_dir"))
        .parent()
        .expect("it is in the demo's directory")
        .to_path_buf();
    match args[0].as_str() {
        "init" => {
            if fault == "init fails" {
                fail("error: cluster.toml:3: nobody likes this");
            }
            std::fs::copy(
                value_of("--cluster").expect("--cluster is given"),
                dir.join("fake-cluster"),
            )
            .unwrap();
        }
        "join" => {}
        _ => {
            if fault == "run ends" {
                fail("error: the disk is on fire");
            }
            run(
                &value(&config, "name"),
                Path::new(&value(&config, "data_dir")),
                &dir,
                fault == "changes server",
            );
        }
    }
}

/// Ends as a program does: a panic would end in a report of the test harness.
fn fail(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(1);
}

fn run(name: &str, data_dir: &Path, dir: &Path, fickle: bool) {
    let socket = data_dir.join("control.sock");
    // One that an earlier life left.
    let _ = std::fs::remove_file(&socket);
    std::fs::write(
        dir.join(format!("{name}.pid")),
        std::process::id().to_string(),
    )
    .unwrap();
    let mock = Mock::serve(&socket, Scene::default());
    let lead = Lead {
        name: name.into(),
        dir: dir.into(),
        fickle,
    };
    std::thread::spawn(move || lead.wait_and_serve());
    loop {
        let leader = std::fs::read_to_string(dir.join("leader")).unwrap_or_default();
        mock.scene.lock().unwrap().status = status(dir, &leader);
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn status(dir: &Path, leader: &str) -> StatusReply {
    let node = |name: &&str| {
        let pid: libc::pid_t = std::fs::read_to_string(dir.join(format!("{name}.pid")))
            .ok()?
            .parse()
            .ok()?;
        // SAFETY: `kill` takes plain numbers; signal 0 only asks whether the process is there.
        let alive = unsafe { libc::kill(pid, 0) } == 0;
        let state = match alive {
            true if leader == *name => "leader",
            true => "follower",
            false => "unreachable",
        };
        Some(NodeStatus {
            name: name.to_string(),
            state: state.into(),
            ..Default::default()
        })
    };
    StatusReply {
        answered_by: leader.into(),
        leader: leader.into(),
        holder: leader.into(),
        nodes: ["node-1", "node-2", "node-3"]
            .iter()
            .filter_map(node)
            .collect(),
        ..Default::default()
    }
}

struct Lead {
    name: String,
    dir: PathBuf,
    fickle: bool,
}

impl Lead {
    fn wait_and_serve(self) {
        let lock = File::create(self.dir.join("lock")).unwrap();
        // SAFETY: the descriptor is open as long as `lock` lives, which is until the process ends.
        assert_eq!(unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX) }, 0);
        let cluster = std::fs::read_to_string(self.dir.join("fake-cluster")).unwrap();
        let vip = format!(
            "{}:{}",
            value(&cluster, "address").trim_end_matches("/8"),
            value(&cluster, "listeners")
        );
        let ports: Vec<&str> = cluster
            .lines()
            .filter_map(|l| l.strip_prefix("port = "))
            .collect();
        let hosts: Vec<String> = cluster
            .lines()
            .filter(|l| l.starts_with("address = "))
            .skip(1)
            .map(|l| value(l, "address"))
            .collect();
        let chosen = if self.fickle && self.name != "node-1" {
            1
        } else {
            0
        };
        let server = format!("{}:{}", hosts[chosen], ports[chosen]);
        let listener = TcpListener::bind(vip).unwrap();
        std::fs::write(self.dir.join("leader"), &self.name).unwrap();
        for mut client in listener.incoming().flatten() {
            let mut answer = Vec::new();
            let read = TcpStream::connect(&server).and_then(|mut s| s.read_to_end(&mut answer));
            let _ = read.and_then(|_| client.write_all(&answer));
        }
    }
}

/// The value of the first `key = value`, without quotes and brackets.
fn value(toml: &str, key: &str) -> String {
    let line = toml
        .lines()
        .find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('='));
    line.unwrap_or_else(|| panic!("{key} is in {toml}"))
        .trim()
        .trim_matches(['"', '[', ']'])
        .to_string()
}
