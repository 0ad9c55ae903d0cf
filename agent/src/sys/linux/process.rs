//! This process: its signals, its mask for new files, and whether its standard error is the journal.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Whatever is made from now on is nobody else's.
pub fn keep_files_private() {
    // SAFETY: it takes a number and cannot fail.
    unsafe { libc::umask(0o077) };
}

/// Nobody else lists the directory, but the group that may use the socket in it comes through.
///
/// # Errors
/// The file system refuses.
pub fn let_through(directory: &Path) -> io::Result<()> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o711))
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// The disk refuses.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

/// Whether the service manager reads what is written to standard error: it says which file that is.
pub fn stderr_is_the_journal() -> bool {
    let (Some(journal), Ok(stderr)) = (
        std::env::var_os("JOURNAL_STREAM"),
        io::stderr().as_fd().try_clone_to_owned(),
    ) else {
        return false;
    };
    fs::File::from(stderr)
        .metadata()
        .is_ok_and(|m| journal.to_str() == Some(&format!("{}:{}", m.dev(), m.ino())))
}

/// Cancels `stop` when this process is asked to end.
///
/// # Errors
/// A signal that cannot be waited for.
#[allow(
    clippy::disallowed_methods,
    reason = "the one task that is not the agent's: it waits for a signal"
)]
pub fn stop_on_signal(stop: &CancellationToken) -> io::Result<()> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    // Its terminal is gone: it hands over first. Who was started by nohup stays.
    let mut hangup = if hangup_is_ignored() {
        None
    } else {
        Some(signal(SignalKind::hangup())?)
    };
    let stop = stop.clone();
    tokio::spawn(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = hung_up => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// How much rather the threads run that keep the lease, as nice(2) counts it.
const PREFERRED: libc::c_int = -10;

/// The calling thread runs before others from now on.
///
/// # Errors
/// No privilege: neither `RLIMIT_NICE` nor `CAP_SYS_NICE`. It runs as others do.
pub fn prefer_this_thread() -> io::Result<()> {
    // SAFETY: it takes numbers; 0 is the calling thread, on Linux each thread has a value of its own.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, PREFERRED) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// How much later the threads run that read what others send, as nice(2) counts it.
const YIELDING: libc::c_int = 10;

/// The calling thread runs after others from now on. It needs no privilege; where it does not work it runs as others.
pub fn yield_to_others() {
    // SAFETY: it takes numbers; 0 is the calling thread, on Linux each thread has a value of its own.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, YIELDING) };
}

fn hangup_is_ignored() -> bool {
    // SAFETY: all zeroes is a value of this struct, which is only written to; without a new action nothing changes.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, std::ptr::null(), &raw mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    }
}

/// Tells this start of the machine from every other.
pub fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

/// What the service manager keeps for this agent until the machine is restarted.
pub fn runtime_dir() -> Option<PathBuf> {
    std::env::var_os("RUNTIME_DIRECTORY").map(Into::into)
}
