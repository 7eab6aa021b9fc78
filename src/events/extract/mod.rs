//! Event extraction from any text.
//!
//! An event is the token, white space, and a JSON object:
//!
//! ```text
//! LB_EVENT {"host": "h1", ..}                          Plain: anywhere in a line, also several on one
//! "msg": "LB_EVENT {\"host\": \"h1\", ..}"              Escaped: any levels of JSON strings
//! ok: [h1] => (item=LB_EVENT {"host": "h1", ..}) =>    Item: of an Ansible loop
//!     msg: 'LB_EVENT {"host": "h1",                    Yaml: a scalar of any style, folded over lines
//!         "workload": ..}'
//! ```
//!
//! - A token without a brace after it is text. A token with one is an event or is rejected with the
//!   reason, never skipped: a line of a shell script like `echo "LB_EVENT {$x}"` is rejected, as is a
//!   playbook line that Ansible truncated. Commands in a result (`cmd`) and playbook lines quoted below
//!   an error are text.
//! - Ansible prints one event in several places of one result (the item, `msg`, `stdout`, ..). The n-th
//!   of equal events in one place is the n-th in another: an [`ExtractedItem::Echo`]. Equal events in
//!   one place, in two results, or outside of results are different events.
//! - Colours, line endings (LF, CRLF) and the boundaries of the input chunks make no difference.

use crate::events::Identities;
use crate::model::{Event, EventError};

mod block;
mod head;
mod keys;
mod line;
mod resolve;
mod scan;
mod trace;
mod unescape;
mod yaml;

use block::ResultBlock;
use line::{PartialScalar, PhysicalLine};
use yaml::YamlTracker;

/// The token before an event.
pub const TOKEN: &str = "LB_EVENT";
/// The token before the details of a finished Ansible task.
pub const TASK_TOKEN: &str = "LB_TASK";

/// Maximum size of an incomplete line or of a scalar over several lines. A longer line is processed
/// in pieces of this size; a longer scalar is rejected.
const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Maximum length of the excerpt of rejected text, in characters.
const EXCERPT_CHARS_MAX: usize = 200;

/// Options of an [`Extractor`].
#[derive(Clone, Debug, Default)]
pub struct ExtractorOptions {
    /// Host of events without one, unless the text names it (`ok: [h1] => ..`).
    pub host: Option<String>,
    /// Also return lines without events, as [`ExtractedItem::Text`].
    pub texts: bool,
}

/// The notation of an event in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventNotation {
    /// `LB_EVENT {..}` as printed.
    Plain,
    /// Inside a JSON string, with this many levels of escaping.
    Escaped(u8),
    /// `(item=LB_EVENT {..})` of an Ansible loop.
    Item,
    /// A YAML scalar, possibly folded over lines.
    Yaml,
}

/// An event found in a text.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtractedEvent {
    /// The object as found, compact; a missing host is filled in.
    pub event: Event,
    /// The event as stored: with an `event_id`, without `null`.
    pub identified: Event,
    /// Number of its first line, from 1.
    pub line: u64,
    /// Offset of its token in the text, in bytes.
    pub offset: u64,
    /// Its notation.
    pub form: EventNotation,
}

/// An event that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedEvent {
    /// Number of its first line, from 1.
    pub line: u64,
    /// Offset of its token in the text, in bytes.
    pub offset: u64,
    /// The error.
    pub fault: EventError,
    /// The start of the rejected text.
    pub excerpt: String,
}

/// The details of a finished Ansible task (`LB_TASK`), as printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskMark {
    /// Line number, from 1.
    pub line: u64,
    /// The object, compact.
    pub json: String,
}

/// An item found in a text; items are returned in text order.
#[derive(Clone, Debug, PartialEq)]
pub enum ExtractedItem<'a> {
    /// An event.
    Event(ExtractedEvent),
    /// A repetition of an event, as Ansible prints each event of a loop twice.
    Echo {
        /// The repetition.
        again: ExtractedEvent,
        /// Line number of the first occurrence.
        of: u64,
    },
    /// The details of an Ansible task.
    Task(TaskMark),
    /// An event that cannot be parsed.
    Rejected(MalformedEvent),
    /// A line without any of these and without its newline; only with [`ExtractorOptions::texts`].
    Text {
        /// Line number, from 1.
        line: u64,
        /// The text of the line.
        text: &'a str,
    },
}

/// An event extractor for text that arrives in chunks of any size.
#[derive(Debug)]
pub struct Extractor {
    options: ExtractorOptions,
    identities: Identities,
    /// An incomplete line, shorter than [`HELD_BYTES_MAX`].
    partial: Vec<u8>,
    /// Number of the line that `partial` is or will be part of.
    line: u64,
    /// Bytes of text before `partial`.
    offset: u64,
    /// Pieces of the current line were already processed, as it exceeds the limit.
    mid_line: bool,
    block: ResultBlock,
    yaml: YamlTracker,
    held: Option<PartialScalar>,
}

impl Extractor {
    /// Creates an extractor at the start of a text.
    pub fn new(options: ExtractorOptions) -> Self {
        Self {
            options,
            identities: Identities::default(),
            partial: Vec::new(),
            line: 1,
            offset: 0,
            mid_line: false,
            block: ResultBlock::default(),
            yaml: YamlTracker::default(),
            held: None,
        }
    }

    /// Processes the next chunk, which may end anywhere, and passes complete items to `each`.
    pub fn feed(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(ExtractedItem<'_>)) {
        while !self.partial.is_empty() && !bytes.is_empty() {
            let room = HELD_BYTES_MAX - self.partial.len();
            let end = memchr::memchr(b'\n', &bytes[..room.min(bytes.len())]);
            let (consumed, rest) = bytes.split_at(end.map_or(room.min(bytes.len()), |end| end + 1));
            self.partial.extend_from_slice(consumed);
            bytes = rest;
            if end.is_some() || self.partial.len() == HELD_BYTES_MAX {
                let mut line = std::mem::take(&mut self.partial);
                self.process_lines(&line, each);
                line.clear();
                self.partial = line;
            }
        }
        if !bytes.is_empty() {
            let rest = self.process_lines(bytes, each);
            self.partial.extend_from_slice(&bytes[bytes.len() - rest..]);
        }
    }

    /// Processes one whole line with the number `line` (numbers rise, and may skip). Not to be
    /// mixed with [`Extractor::feed`]. Offsets count the lines fed, each with a newline.
    pub fn feed_line(&mut self, line: u64, text: &str, each: &mut dyn FnMut(ExtractedItem<'_>)) {
        let token = scan::next_token(text.as_bytes(), 0).is_some();
        let physical =
            PhysicalLine { line, offset: self.offset, bytes: text.as_bytes(), starts_line: true, continued: false };
        self.process_line(physical, token, each);
        self.offset += text.len() as u64 + 1;
        self.line = line + 1;
    }

    /// Returns items that were held back for a continuation line, after a pause; the text may
    /// continue. An incomplete event is rejected. An incomplete line stays buffered.
    pub fn flush(&mut self, each: &mut dyn FnMut(ExtractedItem<'_>)) {
        self.release(each);
    }

    /// Processes the end of the text.
    pub fn finish(&mut self, each: &mut dyn FnMut(ExtractedItem<'_>)) {
        if !self.partial.is_empty() {
            let last = std::mem::take(&mut self.partial);
            let token = scan::next_token(&last, 0).is_some();
            let starts_line = !self.mid_line;
            let physical =
                PhysicalLine { line: self.line, offset: self.offset, bytes: &last, starts_line, continued: false };
            self.process_line(physical, token, each);
            self.offset += last.len() as u64;
        }
        self.release(each);
    }

    /// Reports whether an item is held back for a continuation line: the caller should then
    /// [`Extractor::flush`] after a pause.
    pub fn is_waiting(&self) -> bool {
        self.held.is_some()
    }

    /// Skips whole lines without tokens, up to the last line that starts a new context. Returns the
    /// number of bytes skipped.
    fn skip_lines(&mut self, lines: &[u8]) -> usize {
        let mut begin = lines.len();
        while let Some(end) = begin.checked_sub(1) {
            begin = memchr::memrchr(b'\n', &lines[..end]).map_or(0, |newline| newline + 1);
            if block::resets_context(&lines[begin..]) {
                break;
            }
        }
        self.line += memchr::memchr_iter(b'\n', &lines[..begin]).count() as u64;
        self.offset += begin as u64;
        begin
    }

    /// Processes the whole lines of `bytes`, and returns the number of bytes left.
    fn process_lines(&mut self, bytes: &[u8], each: &mut dyn FnMut(ExtractedItem<'_>)) -> usize {
        let mut at = 0;
        let mut token = scan::next_token(bytes, 0).map_or(usize::MAX, |(at, _)| at);
        // Lines before this offset are processed one by one.
        let mut checked = 0;
        loop {
            if at >= checked && self.held.is_none() && !self.mid_line && !self.options.texts {
                let quiet = memchr::memrchr(b'\n', &bytes[at..token.min(bytes.len())]).map_or(0, |end| end + 1);
                checked = at + quiet.max(1);
                at += self.skip_lines(&bytes[at..at + quiet]);
            }
            let rest = &bytes[at..];
            let limit = rest.len().min(HELD_BYTES_MAX);
            let newline = memchr::memchr(b'\n', &rest[..limit]);
            if newline.is_none() && rest.len() < HELD_BYTES_MAX {
                return rest.len();
            }
            let length = newline.unwrap_or(limit);
            let has_token = token < at + length;
            let physical = PhysicalLine {
                line: self.line,
                offset: self.offset,
                bytes: &rest[..length],
                starts_line: !self.mid_line,
                continued: newline.is_none(),
            };
            self.process_line(physical, has_token, each);
            let consumed = length + usize::from(newline.is_some());
            at += consumed;
            self.offset += consumed as u64;
            self.line += u64::from(newline.is_some());
            self.mid_line = newline.is_none();
            if has_token {
                token = scan::next_token(bytes, at).map_or(usize::MAX, |(at, _)| at);
            }
        }
    }
}
