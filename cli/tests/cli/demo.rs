//! The demo with a stand-in for `ha-agent`: what it shows, how it ends, and that nothing is left.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::common::{Ran, command, read};
use crate::fake_agent;

/// Not a test: what the stand-in runs. The script of [`Stand::new`] starts this test binary again.
#[test]
fn acts_as_an_agent_when_asked() {
    if let Ok(args) = std::env::var("HA_FAKE_ARGS") {
        let args: Vec<String> = args.lines().map(String::from).collect();
        fake_agent::act(&args, &std::env::var("HA_FAKE_FAULT").unwrap_or_default());
    }
}

#[test]
fn once_shows_one_failover_and_ends_with_0() {
    let stand = Stand::new("");
    let ran = stand.run(&["--once", "--steady", "300ms"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for text in [
        "SIGKILL to node-1",
        "took over; longest gap for the client",
        "its server before alpha, after alpha",
        "1 failover",
    ] {
        assert!(ran.out.contains(text), "{text}: {}", ran.out);
    }
    assert!(
        ran.out.contains("live apart from the agents"),
        "{}",
        ran.out
    );
    assert!(
        !ran.out.contains('\x1b'),
        "plain lines where there is no terminal"
    );
    stand.assert_nothing_left();
}

#[test]
fn as_json_it_is_one_line_a_phase() {
    let stand = Stand::new("");
    let ran = stand.run(&["--once", "--steady", "300ms", "--output", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Value> = ran
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let phases: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["phase"].as_str())
        .collect();
    assert_eq!(
        phases,
        [
            "start", "servers", "ready", "steady", "kill", "takeover", "end"
        ]
    );
    assert_eq!(
        (&lines[5]["killed"], &lines[5]["kept_server"]),
        (&"node-1".into(), &true.into())
    );
    assert!(lines[5]["gap_ms"].as_u64().unwrap() < 10_000);
}

#[test]
fn it_goes_on_until_ctrl_c_and_leaves_nothing() {
    let stand = Stand::new("");
    let child = stand.command(&["--steady", "200ms"]).spawn().unwrap();
    let dir = stand.wait_for(|dir| {
        std::fs::read_to_string(dir.join("node-1.log"))
            .unwrap_or_default()
            .len()
            > 1
            && std::fs::read_to_string(dir.join("leader")).is_ok_and(|name| name != "node-1")
    });
    // The second kill follows by itself: the dead one came back and the next leader dies.
    let second = std::fs::read_to_string(dir.join("leader")).unwrap();
    stand.wait_for(|dir| {
        std::fs::read_to_string(dir.join("leader")).is_ok_and(|name| name != second)
    });
    // SAFETY: `kill` takes plain numbers; the process is our child, not yet waited for.
    assert_eq!(
        unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) },
        0
    );
    let ran = read(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.out.contains("node-1 is back after") && ran.out.contains("failover"),
        "{}",
        ran.out
    );
    stand.assert_nothing_left();
}

#[test]
fn ctrl_c_before_the_first_failover_is_5_and_leaves_nothing() {
    let stand = Stand::new("");
    let child = stand
        .command(&["--once", "--steady", "10m"])
        .spawn()
        .unwrap();
    stand.wait_for(|dir| dir.join("leader").exists());
    // SAFETY: `kill` takes plain numbers; the process is our child, not yet waited for.
    assert_eq!(
        unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) },
        0
    );
    let ran = read(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 5, "{ran:?}");
    stand.assert_nothing_left();
}

#[test]
fn even_sigkill_leaves_no_agent() {
    let stand = Stand::new("");
    let mut child = stand.command(&["--steady", "10m"]).spawn().unwrap();
    stand.wait_for(|dir| dir.join("node-3.pid").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..500 {
        if stand.processes().is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("still there: {:?}", stand.processes());
}

#[test]
fn a_client_that_changes_its_server_fails_the_demo() {
    let stand = Stand::new("changes server");
    let ran = stand.run(&["--once", "--steady", "300ms"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err
            .contains("went from alpha to beta although alpha was usable"),
        "{}",
        ran.err
    );
    stand.assert_nothing_left();
}

#[test]
fn an_agent_that_fails_is_quoted_and_nothing_is_left() {
    for (fault, what, words) in [
        (
            "init fails",
            "`ha-agent init` of node-1 failed",
            "cluster.toml:3: nobody likes this",
        ),
        (
            "run ends",
            "`ha-agent run` of node-1 ended by itself",
            "the disk is on fire",
        ),
    ] {
        assert!(fake_agent::FAULTS.contains(&fault));
        let stand = Stand::new(fault);
        let ran = stand.run(&["--once"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(
            ran.err.contains(what) && ran.err.contains(words),
            "{}",
            ran.err
        );
        stand.assert_nothing_left();
    }
}

#[test]
fn a_missing_agent_is_said_before_anything_is_started() {
    let stand = Stand::new("");
    let mut command = command("127.0.0.1:1");
    command.env("TMPDIR", stand.tmp.path()).args([
        "demo",
        "--once",
        "--agent",
        "/nowhere/ha-agent",
    ]);
    let ran = read(command.output().unwrap());
    assert!(
        ran.code == 2 && ran.err.contains("/nowhere/ha-agent") && ran.out.is_empty(),
        "{ran:?}"
    );
    stand.assert_nothing_left();
}

/// A temporary directory for the demo, and a script in another that stands in for `ha-agent`.
struct Stand {
    tmp: tempfile::TempDir,
    bin: tempfile::TempDir,
    fault: String,
}

impl Stand {
    fn new(fault: &str) -> Stand {
        let bin = tempfile::tempdir().unwrap();
        let path = bin.path().join("ha-agent");
        let script = "#!/bin/sh\nHA_FAKE_ARGS=$(printf '%s\\n' \"$@\")\nexport HA_FAKE_ARGS\nexec \"$HA_FAKE_BINARY\" --exact demo::acts_as_an_agent_when_asked --nocapture\n";
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Stand {
            tmp: tempfile::tempdir().unwrap(),
            bin,
            fault: fault.into(),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command("127.0.0.1:1");
        command.env("TMPDIR", self.tmp.path());
        command
            .env("HA_FAKE_BINARY", std::env::current_exe().unwrap())
            .env("HA_FAKE_FAULT", &self.fault);
        command
            .args(["demo", "--agent"])
            .arg(self.bin.path().join("ha-agent"))
            .args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        read(self.command(args).output().unwrap())
    }

    /// The demo's directory, once `done` holds for it.
    fn wait_for(&self, done: impl Fn(&Path) -> bool) -> PathBuf {
        for _ in 0..6_000 {
            let entries = std::fs::read_dir(self.tmp.path())
                .unwrap()
                .flatten()
                .map(|entry| entry.path());
            if let Some(dir) = entries.into_iter().find(|dir| done(dir)) {
                return dir;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("never came in {:?}", self.tmp.path());
    }

    /// The processes that belong to this stand's demo.
    fn processes(&self) -> Vec<String> {
        let wanted = format!("HA_FAKE_FAULT={}\0", self.fault);
        let here = format!("TMPDIR={}\0", self.tmp.path().display());
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let environment =
            |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
        let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter(|pid| environment(pid).contains(&here) && environment(pid).contains(&wanted))
            .collect()
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.processes(), Vec::<String>::new());
        let left: Vec<_> = std::fs::read_dir(self.tmp.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
