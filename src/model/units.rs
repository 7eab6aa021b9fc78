//! Counts, durations and sizes as users write them: `10_000`, `24h`, `1h30m`, `10GiB`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// Parses a number above zero; `_` may separate its digits.
///
/// # Errors
/// A message with the problem and an example.
pub fn count(text: &str) -> Result<u64, String> {
    let number = text.trim().replace('_', "").parse::<u64>().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("`{text}` is not a number above zero, such as 10000"))
}

/// Parses `30s`, `5m`, `24h`, `30d`, `1h30m`; a day has 24 hours.
///
/// # Errors
/// A message with the problem and an example.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration: write a number and a unit, such as 30s, 5m, 24h or 7d");
    let span: Span = text.trim().parse().map_err(|_| bad())?;
    let exact = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
    Duration::try_from(exact).map_err(|_| format!("`{text}` is below zero: write a duration such as 30s, 5m or 24h"))
}

/// Parses `65536`, `64KiB`, `10GiB`, `1.5GB`; `k`, `M`, `G`, `T` with `iB` are powers of 1024,
/// with `B` powers of 1000.
///
/// # Errors
/// A message with the problem and an example.
pub fn size(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size: write bytes, or a number and a unit, such as 512MiB or 10GiB");
    let text_trimmed = text.trim();
    let split = text_trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text_trimmed.len());
    let (number, unit) = text_trimmed.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        _ => return Err(bad()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 6 || (number.contains('.') && fraction.is_empty()) {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let part = if fraction.is_empty() {
        0
    } else {
        let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| bad())?);
        let digits: u128 = fraction.parse().map_err(|_| bad())?;
        u64::try_from(digits * u128::from(factor) / scale).map_err(|_| bad())?
    };
    whole.checked_mul(factor).and_then(|bytes| bytes.checked_add(part)).ok_or_else(bad)
}

/// Returns a duration in its largest whole unit: `90m`, `24h`, `1500ms`.
pub fn show_duration(time: Duration) -> String {
    let ms = time.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
    // One day is written as 24h.
    let unit = units.into_iter().find(|(_, length)| ms > *length && ms.is_multiple_of(*length));
    match unit {
        Some((unit, length)) => format!("{}{unit}", ms / length),
        None if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        None => format!("{ms}ms"),
    }
}

/// Returns a size in its largest whole unit of 1024: `64KiB`, `10GiB`, `1000`.
pub fn show_size(bytes: u64) -> String {
    let units = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1u64 << 10)];
    match units.into_iter().find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size)) {
        Some((unit, size)) => format!("{}{unit}", bytes / size),
        None => bytes.to_string(),
    }
}

/// Returns a number with commas between its thousands.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed() {
        for (text, seconds) in
            [("30s", 30), ("5m", 300), ("24h", 86_400), ("30d", 2_592_000), ("1h30m", 5_400), ("1w", 604_800)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "soon", "5", "-5m", "1mo", "5 parsecs"] {
            assert!(duration(bad).unwrap_err().contains("such as"), "{bad}");
        }
    }

    #[test]
    fn shown_values_are_parsed_back() {
        for ms in [1, 500, 1_000, 1_500, 60_000, 61_000, 3_600_000, 86_400_000, 30 * 86_400_000] {
            let time = Duration::from_millis(ms);
            assert_eq!(duration(&show_duration(time)), Ok(time), "{}", show_duration(time));
        }
        assert_eq!(show_duration(Duration::from_secs(86_400)), "24h");
        for bytes in [0, 1, 1_000, 1_024, 65_536, 3 << 20, (3 << 20) + 1, 10 << 30] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes), "{}", show_size(bytes));
        }
    }

    #[test]
    fn sizes_are_parsed() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("64KiB", 65_536),
            ("10GiB", 10 << 30),
            ("1.5GB", 1_500_000_000),
            ("2 MB", 2_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "GiB", "-1", "10 GiX", "1.", "99999999999999TiB", "1e9"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
