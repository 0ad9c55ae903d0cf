//! One agent process: started with its output in a file, and ended when this is dropped.

use std::fs::OpenOptions;
use std::io;
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running process that does not outlive its owner.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Starts it; what it says is added to `log`.
    ///
    /// Must be called on the main thread: on Linux the child dies with the thread that started it.
    pub(super) fn start(
        program: &Path,
        args: &[&std::ffi::OsStr],
        log: &Path,
    ) -> io::Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // A group of its own: Ctrl-C is for the demo, which then ends the agents itself.
        #[cfg(unix)]
        command.process_group(0);
        #[cfg(target_os = "linux")]
        die_with_us(&mut command);
        Ok(Process {
            child: command.spawn()?,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, when it has.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }
}

impl Drop for Process {
    /// SIGKILL to this process id, which is still ours until it was waited for.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Even when the demo itself is killed with SIGKILL, no agent stays behind.
#[cfg(target_os = "linux")]
fn die_with_us(command: &mut Command) {
    let parent = std::process::id();
    // SAFETY: (1) runs between fork and exec, where only async-signal-safe calls are allowed:
    // `prctl` and `getppid` are plain system calls; (2) it touches no memory but its own copy of
    // `parent`; (3) building an `io::Error` from a number does not allocate.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The demo may have died before the request was in place.
            if libc::getppid() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_process_ends_with_its_owner_and_its_words_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let process = Process::start(
            Path::new("/bin/sh"),
            &["-c".as_ref(), "echo hello; exec sleep 60".as_ref()],
            &log,
        );
        let process = process.unwrap();
        let pid = process.pid();
        while std::fs::read_to_string(&log).unwrap() != "hello\n" {
            std::thread::yield_now();
        }
        drop(process);
        // SAFETY: `kill` takes plain numbers; signal 0 only asks whether the process is there.
        assert_eq!(unsafe { libc::kill(pid as libc::pid_t, 0) }, -1);
    }
}
