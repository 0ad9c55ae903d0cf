//! Where `ha-agent` and `ha-cli` are: `HA_BIN_DIR`, or built by cargo into the
//! directory of the running executable, because a stale binary tests nothing.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of `ha-agent`.
pub fn agent_program() -> String {
    program("ha-agent")
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
    let exe = std::env::current_exe().expect("the running executable is known");
    let profile = exe
        .ancestors()
        .skip(1)
        .find(|dir| !dir.ends_with("deps"))
        .expect("an executable is in a directory");
    build(profile.ends_with("release"));
    profile.to_owned()
}

/// Builds both in the workspace around this crate, when this crate is in one.
fn build(release: bool) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a crate has a parent directory");
    if !workspace.join("agent/Cargo.toml").is_file() {
        return;
    }
    eprintln!("building ha-agent and ha-cli");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace)
        .args(["build", "--quiet", "-p", "ha-agent", "-p", "ha-cli"]);
    if release {
        command.arg("--release");
    }
    let status = command.status().expect("cargo can be started");
    assert!(status.success(), "the product does not build: {status}");
}
