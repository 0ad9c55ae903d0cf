//! What the machine is and allows, as facts; what they mean is said by `preflight`.

use std::fs;
use std::io;

/// The kernel's release, and its first two numbers if it has them.
pub fn kernel_release() -> (String, Option<(u32, u32)>) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_owned();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|n| n.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next());
    (release, version)
}

/// What holding an address in the kernel needs and this process has not.
pub fn missing_privileges() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let has = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")]
        .into_iter()
        .filter(|(bit, _)| has >> bit & 1 == 0)
        .map(|(_, name)| name)
        .collect()
}

/// How many files this process may have open, after its limit was raised as far as it may be.
///
/// # Errors
/// What the kernel says.
pub fn open_files_max() -> io::Result<u64> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a structure of this frame.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_max)
}

/// How many ports the kernel gives to connections that ask for none.
pub fn local_ports() -> Option<u32> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = range.split_whitespace().map(str::parse::<u32>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    Some((last + 1).saturating_sub(first))
}

/// Whether something keeps the wall clock right.
///
/// # Errors
/// What the kernel says; the systemd unit does not let the agent near the clock.
pub fn clock_is_synchronised() -> io::Result<bool> {
    // SAFETY: with `modes` 0 it only reads, into a structure of this frame that zeroes are valid for.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut timex)
    };
    match state {
        libc::TIME_ERROR => Ok(false),
        state if state < 0 => Err(io::Error::last_os_error()),
        _ => Ok(true),
    }
}
