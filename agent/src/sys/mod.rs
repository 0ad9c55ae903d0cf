//! What this program asks of the operating system, beside the virtual IP and the data plane.

#[cfg(not(target_os = "linux"))]
pub mod elsewhere;
#[cfg(target_os = "linux")]
pub mod linux;

#[cfg(not(target_os = "linux"))]
pub use elsewhere as platform;
#[cfg(target_os = "linux")]
pub use linux as platform;
pub use platform::{awake_now, boot_now};

use ha_core::time::Timestamp;

/// The time since 1970 by the machine's own clock.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock that everybody else is told to ask"
)]
pub fn wall_now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The name of a user of this machine, or `uid NUMBER`.
pub fn user_name(uid: u32) -> String {
    by_number("/etc/passwd", uid).unwrap_or_else(|| format!("uid {uid}"))
}

fn by_number(file: &str, number: u32) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    })
}
