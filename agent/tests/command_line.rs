//! `ha-agent` as a person types it: what it says when something is not as it should be.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

const CLUSTER: &str = r#"
[cluster]
name = "test"
[[backend]]
name = "b"
check = { tcp = 5022 }
[[backend.server]]
name = "s"
node = "node-22"
"#;

fn agent(dir: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ha-agent"))
        .current_dir(dir)
        .args(words)
        .output()
        .expect("it runs")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A directory with both files, and the address that they name.
fn files(listen: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let agent = format!(
        "name = \"node-1\"\ndata_dir = \"{}\"\nlisten = \"{listen}\"\nvip = \"bind\"\n",
        data.display()
    );
    std::fs::write(dir.path().join("agent.toml"), agent).expect("a file");
    std::fs::write(dir.path().join("cluster.toml"), CLUSTER).expect("a file");
    dir
}

/// Its own agent has the port: to advise another one would send the operator the wrong way.
#[test]
fn a_node_that_is_there_already_is_told_so_before_anything_else_is_looked_at() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dir = files(&port.local_addr().expect("bound").to_string());
    let init = [
        "init",
        "--config",
        "agent.toml",
        "--cluster",
        "cluster.toml",
    ];
    let made = agent(dir.path(), &[&init[..], &["--skip-preflight"]].concat());
    assert!(made.status.success(), "{}", said(&made));
    let token = ["--token", "ha1-nonsense"];
    let join = ["join", "127.0.0.1:1", "--config", "agent.toml"];
    for words in [&init[..], &[&join[..], &token].concat()] {
        let again = agent(dir.path(), words);
        let said = said(&again);
        assert_eq!(again.status.code(), Some(1), "{said}");
        assert!(
            said.contains("already holds node") && said.contains("ha-agent run"),
            "{said}"
        );
        assert!(!said.contains("is in use"), "{said}");
    }
}

#[test]
fn check_says_what_it_cannot_know() {
    let dir = files("127.0.0.1:7400");
    let checked = agent(dir.path(), &["check", "--cluster", "cluster.toml"]);
    let said = said(&checked);
    assert!(checked.status.success(), "{said}");
    assert!(
        said.contains("the configuration is right") && said.contains("node-22"),
        "{said}"
    );
}

#[test]
fn the_nodes_file_has_a_usual_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let help = said(&agent(dir.path(), &["run", "--help"]));
    assert!(
        help.contains("[default: /etc/ha-agent/agent.toml]"),
        "{help}"
    );
    let help = said(&agent(dir.path(), &["cleanup", "--help"]));
    assert!(!help.contains("--config"), "{help}");
}
