//! Decides whether a test can run here: root and the named programs.
//!
//! Where they are missing the test prints `SKIPPED: ...` and returns; with
//! `CI=true` nothing is skipped and the lack is a failure.

use std::io::Write;
use std::path::PathBuf;

/// Returns from the calling test, saying so, unless it is root and has the programs.
#[macro_export]
macro_rules! require_root {
    ($($tool:expr),* $(,)?) => {
        if !$crate::guard::ready(&["ip", "nft", $($tool),*]) {
            return;
        }
    };
}

/// True when this is root and every program is found; panics instead of saying no where `CI=true`.
pub fn ready(tools: &[&str]) -> bool {
    let Some(lack) = lack(tools) else { return true };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "nothing is skipped in CI, but this test {lack}"
    );
    let test = std::thread::current();
    // A skipped test must not look like a passed one.
    say(&format!(
        "SKIPPED: {}: {lack}",
        test.name().unwrap_or("test")
    ));
    false
}

/// Prints a line past the capture of the test runner, so that it is read although the test passes.
pub fn say(line: &str) {
    // Who reads nothing misses nothing.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Where a program is, looked for in `PATH` and the system directories.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"])
        .map(|dir| PathBuf::from(dir).join(name))
        .find(|candidate| candidate.is_file())
}

fn lack(tools: &[&str]) -> Option<String> {
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } != 0 {
        return Some("needs root (network namespaces)".into());
    }
    let missing: Vec<_> = tools
        .iter()
        .copied()
        .filter(|tool| find_program(tool).is_none())
        .collect();
    (!missing.is_empty()).then(|| format!("needs {} (not installed)", missing.join(", ")))
}
