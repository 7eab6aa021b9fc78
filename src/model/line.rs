//! Lines of a task's log, and the gaps between them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{EntryId, Timestamp};

/// The output channel of a line: the JSON field `stream`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The command's standard output.
    #[default]
    Stdout,
    /// The command's standard error.
    Stderr,
    /// Messages of the worker or the server.
    Internal,
}

/// The error for an unknown channel name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a stream: write stdout, stderr or internal")]
pub struct BadChannel(String);

impl Channel {
    /// All channels, in display order.
    pub const ALL: [Channel; 3] = [Channel::Stdout, Channel::Stderr, Channel::Internal];

    /// Returns the name used in JSON, in queries and on screens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Channel::Stdout => "stdout",
            Channel::Stderr => "stderr",
            Channel::Internal => "internal",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Channel {
    type Err = BadChannel;

    fn from_str(text: &str) -> Result<Self, BadChannel> {
        Self::ALL.into_iter().find(|c| c.as_str() == text).ok_or_else(|| BadChannel(text.chars().take(64).collect()))
    }
}

/// A set of channels, `stdout,internal` in a query; all of them by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelSet(u8);

impl Default for ChannelSet {
    fn default() -> Self {
        Self::ALL
    }
}

impl ChannelSet {
    /// Every channel.
    pub const ALL: ChannelSet = ChannelSet(0b111);
    /// No channel.
    pub const NONE: ChannelSet = ChannelSet(0);

    /// Adds a channel.
    pub const fn insert(&mut self, channel: Channel) {
        self.0 |= 1 << channel as u8;
    }

    /// Reports whether the set contains the channel.
    pub const fn contains(self, channel: Channel) -> bool {
        self.0 & (1 << channel as u8) != 0
    }

    /// Returns a number that identifies the set.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Reports whether the set contains every channel.
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }
}

/// Writes the form that is parsed: `stdout,internal`.
impl fmt::Display for ChannelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for channel in Channel::ALL.into_iter().filter(|channel| self.contains(*channel)) {
            write!(f, "{separator}{channel}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl FromStr for ChannelSet {
    type Err = BadChannel;

    fn from_str(text: &str) -> Result<Self, BadChannel> {
        if text.is_empty() {
            return Ok(Self::ALL);
        }
        let bits = text.split(',').map(|word| word.trim().parse::<Channel>().map(|c| 1u8 << c as u8));
        bits.reduce(|a, b| Ok(a? | b?)).unwrap_or(Ok(0)).map(Self)
    }
}

/// A line before it has a number: the form in which a worker sends it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineText<'a> {
    /// Time of writing, by the worker's clock.
    pub timestamp: Timestamp,
    /// Output channel.
    pub channel: Channel,
    /// The line was split and continues in the next one.
    pub partial: bool,
    /// Bytes that are not UTF-8 (or NUL) were replaced by U+FFFD.
    pub lossy: bool,
    /// Text, without its newline; `\r` is kept.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
}

/// A line with its number in a task's log: the LINE object of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line<'a> {
    /// Line number: dense, from 1, never reused.
    pub n: u64,
    /// Id of the entry in the journal.
    #[serde(with = "super::text_form")]
    pub id: EntryId,
    /// Time of writing.
    pub timestamp: Timestamp,
    /// Output channel.
    #[serde(rename = "stream")]
    pub channel: Channel,
    /// Text, without its newline.
    pub line: Cow<'a, str>,
    /// The line was split and continues in the next one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Bytes that were not UTF-8 were replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lossy: bool,
}

/// The current unterminated line of a channel: a LINE without a number and an id, since it is not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialLine {
    /// Time of its last byte.
    pub timestamp: Timestamp,
    /// Output channel.
    #[serde(rename = "stream")]
    pub channel: Channel,
    /// Text so far; empty if there is none any more.
    pub line: String,
    /// Bytes that were not UTF-8 were replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lossy: bool,
}

impl Line<'_> {
    /// Returns the line with its text copied.
    pub fn into_owned(self) -> Line<'static> {
        let Line { n, id, timestamp, channel, line, partial, lossy } = self;
        Line { n, id, timestamp, channel, line: Cow::Owned(line.into_owned()), partial, lossy }
    }

    /// Returns the gap that this line marks, if it is a gap marker.
    pub fn gap(&self) -> Option<Gap> {
        if self.channel != Channel::Internal {
            return None;
        }
        GapMarker::parse(&self.line).map(|mark| Gap {
            from: self.n,
            to: self.n,
            reason: mark.reason,
            count: mark.count,
            marked: true,
        })
    }
}

/// The reason why lines are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// They left the live window and no archive holds them.
    Trimmed,
    /// The worker dropped them: the output was faster than the connection.
    Skipped,
    /// A limit on this task was reached.
    Quota,
    /// The worker numbered them, but they never arrived.
    LostInTransit,
}

/// A gap in a log, as reported to readers.
///
/// A gap names line numbers that cannot be read any more (`trimmed`, and `quota` for the middle of a
/// log over its limit). Lines that were never stored (`skipped`, `lost_in_transit`, and `quota` for
/// lines over a rate limit) have no numbers. Such a gap is `marked`: `from` and `to` both name the
/// gap marker, an `internal` line in their place, so that numbers stay dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// First line number of the gap.
    pub from: u64,
    /// Last line number of the gap.
    pub to: u64,
    /// Reason of the gap.
    pub reason: GapReason,
    /// Number of missing lines.
    pub count: u64,
    /// An `internal` line marks the gap.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked: bool,
}

/// A gap marker: an `internal` line that reports lines which were never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GapMarker {
    /// Reason why they are missing.
    pub reason: GapReason,
    /// Number of missing lines.
    pub count: u64,
}

impl GapMarker {
    /// Parses `[15 messages skipped]`, the text that the blueprint defines, `[15 messages lost in transit]`,
    /// or `[15 lines over the limit of 1000 lines/s]`.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, rest) = text.strip_prefix('[')?.split_once(' ')?;
        let reason = match rest {
            "messages skipped]" => GapReason::Skipped,
            "messages lost in transit]" => GapReason::LostInTransit,
            over if over.starts_with("lines over the limit of ") && over.ends_with(']') => GapReason::Quota,
            _ => return None,
        };
        Some(Self { reason, count: count.parse().ok()? })
    }

    /// Returns the marker for lines over a limit; `limit` is its text, such as `1000 lines/s`.
    pub fn over(count: u64, limit: &str) -> String {
        format!("[{count} lines over the limit of {limit}]")
    }

    /// Returns a marker's text with another count.
    pub fn recounted(text: &str, count: u64) -> String {
        match text.split_once(' ') {
            Some((_, rest)) => format!("[{count} {rest}"),
            None => text.to_owned(),
        }
    }
}

impl fmt::Display for GapMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GapMarker { reason, count } = self;
        match reason {
            GapReason::Skipped => write!(f, "[{count} messages skipped]"),
            GapReason::LostInTransit => write!(f, "[{count} messages lost in transit]"),
            GapReason::Trimmed => write!(f, "[{count} messages trimmed]"),
            GapReason::Quota => f.write_str(&Self::over(*count, "this task")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_markers_round_trip() {
        for reason in [GapReason::Skipped, GapReason::LostInTransit, GapReason::Quota] {
            let mark = GapMarker { reason, count: 15 };
            assert_eq!(GapMarker::parse(&mark.to_string()), Some(mark));
            assert_eq!(
                GapMarker::parse(&GapMarker::recounted(&mark.to_string(), 7)),
                Some(GapMarker { reason, count: 7 })
            );
        }
        let rate = GapMarker::over(1_234, "1000 lines/s");
        assert_eq!(rate, "[1234 lines over the limit of 1000 lines/s]");
        assert_eq!(GapMarker::parse(&rate), Some(GapMarker { reason: GapReason::Quota, count: 1_234 }));
        assert_eq!(GapMarker::parse("[x messages skipped]"), None);
        assert_eq!(GapMarker::parse("15 messages skipped"), None);
    }

    #[test]
    fn channel_sets_are_parsed_from_queries() {
        let set: ChannelSet = "stdout,internal".parse().unwrap();
        assert!(set.contains(Channel::Stdout) && set.contains(Channel::Internal) && !set.contains(Channel::Stderr));
        assert_eq!(set.to_string(), "stdout,internal");
        assert!("stdout,strerr".parse::<ChannelSet>().is_err());
        assert!("".parse::<ChannelSet>().unwrap().is_all());
    }
}
