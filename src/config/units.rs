//! Durations and sizes as people write them: `24h`, `1h30m`, `10GiB`.

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};

/// Reads `30s`, `5m`, `24h`, `30d`, `1h30m`; a day has 24 hours.
///
/// # Errors
/// What is wrong and what would be right, in words.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is not a duration: write a number and a unit, such as 30s, 5m, 24h or 7d");
    let span: Span = text.trim().parse().map_err(|_| bad())?;
    let exact = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| bad())?;
    Duration::try_from(exact).map_err(|_| format!("`{text}` is below zero: write a duration such as 30s, 5m or 24h"))
}

/// Reads `65536`, `64KiB`, `10GiB`, `1.5GB`; `k`, `M`, `G`, `T` with `iB` are powers of 1024,
/// with `B` powers of 1000.
///
/// # Errors
/// What is wrong and what would be right, in words.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
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
    fn sizes_are_read() {
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
