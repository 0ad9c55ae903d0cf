//! A mock for commands to talk to, and a way to run the real binary.

use std::process::{Command, Output, Stdio};

mod cluster;
mod mock;
mod service;

pub use cluster::{a_status, with_alpha};
pub use mock::{Mock, Scene};
pub use service::hint;

/// What a run of the binary gave.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The binary, with nothing of this environment that changes what it does.
pub fn command(address: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ha-cli"));
    command
        .env("HA_ADDRESS", address)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the binary to its end.
pub fn run(address: &str, args: &[&str]) -> Ran {
    read(
        command(address)
            .args(args)
            .output()
            .expect("the binary runs"),
    )
}

/// Ctrl-C for a child that was not yet waited for.
#[cfg(unix)]
pub fn interrupt(pid: u32) {
    // SAFETY: `kill` takes plain numbers; the process is our child, not yet waited for.
    let rc = unsafe { libc::kill(pid as libc::pid_t, libc::SIGINT) };
    assert_eq!(rc, 0);
}

/// The text of an output.
pub fn read(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
