//! The operator's command for one node: run by `sh`, bounded in time, ended with everything that it started.

use std::process::Stdio;

use crate::args::RollingArgs;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::human::{millis, span};
use crate::output::Progress;
use crate::signal::Stop;

/// Runs it to its end; what it says goes to standard error.
///
/// # Errors
/// It failed, took longer than `--command-within`, or was interrupted.
pub(super) async fn run(
    ctx: &mut Context,
    stop: &mut Stop,
    args: &RollingArgs,
    node: &str,
    address: &str,
) -> Result<(), Failure> {
    let mut progress = Progress::new(&ctx.out);
    let line = format!("{node}: {}", args.command);
    progress.show(&line, &line);
    let mut shell = tokio::process::Command::new("sh");
    // Standard output carries the result.
    shell
        .args(["-c", &args.command])
        .env("HA_NODE", node)
        .env("HA_NODE_ADDRESS", address)
        .env("HA_NODE_HOST", host(address))
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .kill_on_drop(true);
    #[cfg(unix)]
    shell.process_group(0);
    let mut running = shell.spawn()?;
    let mut group = Group(running.id());
    let status = tokio::select! {
        biased;
        () = stop.asked() => return Err(Failure::new(Exit::Cancelled, format!("stopped while the command ran for {node}"))),
        status = running.wait() => status?,
        () = tokio::time::sleep(args.command_within) => {
            return Err(Failure::new(Exit::Deadline, format!("the command for {node} is not done after {}", span(millis(args.command_within)))));
        }
    };
    // What it left behind on purpose lives on.
    group.0 = None;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Unexpected,
            format!("the command for {node} failed: {status}"),
        ))
    }
}

/// A command and what it started; asked to end (SIGTERM) when it is dropped before the command has ended.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(leader) = self.0.and_then(|id| libc::pid_t::try_from(id).ok()) {
            // SAFETY: plain numbers. The leader is our child and was not waited for, so its group is still its own.
            unsafe { libc::kill(-leader, libc::SIGTERM) };
        }
    }
}

/// The address without its port, and as `ssh` takes one of IPv6: without brackets.
fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_what_ssh_takes() {
        for (address, expected) in [("10.0.0.2:7400", "10.0.0.2"), ("[fd00::2]:7400", "fd00::2")] {
            assert_eq!(host(address), expected);
        }
    }
}
