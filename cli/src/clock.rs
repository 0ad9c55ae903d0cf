//! The only place of this crate that looks at a clock; everything else is told the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as the agents stamp what they report.
#[expect(
    clippy::disallowed_methods,
    reason = "an operator's tool runs in the real world only"
)]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that never goes back, for measuring.
#[expect(
    clippy::disallowed_methods,
    reason = "an operator's tool runs in the real world only"
)]
pub fn now() -> Instant {
    Instant::now()
}
