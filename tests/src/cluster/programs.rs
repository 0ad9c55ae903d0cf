//! Where `ha-agent` and `ha-cli` are: `HA_BIN_DIR`, or built by cargo into the
//! directory of the running executable, because a stale binary tests nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of `ha-agent`.
pub fn agent_program() -> String {
    program("ha-agent")
}

/// The path of `ha-agent` as it will be at the next version, built for tests of upgrades only.
pub fn next_agent_program() -> String {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        if std::env::var_os("HA_BIN_DIR").is_none() {
            let release = profile().ends_with("release");
            let next = "ha-agent-next";
            build(
                release,
                &["-p", "ha-agent", "--bin", next, "--features", "next"],
            );
        }
    });
    program("ha-agent-next")
}

/// The path of `ha-cli`.
pub fn cli_program() -> String {
    program("ha-cli")
}

fn program(name: &str) -> String {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    let path = DIR.get_or_init(directory).join(name);
    assert!(
        path.is_file(),
        "{} is not there: `cargo build -p {name}`, or set HA_BIN_DIR",
        path.display()
    );
    path.to_string_lossy().into_owned()
}

fn directory() -> PathBuf {
    if let Some(dir) = std::env::var_os("HA_BIN_DIR") {
        return dir.into();
    }
    let profile = profile();
    let release = profile.ends_with("release");
    build(release, &["-p", "ha-agent", "-p", "ha-cli"]);
    profile
}

/// Where cargo puts what it builds as it built this.
fn profile() -> PathBuf {
    let exe = std::env::current_exe().expect("the running executable is known");
    exe.ancestors()
        .skip(1)
        .find(|dir| !dir.ends_with("deps"))
        .expect("an executable is in a directory")
        .to_owned()
}

/// Builds programs in the workspace around this crate, when this crate is in one.
fn build(release: bool, what: &[&str]) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a crate has a parent directory");
    if !workspace.join("agent/Cargo.toml").is_file() {
        return;
    }
    eprintln!("building {}", what.join(" "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace)
        .args(["build", "--quiet"])
        .args(what);
    if release {
        command.arg("--release");
    }
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "the product does not build: {status}");
}
