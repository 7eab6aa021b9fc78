//! The time before a line.

use clap::ValueEnum;
use jiff::tz::TimeZone;

use crate::model::Timestamp;

/// `follow --time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TimeMode {
    /// RFC 3339 in UTC
    Utc,
    /// RFC 3339 in the local time zone
    Local,
    /// Time since the start of the task
    Relative,
    /// Time since the line before
    Delta,
}

/// The times that the next line of a task is compared with.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LineClock {
    /// Start of the task.
    pub(super) start: Option<Timestamp>,
    /// Time of the line before.
    previous: Option<Timestamp>,
}

impl LineClock {
    /// Returns the time of a line as it is printed.
    pub(super) fn stamp(&mut self, mode: TimeMode, time: Timestamp) -> String {
        let previous = self.previous.replace(time);
        match mode {
            TimeMode::Utc => time.to_string(),
            TimeMode::Local => local(time, TimeZone::system()),
            TimeMode::Relative => {
                // A line can be older than a task that the server created for it.
                let start = self.start.map_or(time, |start| start.min(time));
                self.start = Some(start);
                elapsed(start, time)
            }
            TimeMode::Delta => elapsed(previous.unwrap_or(time), time),
        }
    }
}

fn local(time: Timestamp, zone: TimeZone) -> String {
    let instant = i64::try_from(time.as_millis()).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match instant {
        Some(instant) => instant.to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
        None => time.to_string(),
    }
}

/// Returns the time from `start` to `time`: `+00:01:02.345`. Lines of two pipes can be slightly out of order.
fn elapsed(start: Timestamp, time: Timestamp) -> String {
    let (sign, ms) = match time.as_millis().checked_sub(start.as_millis()) {
        Some(ms) => ('+', ms),
        None => ('-', start.as_millis() - time.as_millis()),
    };
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{sign}{hours:02}:{minutes:02}:{seconds:02}.{:03}", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_each_mode() {
        let at = Timestamp::from_millis;
        let mut clock = LineClock { start: Some(at(1_000)), previous: None };
        assert_eq!(clock.stamp(TimeMode::Relative, at(3_724_005)), "+01:02:03.005");
        assert_eq!(clock.stamp(TimeMode::Delta, at(3_724_250)), "+00:00:00.245");
        assert_eq!(clock.stamp(TimeMode::Delta, at(3_724_240)), "-00:00:00.010");
        assert_eq!(clock.stamp(TimeMode::Utc, at(0)), "1970-01-01T00:00:00.000Z");
        let zone = TimeZone::get("Asia/Kolkata").unwrap();
        assert_eq!(local(at(1_500), zone), "1970-01-01T05:30:01.500+05:30");
        let mut unknown = LineClock::default();
        assert_eq!(unknown.stamp(TimeMode::Relative, at(500)), "+00:00:00.000");
        assert_eq!(unknown.stamp(TimeMode::Delta, at(600)), "+00:00:00.100");
    }
}
