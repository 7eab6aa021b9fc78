//! A line of a task's log, and the gaps between lines.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{EntryId, Timestamp};

/// Which way a line came: the JSON field `stream`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// The command's standard output.
    #[default]
    Stdout,
    /// The command's standard error.
    Stderr,
    /// What the worker or the server has to say of itself.
    Internal,
}

/// A text that names no channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a stream: write stdout, stderr or internal")]
pub struct BadChannel(String);

impl Channel {
    /// All of them, in the order they are shown.
    pub const ALL: [Channel; 3] = [Channel::Stdout, Channel::Stderr, Channel::Internal];

    /// The word in JSON, in queries and on screens.
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

/// Some of the channels, as `stdout,internal` in a query; all of them unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelSet(u8);

impl ChannelSet {
    /// Every channel.
    pub const ALL: ChannelSet = ChannelSet(0b111);

    /// Whether lines of this channel are wanted.
    pub const fn contains(self, channel: Channel) -> bool {
        self.0 & (1 << channel as u8) != 0
    }

    /// Whether nothing is left out.
    pub fn is_all(self) -> bool {
        self == Self::ALL
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

/// A line before it has a place: what a worker sends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineText<'a> {
    /// When it was written, by the worker's clock.
    pub timestamp: Timestamp,
    /// Which way it came.
    pub channel: Channel,
    /// A longer line was cut here and goes on in the next.
    pub partial: bool,
    /// Bytes that are not UTF-8 (or NUL) were replaced by U+FFFD.
    pub lossy: bool,
    /// The text, without its newline; `\r` is kept.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
}

/// A line with its place in a task's log: the LINE object of the interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line<'a> {
    /// Line number: dense, from 1, never reused.
    pub n: u64,
    /// Id of the entry in the journal.
    #[serde(with = "id_as_text")]
    pub id: EntryId,
    /// When it was written.
    pub timestamp: Timestamp,
    /// Which way it came.
    #[serde(rename = "stream")]
    pub channel: Channel,
    /// The text, without its newline.
    pub line: Cow<'a, str>,
    /// A longer line was cut here and goes on in the next.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Bytes that were not UTF-8 were replaced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lossy: bool,
}

impl Line<'_> {
    /// The same line, owning its text.
    pub fn into_owned(self) -> Line<'static> {
        let Line { n, id, timestamp, channel, line, partial, lossy } = self;
        Line { n, id, timestamp, channel, line: Cow::Owned(line.into_owned()), partial, lossy }
    }

    /// The gap that this line stands for, if it is such a mark.
    pub fn gap(&self) -> Option<Gap> {
        if self.channel != Channel::Internal {
            return None;
        }
        Mark::parse(&self.line).map(|mark| Gap {
            from: self.n,
            to: self.n,
            reason: mark.reason,
            count: mark.count,
            marked: true,
        })
    }
}

mod id_as_text {
    use super::EntryId;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &EntryId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EntryId, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Why lines are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// They left the live window and no archive holds them.
    Trimmed,
    /// The worker dropped them: the output came faster than it could be sent.
    Skipped,
    /// A limit on this task was reached.
    Quota,
    /// The worker numbered them, and they never arrived.
    LostInTransit,
}

/// Lines that a reader does not get, in words it can show.
///
/// A gap names line numbers that cannot be read any more (`trimmed`, and `quota` for the middle of a
/// log that grew over its limit). Lines that were never stored (`skipped`, `lost_in_transit`, and
/// `quota` for what came faster than it may) never had numbers: such a gap is `marked`, and `from` and
/// `to` both name the `internal` line that stands in their place, so numbers stay dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// First line number concerned.
    pub from: u64,
    /// Last line number concerned.
    pub to: u64,
    /// Why.
    pub reason: GapReason,
    /// How many lines are missing.
    pub count: u64,
    /// An `internal` line stands in their place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked: bool,
}

/// The text of an `internal` line that stands for lines which are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Why they are missing.
    pub reason: GapReason,
    /// How many.
    pub count: u64,
}

impl Mark {
    /// `[15 messages skipped]`, the text that the blueprint fixes, `[15 messages lost in transit]`, or
    /// `[15 lines over the limit of 1000 lines/s]`.
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

    /// The text for lines that were over a limit, which is named in words.
    pub fn over(count: u64, limit: &str) -> String {
        format!("[{count} lines over the limit of {limit}]")
    }

    /// The same text with another count.
    pub fn recounted(text: &str, count: u64) -> String {
        match text.split_once(' ') {
            Some((_, rest)) => format!("[{count} {rest}"),
            None => text.to_owned(),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mark { reason, count } = self;
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
    fn marks_read_back_what_they_write() {
        for reason in [GapReason::Skipped, GapReason::LostInTransit, GapReason::Quota] {
            let mark = Mark { reason, count: 15 };
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
            assert_eq!(Mark::parse(&Mark::recounted(&mark.to_string(), 7)), Some(Mark { reason, count: 7 }));
        }
        let rate = Mark::over(1_234, "1000 lines/s");
        assert_eq!(rate, "[1234 lines over the limit of 1000 lines/s]");
        assert_eq!(Mark::parse(&rate), Some(Mark { reason: GapReason::Quota, count: 1_234 }));
        assert_eq!(Mark::parse("[x messages skipped]"), None);
        assert_eq!(Mark::parse("15 messages skipped"), None);
    }

    #[test]
    fn channel_sets_come_from_queries() {
        let set: ChannelSet = "stdout,internal".parse().unwrap();
        assert!(set.contains(Channel::Stdout) && set.contains(Channel::Internal) && !set.contains(Channel::Stderr));
        assert!("stdout,strerr".parse::<ChannelSet>().is_err());
        assert!("".parse::<ChannelSet>().unwrap().is_all());
    }
}
