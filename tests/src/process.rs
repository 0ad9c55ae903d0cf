//! Processes that the harness starts: in a namespace, output in a file, known
//! by pid, and gone when dropped. Also short commands with a bound on their time.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::{sys, wait};

/// One long-running process; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    /// What it is called in messages.
    pub name: String,
    /// Where its output goes.
    pub log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts a command with its output in `log` (appended, so that restarts keep the story).
    pub fn start(name: &str, mut command: Command, log: &Path) -> Process {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("log file opens");
        let err = out.try_clone().expect("log file can be cloned");
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Process {
            name: name.into(),
            log: log.into(),
            child,
        }
    }

    /// The process id; `ip netns exec` becomes the program, so this is the program's own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("own child can be waited for")
    }

    pub fn signal(&self, signal: i32) {
        sys::signal(self.pid(), signal)
            .unwrap_or_else(|e| panic!("signal {signal} to {}: {e}", self.name));
    }

    /// `kill -9`, and reaped.
    pub fn kill(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM) and waits; killed and reported when it does not.
    pub fn terminate(&mut self, bound: Duration) {
        let _ = sys::signal(self.pid(), libc::SIGTERM);
        let name = self.name.clone();
        wait::until(&format!("{name} to end after SIGTERM"), bound, || {
            self.ended().map(|_| ()).ok_or("still running".into())
        });
    }

    /// The last lines of its output.
    pub fn tail(&self) -> String {
        tail(&self.log, 20)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last `lines` lines of a file, for messages.
pub fn tail(file: &Path, lines: usize) -> String {
    let text = std::fs::read(file)
        .map(|b| String::from_utf8_lossy(&b).into_owned())
        .unwrap_or_default();
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// What a short command printed and how it ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code; `None` when a signal or the time limit ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    /// How long it ran.
    pub took: Duration,
}

impl Finished {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The output of a command that succeeded, or what went wrong.
    pub fn ok(self) -> Result<String, String> {
        match self.code {
            Some(0) => Ok(self.text()),
            code => Err(format!(
                "exit {code:?} after {:?}: {}{}",
                self.took,
                self.stderr,
                self.text()
            )),
        }
    }
}

/// Runs a command to its end, at most for `bound`, with `input` on its standard input.
pub fn run(mut command: Command, input: &[u8], bound: Duration) -> Finished {
    let began = Instant::now();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = child.stdout.take().expect("piped");
    let mut stderr = child.stderr.take().expect("piped");
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        let out = scope.spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.read_to_end(&mut bytes);
            bytes
        });
        let err = scope.spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let status = wait::try_until(bound, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            _ => Err("running".into()),
        });
        if status.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        Finished {
            code: status.ok().and_then(|status| status.code()),
            stdout: out.join().expect("reader does not panic"),
            stderr: err.join().expect("reader does not panic"),
            took: began.elapsed(),
        }
    })
}

/// Runs a command line given as words; panics with its output when it fails.
#[track_caller]
pub fn must(words: &[&str], input: &str) -> String {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    run(command, input.as_bytes(), Duration::from_secs(20))
        .ok()
        .unwrap_or_else(|why| panic!("`{}` failed: {why}", words.join(" ")))
}

/// A program of this crate, beside the running executable (or one directory up, for tests).
pub fn own_program(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("the running executable is known");
    exe.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!(
                "{name} is not beside {}: build it with `cargo build -p ha-tests`",
                exe.display()
            )
        })
}
