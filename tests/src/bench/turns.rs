//! How long an agent's driver took for one turn, as its log tells it.

/// The longest turn that an agent's log names, in milliseconds: at its end, or because it was long.
pub fn longest_turn(log: &str) -> f64 {
    log.lines()
        .filter_map(|line| {
            let after = line
                .split_once("longest_turn=")
                .or_else(|| {
                    line.split_once("took=")
                        .filter(|_| line.contains("held up"))
                })?
                .1;
            milliseconds(after.split_whitespace().next()?)
        })
        .fold(0.0, f64::max)
}

/// As `Duration` prints itself.
fn milliseconds(text: &str) -> Option<f64> {
    let (number, unit) = text.split_at(text.find(|c: char| c != '.' && !c.is_ascii_digit())?);
    let factor = match unit {
        "s" => 1000.0,
        "ms" => 1.0,
        "µs" => 0.001,
        "ns" => 0.000_001,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}
