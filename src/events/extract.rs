//! Events out of any text.

use crate::model::{Event, EventFault};

/// What stands before an event in a text.
pub const TOKEN: &str = "LB_EVENT";
/// What stands before the facts of an ended Ansible task.
pub const TASK_TOKEN: &str = "LB_TASK";

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
    pub fault: EventFault,
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
    _options: ExtractorOptions,
}

impl Extractor {
    /// At the begin of a text.
    pub fn new(options: ExtractorOptions) -> Self {
        Self { _options: options }
    }

    /// Takes the next bytes, which may end anywhere, and gives what is whole.
    pub fn feed(&mut self, _bytes: &[u8], _each: &mut dyn FnMut(Found<'_>)) {}

    /// Takes one whole line that has the number `line` (they grow, and may skip).
    pub fn feed_line(&mut self, _line: u64, _text: &str, _each: &mut dyn FnMut(Found<'_>)) {}

    /// Gives what was kept back (an event may go on in the next lines) after a silence; the text may go on.
    pub fn flush(&mut self, _each: &mut dyn FnMut(Found<'_>)) {}

    /// The text has ended.
    pub fn finish(&mut self, _each: &mut dyn FnMut(Found<'_>)) {}

    /// Whether something is kept back for the next lines: then a caller should [`Extractor::flush`]
    /// when no more comes for a while.
    pub fn is_waiting(&self) -> bool {
        false
    }
}
