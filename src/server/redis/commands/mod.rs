//! The commands, in one file per family.
//!
//! A command parses its arguments, reads or changes keys, and writes one reply. Its arity is checked
//! before the call. Each file follows Valkey 9.1 where it differs from Redis 7.0.

pub(super) mod client;
pub(super) mod command;
pub(super) mod config;
pub(super) mod connection;
mod entries;
pub(super) mod expiry;
mod groups;
pub(super) mod ids;
pub(super) mod info;
pub(super) mod keys;
pub(super) mod object;
pub(super) mod reports;
mod xadd;
mod xdel;
mod xinfo;
mod xlen;
mod xrange;
mod xread;
mod xsetid;
mod xtrim;

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::model::limits::Limit;
use crate::tasks::TasksError;
use crate::tasks::keys::{AddError, JournalError, Transaction, WakeReason};
use crate::wire::resp::{Reply, Request};

pub(super) use command::keys_of;
pub(super) use groups::{key_to_create as group_key_to_create, xack, xautoclaim, xclaim, xgroup, xpending, xreadgroup};
pub(super) use xadd::{key_to_create, xadd};
pub(super) use xdel::xdel;
pub(super) use xinfo::xinfo;
pub(super) use xlen::xlen;
pub(super) use xrange::{xrange, xrevrange};
pub(super) use xread::{ReadArgs, xread};
pub(super) use xsetid::xsetid;
pub(super) use xtrim::xtrim;

/// An error reply: a whole error line, such as `ERR syntax error`.
#[derive(Debug)]
pub(super) enum CommandError {
    /// A fixed text.
    Static(&'static str),
    /// A formatted text.
    Text(String),
    /// A text that contains bytes sent by the client.
    Bytes(Vec<u8>),
    /// The reply would exceed this many bytes.
    TooLarge(usize),
    /// The values of a temporary server may not grow.
    OutOfMemory,
    /// The journal failed.
    Journal(JournalError),
}

/// The result of a command or of parsing its arguments.
pub(super) type CommandResult<T = ()> = Result<T, CommandError>;

/// The outcome of a command that may block.
pub(super) enum CommandOutcome {
    /// The reply is written.
    Done,
    /// Nothing is written; the command waits for its keys to change.
    Block(BlockingCommand),
}

/// A command that found nothing and waits for its keys to change.
pub(super) struct BlockingCommand {
    /// Keys to wait for.
    pub(super) keys: Vec<Box<[u8]>>,
    /// Maximum wait; `None` is unlimited.
    pub(super) timeout: Option<Duration>,
    /// Runs the command again. Returns `None`, having written nothing, to keep waiting.
    pub(super) retry: RetryReadFn,
}

impl BlockingCommand {
    /// Waits until one of the keys changes, without a limit if `block` is zero. `read` runs the command
    /// again and returns whether it wrote a reply.
    pub(super) fn until(
        keys: Vec<Box<[u8]>>,
        block: Duration,
        mut read: impl FnMut(&mut Transaction<'_>, &mut Reply) -> CommandResult<bool> + Send + 'static,
    ) -> Self {
        let retry: RetryReadFn = Box::new(move |keys, reason, reply| match reason {
            WakeReason::Changed => match read(keys, reply) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            },
            WakeReason::TimedOut => {
                reply.null_array();
                Some(Ok(()))
            }
            WakeReason::Unblocked => Some(Err(CommandError::UNBLOCKED)),
        });
        Self { keys, timeout: Some(block).filter(|block| !block.is_zero()), retry }
    }
}

/// See [`BlockingCommand::retry`].
pub(super) type RetryReadFn =
    Box<dyn FnMut(&mut Transaction<'_>, WakeReason, &mut Reply) -> Option<CommandResult> + Send>;

impl CommandError {
    pub(super) const SYNTAX: Self = Self::Static("ERR syntax error");
    pub(super) const INVALID_ID: Self = Self::Static("ERR Invalid stream ID specified as stream command argument");
    pub(super) const NOT_AN_INTEGER: Self = Self::Static("ERR value is not an integer or out of range");
    pub(super) const NO_SUCH_KEY: Self = Self::Static("ERR no such key");
    const UNBLOCKED: Self = Self::Static("UNBLOCKED client unblocked via CLIENT UNBLOCK");

    /// Returns the limit that the command reached, if any.
    pub(super) fn limit_reached(&self) -> Option<Limit> {
        match self {
            Self::TooLarge(_) => Some(Limit::resp_reply_bytes_max),
            Self::OutOfMemory => Some(Limit::resp_values_bytes_max),
            _ => None,
        }
    }

    /// Writes the error as the reply.
    pub(super) fn write(&self, reply: &mut Reply) {
        match self {
            Self::Static(text) => reply.error(text),
            Self::Text(text) => reply.error(text),
            Self::Bytes(text) => reply.error(text),
            Self::TooLarge(max) => reply.error(format!("ERR reply would exceed {max} bytes; use COUNT")),
            Self::OutOfMemory => reply.error("OOM command not allowed when used memory > 'maxmemory'."),
            Self::Journal(JournalError::WrongType) => {
                reply.error("WRONGTYPE Operation against a key holding the wrong kind of value");
            }
            Self::Journal(error) => reply.error(misconf(error)),
        }
    }

    pub(super) fn wrong_arity(command: &str) -> Self {
        Self::Text(format!("ERR wrong number of arguments for '{command}' command"))
    }
}

/// Returns the MISCONF error, which clients understand as "writes fail, reads work".
pub(super) fn misconf(reason: &dyn std::fmt::Display) -> String {
    format!("MISCONF Errors writing to the AOF file: {reason}")
}

/// Returns the error line for a task that rejects an entry.
pub(super) fn task_error(error: &TasksError) -> String {
    match error {
        TasksError::DiskFull(reason) | TasksError::ReadOnly(reason) => misconf(reason),
        TasksError::Unconfirmed(error) => misconf(error),
        error => format!("ERR {error}"),
    }
}

/// Replies to a HELP subcommand.
fn write_help(reply: &mut Reply, lines: &[&str]) {
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.simple(line));
}

impl From<JournalError> for CommandError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl From<AddError> for CommandError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::NotAbove => {
                Self::Static("ERR The ID specified in XADD is equal or smaller than the target stream top item")
            }
            AddError::Exhausted => {
                Self::Static("ERR The stream has exhausted the last possible ID, unable to add more items")
            }
            AddError::Journal(error) => Self::Journal(error),
        }
    }
}

/// Creates the error for an unknown subcommand of a container.
fn unknown_subcommand(request: &Request) -> CommandError {
    let name = ids::until_nul(request.arg(1));
    let name = name.get(..128).unwrap_or(name);
    let container = request.arg(0).to_ascii_uppercase();
    CommandError::Bytes([&b"ERR unknown subcommand '"[..], name, b"'. Try ", &container, b" HELP."].concat())
}

/// Creates the error for a subcommand with invalid options.
fn wrong_subcommand(request: &Request) -> CommandError {
    let name = ids::until_nul(request.arg(1));
    let container = request.arg(0).to_ascii_uppercase();
    let text = &b"ERR unknown subcommand or wrong number of arguments for '"[..];
    CommandError::Bytes([text, name, b"'. Try ", &container, b" HELP."].concat())
}
