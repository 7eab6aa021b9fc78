//! The commands, one file per family. A command reads its arguments, does its work on the keys and
//! writes one reply; where and when it runs is not its business.

pub(super) mod numbers;

use std::time::Duration;

use crate::tasks::keys::{JournalError, Keys, Why};
use crate::wire::resp::Reply;

/// A refused command: the whole error line, such as `ERR syntax error`.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A text that is always the same.
    Static(&'static str),
    /// A text made for this case.
    Text(String),
    /// Any bytes: an argument is quoted as it came.
    Bytes(Vec<u8>),
    /// The store did not do it.
    Journal(JournalError),
}

impl Refusal {
    /// Redis' own, and the one most often given.
    pub(super) const SYNTAX: Self = Self::Static("ERR syntax error");
    /// Not a number where one must be.
    pub(super) const NOT_AN_INTEGER: Self = Self::Static("ERR value is not an integer or out of range");

    /// Writes the error in place of everything behind `at`.
    pub(super) fn write(&self, reply: &mut Reply, at: usize) {
        reply.truncate(at);
        match self {
            Self::Static(text) => reply.error(text),
            Self::Text(text) => reply.error(text),
            Self::Bytes(text) => reply.error(text),
            Self::Journal(error) => reply.error(unwritten(error)),
        }
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// Redis' answer when its log cannot be written.
pub(super) fn unwritten(error: &JournalError) -> String {
    format!("MISCONF Errors writing to the AOF file: {error}")
}

/// What became of a command.
pub(super) type Done = Result<(), Refusal>;

/// What became of a command that may wait.
pub(super) enum Outcome {
    /// Its reply is written.
    Done,
    /// There is nothing yet, and nothing was written.
    Wait(Wait),
}

/// What a command waits for.
pub(super) struct Wait {
    /// Any of these keys.
    pub(super) keys: Vec<Box<[u8]>>,
    /// So long; `None` is for ever.
    pub(super) timeout: Option<Duration>,
    /// Looks again; `None` is to go on waiting.
    pub(super) again: Again,
}

/// See [`Wait::again`].
pub(super) type Again = Box<dyn FnMut(&mut Keys<'_>, Why, &mut Reply) -> Option<Done> + Send>;
