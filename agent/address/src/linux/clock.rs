//! The clock of leases: `CLOCK_BOOTTIME`, which goes on counting while the machine is suspended.

use std::time::Duration;

/// Time since boot, suspended time included.
pub fn boot_now() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid timespec for the whole call. The call cannot fail: the clock exists
    // on every Linux since 2.6.39.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &mut now) };
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}
