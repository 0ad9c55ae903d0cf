//! Durations as HAProxy writes them: a number with `us`, `ms`, `s`, `m`, `h` or `d`; milliseconds without a unit.

use serde::{Deserialize, Deserializer, de};
use std::fmt;
use std::time::Duration;

/// A duration in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// The longest time that something may take: HAProxy's bound.
const SPAN_MAX_DAYS: u64 = 24;
/// The longest time for which something may be kept.
pub const KEPT_MAX_DAYS: u64 = 825;

/// Reads `30m`, `5s`, `200ms`, `1h`; at most 24 days, which is HAProxy's bound.
///
/// # Errors
/// What is wrong with it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_within(text, SPAN_MAX_DAYS)
}

fn parse_within(text: &str, max_days: u64) -> Result<Duration, String> {
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let bad = || {
        format!("{text:?} is no duration: write a number with us, ms, s, m, h or d, e.g. \"5s\"")
    };
    let number: u64 = number.parse().map_err(|_| bad())?;
    let micros = match unit {
        "us" => 1,
        "" | "ms" => 1000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(bad()),
    };
    let duration = number
        .checked_mul(micros)
        .map(Duration::from_micros)
        .ok_or_else(bad)?;
    if duration > Duration::from_secs(max_days * 86_400) {
        return Err(format!("{text:?} is longer than {max_days} days"));
    }
    Ok(duration)
}

/// A lifetime, or how long something is kept: may be longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept(pub Duration);

struct Visitor {
    max_days: u64,
}

impl de::Visitor<'_> for Visitor {
    type Value = Duration;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"5s\"")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse_within(text, self.max_days).map_err(E::custom)
    }
    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Duration, E> {
        self.visit_str(&n.to_string())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let max_days = SPAN_MAX_DAYS;
        d.deserialize_any(Visitor { max_days }).map(Span)
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let max_days = KEPT_MAX_DAYS;
        d.deserialize_any(Visitor { max_days }).map(Kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_haproxy_reads_them() {
        for (text, ms) in [
            ("5s", 5000),
            ("200ms", 200),
            ("30m", 1_800_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("1500", 1500),
            ("0", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "5 s",
            "-5s",
            "5x",
            "99999999999999999999s",
            "25d",
            "1.5s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
