//! Linux: boot-time clock, signals, the service manager, what the machine allows.

pub mod files;
pub mod machine;
pub mod manager;
pub mod ports;
pub mod process;

use ha_core::time::Instant;

/// Time since boot, suspended time included.
pub fn boot_now() -> Instant {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a valid timespec for the length of the call.
    // CLOCK_BOOTTIME exists on every Linux that this runs on, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut t) };
    Instant(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
}
