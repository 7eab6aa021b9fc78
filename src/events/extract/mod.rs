//! Events out of any text.
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
//! - A token without a brace behind it is text. With one it is an event or is rejected with the
//!   reason, never passed over: so a line of a shell script like `echo "LB_EVENT {$x}"` is rejected,
//!   as is a playbook's line that Ansible shows cut off. Texts of a result that are commands (`cmd`)
//!   and lines of the playbook below an error report are text.
//! - Ansible prints one event in several places of one result (the item, `msg`, `stdout`, ..). The
//!   n-th of equal ones in one place is the n-th in another: a [`Found::Echo`]. Equal ones in one
//!   place, in two results, or in no result are different events.
//! - Colours and the ends of lines (LF, CRLF) make no difference; nor does where the text is cut
//!   into pieces.

use crate::events::Identities;
use crate::model::{Event, EventError};

mod block;
mod line;
mod scan;
mod settle;
mod unescape;
mod yaml;

use block::Block;
use line::{Held, Physical};
use yaml::Yaml;

/// What stands before an event in a text.
pub const TOKEN: &str = "LB_EVENT";
/// What stands before the facts of an ended Ansible task.
pub const TASK_TOKEN: &str = "LB_TASK";

/// Bytes of a line without its end, or of a scalar over lines, that are held back. A longer line is
/// taken in pieces of this size, and a longer scalar is rejected.
const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Characters of what was rejected that are shown.
const EXCERPT_CHARS_MAX: usize = 200;

/// What an extractor is to know of the text's origin.
#[derive(Clone, Debug, Default)]
pub struct ExtractorOptions {
    /// The host of events that name none, where the text does not tell it (`ok: [h1] => ..`).
    pub host: Option<String>,
    /// Give also the lines that hold no event, as [`Found::Text`].
    pub texts: bool,
}

/// How an event stood in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `LB_EVENT {..}` as it was printed.
    Plain,
    /// Inside a JSON string, with so many levels of escaping.
    Escaped(u8),
    /// `(item=LB_EVENT {..})` of an Ansible loop.
    Item,
    /// A YAML scalar, perhaps folded over lines.
    Yaml,
}

/// One event that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Extracted {
    /// The object as it stood there, compact; the host filled in where it named none.
    pub event: Event,
    /// The same as it is to be kept: with its `event_id`, without `null`.
    pub identified: Event,
    /// The line it begins on, from 1.
    pub line: u64,
    /// Bytes of the text before its token.
    pub offset: u64,
    /// How it stood there.
    pub form: Form,
}

/// What looks like an event and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The line it begins on, from 1.
    pub line: u64,
    /// Bytes of the text before its token.
    pub offset: u64,
    /// Why.
    pub fault: EventError,
    /// The begin of what stood there.
    pub excerpt: String,
}

/// The facts of an ended Ansible task (`LB_TASK`), as the object that was printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskMark {
    /// The line it stands on, from 1.
    pub line: u64,
    /// The object, compact.
    pub json: String,
}

/// What was found in a text, in its order.
#[derive(Clone, Debug, PartialEq)]
pub enum Found<'a> {
    /// An event.
    Event(Extracted),
    /// The same event once more, as Ansible prints each of a loop twice; `of` is the line of the first.
    Echo {
        /// What was found again.
        again: Extracted,
        /// The line of the first.
        of: u64,
    },
    /// The facts of an Ansible task.
    Task(TaskMark),
    /// What looks like an event and is none.
    Rejected(Rejected),
    /// A line that holds none of these, without its newline; only where the options ask for it.
    Text {
        /// Its number, from 1.
        line: u64,
        /// Its text.
        text: &'a str,
    },
}

/// Finds events in a text that comes in pieces of any size.
#[derive(Debug)]
pub struct Extractor {
    options: ExtractorOptions,
    identities: Identities,
    /// A line without its end, less than [`HELD_BYTES_MAX`].
    partial: Vec<u8>,
    /// The number of the line that `partial` is or will be part of.
    line: u64,
    /// Bytes of the text before `partial`.
    offset: u64,
    /// Pieces of the present line were already taken, as it is longer than the limit.
    inside_line: bool,
    block: Block,
    yaml: Yaml,
    held: Option<Held>,
}

impl Extractor {
    /// At the begin of a text.
    pub fn new(options: ExtractorOptions) -> Self {
        Self {
            options,
            identities: Identities::default(),
            partial: Vec::new(),
            line: 1,
            offset: 0,
            inside_line: false,
            block: Block::default(),
            yaml: Yaml::default(),
            held: None,
        }
    }

    /// Takes the next bytes, which may end anywhere, and gives what is whole.
    pub fn feed(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(Found<'_>)) {
        while !self.partial.is_empty() && !bytes.is_empty() {
            let room = HELD_BYTES_MAX - self.partial.len();
            let end = memchr::memchr(b'\n', &bytes[..room.min(bytes.len())]);
            let (taken, rest) = bytes.split_at(end.map_or(room.min(bytes.len()), |end| end + 1));
            self.partial.extend_from_slice(taken);
            bytes = rest;
            if end.is_some() || self.partial.len() == HELD_BYTES_MAX {
                let mut line = std::mem::take(&mut self.partial);
                self.region(&line, each);
                line.clear();
                self.partial = line;
            }
        }
        if !bytes.is_empty() {
            let rest = self.region(bytes, each);
            self.partial.extend_from_slice(&bytes[bytes.len() - rest..]);
        }
    }

    /// Takes one whole line that has the number `line` (they grow, and may skip). Not to be mixed
    /// with [`Extractor::feed`]. Offsets are those of the lines that were given, each with a newline.
    pub fn feed_line(&mut self, line: u64, text: &str, each: &mut dyn FnMut(Found<'_>)) {
        let token = scan::next_token(text.as_bytes(), 0).is_some();
        let physical = Physical { line, offset: self.offset, bytes: text.as_bytes(), begins: true, cut: false };
        self.physical(physical, token, each);
        self.offset += text.len() as u64 + 1;
        self.line = line + 1;
    }

    /// Gives what was kept back (an event may go on in the next lines) after a silence; the text may go
    /// on. What of an event is not there is then missing: it is rejected. A line without its end stays.
    pub fn flush(&mut self, each: &mut dyn FnMut(Found<'_>)) {
        self.release(each);
    }

    /// The text has ended.
    pub fn finish(&mut self, each: &mut dyn FnMut(Found<'_>)) {
        if !self.partial.is_empty() {
            let last = std::mem::take(&mut self.partial);
            let token = scan::next_token(&last, 0).is_some();
            let begins = !self.inside_line;
            let physical = Physical { line: self.line, offset: self.offset, bytes: &last, begins, cut: false };
            self.physical(physical, token, each);
            self.offset += last.len() as u64;
        }
        self.release(each);
    }

    /// Whether something is kept back for the next lines: then a caller should [`Extractor::flush`]
    /// when no more comes for a while.
    pub fn is_waiting(&self) -> bool {
        self.held.is_some()
    }

    /// Passes over whole lines without tokens, up to the last from which on the lines before it do not
    /// matter; gives their bytes.
    fn pass_over(&mut self, lines: &[u8]) -> usize {
        let mut begin = lines.len();
        while let Some(end) = begin.checked_sub(1) {
            begin = memchr::memrchr(b'\n', &lines[..end]).map_or(0, |newline| newline + 1);
            if block::begins_anew(&lines[begin..]) {
                break;
            }
        }
        self.line += memchr::memchr_iter(b'\n', &lines[..begin]).count() as u64;
        self.offset += begin as u64;
        begin
    }

    /// Takes the whole lines of `bytes`, which begin where the text goes on; gives the bytes left.
    fn region(&mut self, bytes: &[u8], each: &mut dyn FnMut(Found<'_>)) -> usize {
        let mut at = 0;
        let mut token = scan::next_token(bytes, 0).map_or(usize::MAX, |(at, _)| at);
        // Up to here lines are taken one by one.
        let mut looked = 0;
        loop {
            if at >= looked && self.held.is_none() && !self.inside_line && !self.options.texts {
                let quiet = memchr::memrchr(b'\n', &bytes[at..token.min(bytes.len())]).map_or(0, |end| end + 1);
                looked = at + quiet.max(1);
                at += self.pass_over(&bytes[at..at + quiet]);
            }
            let rest = &bytes[at..];
            let limit = rest.len().min(HELD_BYTES_MAX);
            let newline = memchr::memchr(b'\n', &rest[..limit]);
            if newline.is_none() && rest.len() < HELD_BYTES_MAX {
                return rest.len();
            }
            let length = newline.unwrap_or(limit);
            let has_token = token < at + length;
            let physical = Physical {
                line: self.line,
                offset: self.offset,
                bytes: &rest[..length],
                begins: !self.inside_line,
                cut: newline.is_none(),
            };
            self.physical(physical, has_token, each);
            let taken = length + usize::from(newline.is_some());
            at += taken;
            self.offset += taken as u64;
            self.line += u64::from(newline.is_some());
            self.inside_line = newline.is_none();
            if has_token {
                token = scan::next_token(bytes, at).map_or(usize::MAX, |(at, _)| at);
            }
        }
    }
}
