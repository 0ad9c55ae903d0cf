//! Finding `ha-agent`: named, beside our own executable, or built when this is the repository.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};

use super::screen::Screen;
use crate::exit::{Exit, Failure};

/// The executable to run as agent.
pub(super) async fn agent(named: Option<&Path>, screen: &mut Screen) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return match named.is_file() {
            true => Ok(named.to_path_buf()),
            false => Err(Failure::new(
                Exit::Usage,
                format!("there is no ha-agent at {}", named.display()),
            )
            .remedy("name the executable with --agent FILE, or leave it out")),
        };
    }
    let own = std::env::current_exe()?;
    let beside = own.with_file_name(format!("ha-agent{}", std::env::consts::EXE_SUFFIX));
    if beside.is_file() {
        return Ok(beside);
    }
    match repository() {
        Some(root) => build(&root, screen).await,
        None => Err(Failure::new(
            Exit::Unexpected,
            format!("there is no ha-agent at {}", beside.display()),
        )
        .remedy("install it beside ha-cli, or name it with --agent FILE")),
    }
}

/// The repository that this program was built from, when it is still there.
fn repository() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    root.join("agent/Cargo.toml")
        .is_file()
        .then(|| root.to_path_buf())
}

/// Builds it; cargo shows its own progress on standard error.
async fn build(root: &Path, screen: &mut Screen) -> Result<PathBuf, Failure> {
    let text = "building ha-agent (the first time this takes a few minutes)";
    screen.phase("build", text, serde_json::json!({ "root": root }))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let failed = |why: String| {
        Failure::new(Exit::Unexpected, format!("cannot build ha-agent: {why}"))
            .remedy("see what `cargo build --release --bin ha-agent` says")
    };
    let mut child = tokio::process::Command::new(cargo)
        .args([
            "build",
            "--release",
            "--bin",
            "ha-agent",
            "--message-format=json-render-diagnostics",
        ])
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| failed(why.to_string()))?;
    let mut built = None;
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await? {
            built = executable(&line).or(built);
        }
    }
    let status = child.wait().await?;
    match built {
        Some(path) if status.success() => Ok(path),
        _ => Err(failed(status.to_string())),
    }
}

/// The path in cargo's message that `ha-agent` is built.
fn executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_agent =
        message["reason"] == "compiler-artifact" && message["target"]["name"] == "ha-agent";
    message["executable"]
        .as_str()
        .filter(|_| is_agent)
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_agent_is() {
        let message = r#"{"reason":"compiler-artifact","target":{"name":"ha-agent"},"executable":"/t/ha-agent"}"#;
        assert_eq!(executable(message), Some(PathBuf::from("/t/ha-agent")));
        assert_eq!(
            executable(
                r#"{"reason":"compiler-artifact","target":{"name":"tokio"},"executable":null}"#
            ),
            None
        );
        assert_eq!(executable("not json"), None);
    }
}
