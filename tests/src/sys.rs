//! The system calls that std does not have, each behind a safe function:
//! entering a network namespace, link flags, file locks, signals, time.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Moves the calling thread into a named network namespace, for the rest of its life.
pub fn enter_netns(name: &str) -> io::Result<()> {
    let file = File::open(Path::new("/run/netns").join(name))?;
    // SAFETY: the descriptor is open; setns changes this thread only.
    check(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Runs `work` on a thread of its own inside a network namespace. Sockets made there stay there.
pub fn in_netns<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| enter_netns(name).map(|()| work()))
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Sets an interface of the calling thread's namespace up or down: microseconds, no process started.
pub fn set_link(interface: &str, up: bool) -> io::Result<()> {
    // SAFETY: plain socket; the request is zeroed, holds a terminated name, and outlives both calls.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        check(socket)?;
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes().take(15)) {
            *to = from as libc::c_char;
        }
        let mut done = check(libc::ioctl(socket, libc::SIOCGIFFLAGS as _, &mut request));
        if done.is_ok() {
            let flag = libc::IFF_UP as libc::c_short;
            let flags = request.ifr_ifru.ifru_flags;
            request.ifr_ifru.ifru_flags = if up { flags | flag } else { flags & !flag };
            done = check(libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &mut request));
        }
        libc::close(socket);
        done
    }
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: kill has no memory effects; pid is positive, so never a group.
    check(unsafe { libc::kill(i32::try_from(pid).expect("a pid fits i32"), signal) })
}

/// How a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    Exclusive,
    /// By as many as like, while nobody has it exclusively.
    Shared,
}

/// Takes a file lock if that is possible at once. Each opening of the file counts as another owner, also in one process.
pub fn try_lock(file: &File, lock: Lock) -> io::Result<()> {
    let how = match lock {
        Lock::Exclusive => libc::LOCK_EX,
        Lock::Shared => libc::LOCK_SH,
    };
    // SAFETY: the descriptor is open.
    check(unsafe { libc::flock(file.as_raw_fd(), how | libc::LOCK_NB) })
}

/// Ties the calling thread, and what it spawns, to these processors.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: the set is initialised by zeroing and is as large as said.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &cpu in cpus {
            libc::CPU_SET(cpu, &mut set);
        }
        check(libc::sched_setaffinity(
            0,
            size_of::<libc::cpu_set_t>(),
            &set,
        ))
    }
}

/// Wall-clock time since the epoch: the clock of kernel packet timestamps.
pub fn wall() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970")
}

/// Raises the limit of open files of this process, and of what it starts, to `wanted` or as far as it may; what it is then.
/// Root may go beyond the hard limit, up to what the kernel gives one process (`fs.nr_open`).
pub fn open_files_max(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit outlives both calls.
    unsafe {
        check(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit))?;
        let most = std::fs::read_to_string("/proc/sys/fs/nr_open");
        let most = most.ok().and_then(|text| text.trim().parse().ok());
        let raised = most.unwrap_or(limit.rlim_max).min(wanted);
        let beyond = libc::rlimit {
            rlim_cur: raised,
            rlim_max: raised,
        };
        if raised > limit.rlim_max && libc::setrlimit(libc::RLIMIT_NOFILE, &raw const beyond) == 0 {
            return Ok(raised);
        }
        limit.rlim_cur = limit.rlim_max;
        check(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))?;
    }
    Ok(limit.rlim_max)
}

/// Turns the -1 of a system call into the error behind it.
pub fn check(result: i32) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
