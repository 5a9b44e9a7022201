//! Durations and sizes as the configuration writes them: `15m`, `30d`, `2MiB`.

use std::time::Duration;

const DURATION_UNITS: &[(&str, u64)] =
    &[("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60), ("w", 7 * 24 * 60 * 60)];

const SIZE_UNITS: &[(&str, u64)] = &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads a duration: whole numbers with units, the largest first (`1h30m`), or a bare `0`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let seconds = if text == "0" { 0 } else { sum(text, DURATION_UNITS)? };
    Some(Duration::from_secs(seconds))
}

/// Reads a number of bytes: `512KiB`, `2MiB`.
pub fn parse_size(text: &str) -> Option<u64> {
    sum(text, SIZE_UNITS)
}

/// Writes a duration with the largest unit that fits without a rest.
pub fn write_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fitting = DURATION_UNITS.iter().rev().find(|(_, factor)| seconds.is_multiple_of(*factor));
    match fitting {
        Some((unit, factor)) if seconds > 0 => format!("{}{unit}", seconds / factor),
        _ => format!("{seconds}s"),
    }
}

/// Adds up a run of numbers with units.
fn sum(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last_factor = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let letters =
            after.find(|character: char| character.is_ascii_digit()).unwrap_or(after.len());
        let (_, factor) = units.iter().find(|(unit, _)| *unit == &after[..letters])?;
        if *factor >= last_factor {
            return None;
        }
        last_factor = *factor;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = &after[letters..];
    }
    (last_factor != u64::MAX).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        let cases = [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("15m", Some(900)),
            ("1h30m", Some(5400)),
            ("30d", Some(2_592_000)),
            ("2w", Some(1_209_600)),
            ("", None),
            ("15", None),
            ("m", None),
            ("-1s", None),
            ("1.5h", None),
            ("15 m", None),
            ("30m1h", None),
            ("1h1h", None),
            ("15M", None),
            ("99999999999999999999s", None),
            ("999999999999999999d", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse_duration(text), seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn a_written_duration_reads_back() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (900, "15m"), (5400, "90m"), (1_209_600, "2w")]
        {
            let duration = Duration::from_secs(seconds);
            assert_eq!(write_duration(duration), text);
            assert_eq!(parse_duration(text), Some(duration));
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("2MiB"), Some(2_097_152));
        assert_eq!(parse_size("2MB"), None);
        assert_eq!(parse_size("2"), None);
    }
}
