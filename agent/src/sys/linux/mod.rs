//! Linux: boot-time clock, signals, the service manager, what the machine allows.

pub mod files;
pub mod machine;
pub mod manager;
pub mod ports;
pub mod process;

use ha_core::time::Instant;

/// Time since boot, suspended time included.
pub fn boot_now() -> Instant {
    now(libc::CLOCK_BOOTTIME)
}

/// Time since boot without that in which the machine was suspended.
pub fn awake_now() -> Instant {
    now(libc::CLOCK_MONOTONIC)
}

fn now(clock: libc::clockid_t) -> Instant {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a valid timespec for the length of the call.
    // Both clocks exist on every Linux that this runs on, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut t) };
    Instant(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}
