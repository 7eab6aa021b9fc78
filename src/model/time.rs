//! Timestamps: milliseconds since 1970, written as RFC 3339 in UTC.

use std::fmt;
use std::str::FromStr;

use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01 UTC; in JSON and on screens `2026-05-09T14:23:01.000Z`, in stored
/// records the bare number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// The error for a text that is not an RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time in RFC 3339, such as `2026-05-09T14:23:01.000Z`")]
pub struct BadTimestamp(String);

static PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

impl Timestamp {
    /// Returns the system time.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self(since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Creates a timestamp from milliseconds since 1970.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// Returns the milliseconds since 1970.
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let time = time.unwrap_or(jiff::Timestamp::MAX);
        PRINTER.print_timestamp(&time, jiff::fmt::StdFmtWrite(f)).map_err(|_| fmt::Error)
    }
}

impl FromStr for Timestamp {
    type Err = BadTimestamp;

    /// Accepts any offset and converts to UTC; fractions of a millisecond are truncated.
    fn from_str(text: &str) -> Result<Self, BadTimestamp> {
        let bad = || BadTimestamp(text.chars().take(64).collect());
        let time: jiff::Timestamp = text.parse().map_err(|_| bad())?;
        u64::try_from(time.as_millisecond()).map(Self).map_err(|_| bad())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        super::text_form::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_times_are_parsed() {
        for text in ["2026-05-09T14:23:01+00:00", "2026-05-09T16:23:01+02:00", "2026-05-09T14:23:01.000000Z"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), "2026-05-09T14:23:01.000Z", "{text}");
        }
        for bad in ["", "yesterday", "2026-05-09", "14:23:01", "1778336581", "2026-05-09T14:23:01"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}
