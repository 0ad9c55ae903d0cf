//! Durations, ages and sizes as people write and read them. Pure.

use std::time::Duration;

/// Reads `30m`, `1h30m`, `500ms`, `2 d`; a bare number is refused, except 0.
///
/// # Errors
/// A sentence that says what would be right.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("`{text}` is not a duration; write for example 500ms, 10s, 30m, 1h30m or 2d");
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let amount: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = rest[digits..].trim_start();
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit_ms = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        rest = rest[letters..].trim_start();
        let part = amount.checked_mul(unit_ms).ok_or_else(wrong)?;
        total_ms = total_ms.checked_add(part).ok_or_else(wrong)?;
    }
    Ok(Duration::from_millis(total_ms))
}

/// Whole milliseconds, as the wire carries them.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in its two largest units: `12 ms`, `8s`, `3m 12s`, `5h 2m`, `4d 3h`.
pub fn span(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{s}s"),
        60..3_600 => two(s / 60, "m", s % 60, "s"),
        3_600..86_400 => two(s / 3_600, "h", s % 3_600 / 60, "m"),
        _ => two(s / 86_400, "d", s % 86_400 / 3_600, "h"),
    }
}

fn two(large: u64, unit: &str, small: u64, smaller: &str) -> String {
    match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{smaller}"),
    }
}

/// How long ago an instant was: `3m 12s ago`; `-` for "never" (0).
pub fn ago(at_ms: u64, now_ms: u64) -> String {
    match at_ms {
        0 => "-".into(),
        at if now_ms.saturating_sub(at) < 1_000 => "just now".into(),
        at => format!("{} ago", span(now_ms.saturating_sub(at))),
    }
}

/// A size: `512 B`, `1.5 kB`, `20 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 || value >= 10.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// An instant in UTC, `2026-03-21 14:05:09Z`, so that times of several machines compare.
pub fn utc(at_ms: u64) -> String {
    let s = at_ms / 1_000;
    let (year, month, day) = civil(s / 86_400);
    let (h, m, sec) = (s / 3_600 % 24, s / 60 % 60, s % 60);
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{sec:02}Z")
}

/// Days since 1970 to a date of the Gregorian calendar (Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

/// `1 session`, `2 sessions`.
pub fn count(number: u64, word: &str) -> String {
    if number == 1 {
        format!("1 {word}")
    } else {
        format!("{number} {word}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [
            ("0", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("30m", 1_800_000),
            ("1h30m", 5_400_000),
            ("1h 5m", 3_900_000),
            ("2d", 172_800_000),
            (" 3 s ", 3_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "m",
            "5 parsecs",
            "-5s",
            "1.5h",
            "99999999999999999999s",
            "9999999999999999d",
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains("30m"), "says what would be right: {error}");
        }
    }

    #[test]
    fn spans_show_two_units() {
        for (ms, text) in [
            (12, "12 ms"),
            (8_000, "8s"),
            (60_000, "1m"),
            (192_000, "3m 12s"),
            (18_120_000, "5h 2m"),
            (356_400_000, "4d 3h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn ages_know_never_and_clocks_that_differ() {
        assert_eq!(ago(0, 5_000), "-");
        assert_eq!(ago(5_000, 4_000), "just now");
        assert_eq!(ago(1_000, 193_000), "3m 12s ago");
    }

    #[test]
    fn sizes_and_dates() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1_500), "1.5 kB");
        assert_eq!(bytes(20_000_000), "20 MB");
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(1_709_210_096_000), "2024-02-29 12:34:56Z");
        assert_eq!(count(1, "session"), "1 session");
        assert_eq!(count(0, "session"), "0 sessions");
    }
}
