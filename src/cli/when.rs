//! Parses points in time as `docker logs` and `journalctl` accept them.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp as Instant, Zoned};

use crate::model::Timestamp;

/// The forms that are accepted, for messages.
const FORMS: &str = "write a duration before now (10m, 1h30m, -1h, \"2 days ago\"), a time in RFC 3339 \
                     (2026-11-30T10:00:00Z), a local date or time (2026-11-30, \"2026-11-30 10:30\", 10:30), `today`, \
                     `yesterday`, `now`, or seconds since 1970";

/// Parses a point in time, relative to now and in the local time zone.
///
/// # Errors
/// A message with the accepted forms.
pub(super) fn when(text: &str) -> Result<Timestamp, String> {
    let now = Instant::from_millisecond(i64::try_from(Timestamp::now().as_millis()).unwrap_or(i64::MAX));
    let now = now.unwrap_or(Instant::MAX).to_zoned(TimeZone::system());
    parse(text, &now).map(timestamp).ok_or_else(|| format!("`{text}` is not a time: {FORMS}"))
}

/// Times before 1970 become its start.
fn timestamp(time: Instant) -> Timestamp {
    Timestamp::from_millis(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

fn parse(text: &str, now: &Zoned) -> Option<Instant> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    unix(text)
        .or_else(|| text.parse().ok())
        .or_else(|| date_with_offset(text))
        .or_else(|| local(without_weekday(text), now))
        .or_else(|| in_zone(without_weekday(text), now))
        .or_else(|| relative(text, now))
}

/// Parses seconds since 1970, with a fraction or without, as docker does; journalctl writes `@` before them.
fn unix(text: &str) -> Option<Instant> {
    let digits = text.strip_prefix('@').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let nanoseconds: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Instant::new(whole.parse().ok()?, nanoseconds.parse().ok()?).ok()
}

/// Parses a date with an offset and without a time, such as `2026-11-30Z` or `2026-11-30+02:00`.
fn date_with_offset(text: &str) -> Option<Instant> {
    let (date, offset) = text.split_at_checked(10)?;
    date.parse::<Date>().ok()?;
    format!("{date}T00:00:00{offset}").parse().ok()
}

/// Removes the day of the week, which journalctl prints before a date.
fn without_weekday(text: &str) -> &str {
    let Some((day, rest)) = text.split_once([' ', ',']) else { return text };
    let names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let day = day.to_ascii_lowercase();
    if day.len() >= 3 && names.iter().any(|name| name.starts_with(&day)) { rest.trim_start() } else { text }
}

/// Parses a date, a time of today, both, or a word, in the time zone of `now`.
fn local(text: &str, now: &Zoned) -> Option<Instant> {
    let (first, rest) = text.split_once(' ').map_or((text, None), |(first, rest)| (first, Some(rest.trim())));
    let today = now.date();
    let day = match first.to_ascii_lowercase().as_str() {
        "now" if rest.is_none() => return Some(now.timestamp()),
        "today" => Some(today),
        "yesterday" => today.yesterday().ok(),
        "tomorrow" => today.tomorrow().ok(),
        _ => None,
    };
    let civil = match (day, rest) {
        (Some(day), None) => day.to_datetime(Time::midnight()),
        (Some(day), Some(time)) => day.to_datetime(time_of_day(time)?),
        (None, _) => match time_of_day(text) {
            Some(time) => today.to_datetime(time),
            None => text.parse::<DateTime>().ok()?,
        },
    };
    civil.to_zoned(now.time_zone().clone()).ok().map(|time| time.timestamp())
}

/// Parses `10:30` or `10:30:05`.
fn time_of_day(text: &str) -> Option<Time> {
    let begins_as_time = text.find(':').is_some_and(|at| at <= 2);
    if begins_as_time { text.parse().ok() } else { None }
}

/// Parses a local time with the name of its zone, such as `2026-11-30 10:00:00 UTC` or `10:30 Europe/Berlin`.
fn in_zone(text: &str, now: &Zoned) -> Option<Instant> {
    let (time, name) = text.rsplit_once(' ')?;
    let zone = match name {
        "UTC" | "utc" | "GMT" | "Z" => TimeZone::UTC,
        name if name.starts_with(|c: char| c.is_ascii_alphabetic()) => TimeZone::get(name).ok()?,
        offset => return format!("{}{offset}", time.trim()).parse().ok(),
    };
    local(time.trim(), &now.with_time_zone(zone))
}

/// Parses a duration: before now, or after it with `+`. A day is a day of the calendar.
fn relative(text: &str, now: &Zoned) -> Option<Instant> {
    let (text, later) = match (text.strip_prefix('-'), text.strip_prefix('+')) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => (text.strip_suffix("ago").unwrap_or(text), false),
    };
    let span: Span = text.trim().parse().ok()?;
    if span.is_negative() {
        return None;
    }
    let time = if later { now.checked_add(span) } else { now.checked_sub(span) };
    // Further back than the calendar reaches is before every line.
    Some(time.map_or(if later { Instant::MAX } else { Instant::UNIX_EPOCH }, |time| time.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        let now: Zoned = "2026-11-30T12:30:40.5[Europe/Berlin]".parse().unwrap();
        parse(text, &now).map(|time| timestamp(time).to_string())
    }

    #[test]
    fn forms_of_docker_and_journalctl_are_accepted() {
        for (text, time) in [
            ("10m", "2026-11-30T11:20:40.500Z"),
            ("1h30m", "2026-11-30T10:00:40.500Z"),
            ("1.5h", "2026-11-30T10:00:40.500Z"),
            ("-1h", "2026-11-30T10:30:40.500Z"),
            ("+1h", "2026-11-30T12:30:40.500Z"),
            ("2 days ago", "2026-11-28T11:30:40.500Z"),
            ("1 hour 10 min", "2026-11-30T10:20:40.500Z"),
            ("2weeks", "2026-11-16T11:30:40.500Z"),
            ("900000h", "1970-01-01T00:00:00.000Z"),
            ("now", "2026-11-30T11:30:40.500Z"),
            ("today", "2026-11-29T23:00:00.000Z"),
            ("Yesterday", "2026-11-28T23:00:00.000Z"),
            ("yesterday 10:30", "2026-11-29T09:30:00.000Z"),
            ("10:30", "2026-11-30T09:30:00.000Z"),
            ("10:30:05", "2026-11-30T09:30:05.000Z"),
            ("2026-11-30", "2026-11-29T23:00:00.000Z"),
            ("2026-07-01", "2026-06-30T22:00:00.000Z"),
            ("2026-11-30T10", "2026-11-30T09:00:00.000Z"),
            ("2026-11-30T10:00", "2026-11-30T09:00:00.000Z"),
            ("2026-11-30 10:00", "2026-11-30T09:00:00.000Z"),
            ("2026-11-30T10:00:00.123456789", "2026-11-30T09:00:00.123Z"),
            ("2026-11-30T10:00:00Z", "2026-11-30T10:00:00.000Z"),
            ("2026-11-30 10:00:00Z", "2026-11-30T10:00:00.000Z"),
            ("2026-11-30T10:00Z", "2026-11-30T10:00:00.000Z"),
            ("2026-11-30T10:00:00+02:00", "2026-11-30T08:00:00.000Z"),
            ("2026-11-30T10:00:00+0200", "2026-11-30T08:00:00.000Z"),
            ("2026-11-30 10:00:00 +02:00", "2026-11-30T08:00:00.000Z"),
            ("2026-11-30Z", "2026-11-30T00:00:00.000Z"),
            ("2026-11-30+02:00", "2026-11-29T22:00:00.000Z"),
            ("2026-11-30 10:00:00 UTC", "2026-11-30T10:00:00.000Z"),
            ("2026-11-30 10:00 America/New_York", "2026-11-30T15:00:00.000Z"),
            ("Mon 2026-11-30 10:00:00 UTC", "2026-11-30T10:00:00.000Z"),
            ("Mon 2026-11-30 10:00:00", "2026-11-30T09:00:00.000Z"),
            ("1778336581", "2026-05-09T14:23:01.000Z"),
            ("@1778336581", "2026-05-09T14:23:01.000Z"),
            ("1778336581.123456789", "2026-05-09T14:23:01.123Z"),
            ("0", "1970-01-01T00:00:00.000Z"),
            (" today ", "2026-11-29T23:00:00.000Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(time), "{text}");
        }
    }

    #[test]
    fn other_texts_are_rejected_with_the_forms() {
        for text in
            ["", "soon", "5 parsecs", "2026-13-01", "2026-11-31", "25:00", "10:", "--1h", "1778336581x", "today x"]
        {
            assert_eq!(parsed(text), None, "{text}");
        }
        let error = when("soon").unwrap_err();
        assert!(error.contains("`soon`") && error.contains("1h30m") && error.contains("yesterday"), "{error}");
    }
}
