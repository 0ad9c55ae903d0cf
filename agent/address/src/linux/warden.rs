//! A small process beside the agent that takes the addresses off when the agent no longer speaks.
//!
//! ```text
//!   agent: ha-address --"UNTIL 10.0.0.100 fd00::100\n" every 200 ms--> warden (the same program)
//!                                     end of file, or 700 ms of silence and UNTIL (boot-time clock, ns)
//!                                     is over: the managed addresses are deleted
//! ```
//!
//! The kernel has stopped answering before that: the fence ends with the lease. What is won is the
//! rest of the address's second (and the quarter by which the kernel's timer may be late), so that
//! nobody finds the address on a node that does not hold it. Nothing rests on this process: when it
//! cannot be started, or is itself killed or stopped, the address's lifetime does its work.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::addresses;
use super::clock::boot_now;
use super::netlink::Netlink;
use super::shared::Shared;

/// The argument by which the program that is started knows what it is to be.
pub const WORD: &str = "warden";
/// Silence after which the agent counts as stopped: three times as long as it ever is silent.
const SILENCE: Duration = Duration::from_millis(700);
/// A warden that was itself stopped hears what has come meanwhile before it believes in silence.
const LISTEN_AGAIN: Duration = Duration::from_millis(50);
/// Between two tries to start it.
const AGAIN: Duration = Duration::from_secs(10);
/// Longer than any line that is written: an agent manages at most 256 addresses.
const LINE_MAX: u64 = 64 * 1024;

/// The agent's end of the pipe to the warden.
pub(super) struct Post {
    program: Option<PathBuf>,
    mark: u8,
    running: Option<(Child, UnixStream)>,
    started: Option<Duration>,
}

impl Post {
    /// Starts nothing yet. Without a program there is no warden.
    pub(super) const fn new(program: Option<PathBuf>, mark: u8) -> Self {
        Post {
            program,
            mark,
            running: None,
            started: None,
        }
    }

    /// Says that this process lives, and which addresses are to go if it does not. Never waits.
    /// `until`: how long the addresses may be held as things stand.
    pub(super) fn say<'a>(
        &mut self,
        shared: &Shared,
        until: Duration,
        held: impl Iterator<Item = &'a IpAddr>,
    ) {
        let Some(program) = &self.program else { return };
        let now = boot_now();
        if self.running.is_none()
            && self
                .started
                .is_none_or(|at| now.saturating_sub(at) >= AGAIN)
        {
            self.started = Some(now);
            match start(program, self.mark) {
                Ok(running) => self.running = Some(running),
                Err(error) => shared.fail(format!("starting the warden, which takes addresses off when this process is killed: {error}")),
            }
        }
        let Some((_, pipe)) = &mut self.running else {
            return;
        };
        let mut line = until.as_nanos().to_string();
        for address in held {
            line.push(' ');
            line.push_str(&address.to_string());
        }
        line.push('\n');
        match pipe.write_all(line.as_bytes()) {
            Ok(()) => {}
            // It is stopped: it hears this when it goes on.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                shared.fail(format!(
                    "the warden has ended ({error}); it is started again"
                ));
                self.end();
            }
        }
    }

    fn end(&mut self) {
        if let Some((mut child, pipe)) = self.running.take() {
            drop(pipe);
            // It ends by itself at the end of its input; this only takes its exit in, on a thread that may wait.
            let wait = std::thread::Builder::new().name("ha-warden-end".to_owned());
            if let Err(error) = wait.spawn(move || child.wait()) {
                tracing::debug!(%error, "the warden's exit is not waited for");
            }
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        self.end();
    }
}

fn start(program: &Path, mark: u8) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(program);
    command
        .args([WORD, &mark.to_string()])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null());
    // A group of its own: Ctrl-C is for the agent, which says when it has ended.
    let child = command.process_group(0).spawn()?;
    Ok((child, ours))
}

/// The warden's side: reads from `input` until its end.
///
/// # Errors
/// rtnetlink cannot be opened.
pub fn run(mark: u8, input: impl io::Read + Send + 'static) -> io::Result<()> {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
        // A service manager tells the whole group to end: the agent does so in order and needs its warden until then.
        // SAFETY: plain values; no handler is installed, the signals are ignored.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    let mut netlink = Netlink::open(libc::NETLINK_ROUTE as isize, Duration::from_millis(500))?;
    let (lines, inbox) = sync_channel(16);
    std::thread::Builder::new()
        .name("ha-warden-ear".to_owned())
        .spawn(move || {
            let mut input = io::BufReader::new(input);
            while let Some(line) = read_line(&mut input) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        })?;
    let (mut until, mut held) = (Duration::ZERO, BTreeSet::new());
    loop {
        let patience = SILENCE.max(until.saturating_sub(boot_now()));
        let heard = inbox.recv_timeout(patience).or_else(|e| match e {
            RecvTimeoutError::Timeout => inbox.recv_timeout(LISTEN_AGAIN),
            RecvTimeoutError::Disconnected => Err(e),
        });
        let ended = match heard {
            Ok(line) => {
                let mut words = line.split_whitespace();
                until = words
                    .next()
                    .and_then(|word| word.parse().ok())
                    .map_or(Duration::ZERO, Duration::from_nanos);
                held = words.filter_map(|word| word.parse().ok()).collect();
                continue;
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        // Silence of an agent that holds nothing says nothing.
        if !held.is_empty() {
            take_off(
                &mut netlink,
                mark,
                &held,
                if ended {
                    "has ended"
                } else {
                    "does not answer"
                },
            );
        }
        if ended {
            return Ok(());
        }
    }
}

/// The next line; nothing at the end of the input and after one that nobody can have meant.
fn read_line(input: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    let length = io::Read::take(&mut *input, LINE_MAX)
        .read_line(&mut line)
        .ok()?;
    (length > 0 && line.ends_with('\n')).then_some(line)
}

fn take_off(netlink: &mut Netlink, mark: u8, held: &BTreeSet<IpAddr>, why: &str) {
    let managed = match addresses::managed(netlink, mark, held) {
        Ok(managed) => managed,
        Err(error) => {
            return tell(&format!(
                "ha-agent warden: the kernel's addresses cannot be listed: {error}"
            ));
        }
    };
    for a in managed {
        match addresses::delete(netlink, a.index, a.address, a.prefix) {
            Ok(()) => tell(&format!(
                "ha-agent warden: the agent {why}; {} is taken off",
                a.address
            )),
            Err(error) => tell(&format!(
                "ha-agent warden: {} cannot be taken off: {error}",
                a.address
            )),
        }
    }
}

/// A log that is closed must not end this process.
fn tell(words: &str) {
    writeln!(io::stderr(), "{words}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_is_no_line() {
        let mut input = io::Cursor::new(b"10.0.0.1 fd00::1\n\n10.0.0".to_vec());
        assert_eq!(read_line(&mut input).as_deref(), Some("10.0.0.1 fd00::1\n"));
        assert_eq!(read_line(&mut input).as_deref(), Some("\n"));
        assert_eq!(read_line(&mut input), None);
        let mut endless = io::Cursor::new(vec![b'1'; 2 * LINE_MAX as usize]);
        assert_eq!(read_line(&mut endless), None);
    }
}
