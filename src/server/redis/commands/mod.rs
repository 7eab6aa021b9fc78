//! What each command does: arguments to keys to reply. One file per family of commands.
//!
//! A command reads its arguments, looks at or changes the keys, and writes one reply. Arity is looked
//! at before it is called. Each file follows Valkey 9.1 where it and Redis 7.0 differ.

pub(super) mod client;
pub(super) mod command;
pub(super) mod config;
pub(super) mod connection;
mod entries;
pub(super) mod expiry;
mod groups;
mod ids;
pub(super) mod info;
pub(super) mod keys;
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

use crate::tasks::TasksError;
use crate::tasks::keys::{AddError, JournalError, Transaction, WakeReason};
use crate::wire::resp::{Reply, Request};

pub(super) use command::keys_of;
pub(super) use groups::{creates as group_creates, xack, xautoclaim, xclaim, xgroup, xpending, xreadgroup};
pub(super) use xadd::{creates, xadd};
pub(super) use xdel::xdel;
pub(super) use xinfo::xinfo;
pub(super) use xlen::xlen;
pub(super) use xrange::{xrange, xrevrange};
pub(super) use xread::{ReadArgs, xread};
pub(super) use xsetid::xsetid;
pub(super) use xtrim::xtrim;

/// A refused command: the whole error line, such as `ERR syntax error`.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Always in these words.
    Static(&'static str),
    /// With something of this case in it.
    Text(String),
    /// As [`Refusal::Text`], with bytes of the client's in it.
    Bytes(Vec<u8>),
    /// The reply would have more bytes than this.
    TooLarge(usize),
    /// The journal could not do it.
    Journal(JournalError),
}

/// What became of a command that may have to wait.
pub(super) enum Outcome {
    /// It is answered.
    Done,
    /// Nothing was written; it is to be looked at again.
    Wait(Wait),
}

/// A command that found nothing and waits for its keys.
pub(super) struct Wait {
    /// The keys whose change it waits for.
    pub(super) keys: Vec<Box<[u8]>>,
    /// For how long; `None` for ever.
    pub(super) timeout: Option<Duration>,
    /// Looks again. `None`: it goes on waiting, and has written nothing.
    pub(super) again: Again,
}

impl Wait {
    /// Waits for these keys, for ever if `block` is zero. `look` runs the command again and tells
    /// whether it has found something; where it has not, it has written nothing.
    fn until(
        keys: Vec<Box<[u8]>>,
        block: Duration,
        mut look: impl FnMut(&mut Transaction<'_>, &mut Reply) -> Result<bool, Refusal> + Send + 'static,
    ) -> Self {
        let again: Again = Box::new(move |keys, why, reply| match why {
            WakeReason::Changed => match look(keys, reply) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(refusal) => Some(Err(refusal)),
            },
            WakeReason::TimedOut => {
                reply.null_array();
                Some(Ok(()))
            }
            WakeReason::Unblocked => Some(Err(Refusal::UNBLOCKED)),
        });
        Self { keys, timeout: Some(block).filter(|block| !block.is_zero()), again }
    }
}

/// See [`Wait::again`].
pub(super) type Again =
    Box<dyn FnMut(&mut Transaction<'_>, WakeReason, &mut Reply) -> Option<Result<(), Refusal>> + Send>;

impl Refusal {
    const SYNTAX: Self = Self::Static("ERR syntax error");
    const INVALID_ID: Self = Self::Static("ERR Invalid stream ID specified as stream command argument");
    const NOT_AN_INTEGER: Self = Self::Static("ERR value is not an integer or out of range");
    const NO_SUCH_KEY: Self = Self::Static("ERR no such key");
    const UNBLOCKED: Self = Self::Static("UNBLOCKED client unblocked via CLIENT UNBLOCK");

    /// Writes it as the reply.
    pub(super) fn write(&self, reply: &mut Reply) {
        match self {
            Self::Static(text) => reply.error(text),
            Self::Text(text) => reply.error(text),
            Self::Bytes(text) => reply.error(text),
            Self::TooLarge(max) => reply.error(format!("ERR the reply would have over {max} bytes: use COUNT")),
            Self::Journal(error) => reply.error(unwritten(error)),
        }
    }

    fn wrong_arity(command: &str) -> Self {
        Self::Text(format!("ERR wrong number of arguments for '{command}' command"))
    }
}

/// What clients know as "writes fail, reads go on".
pub(super) fn unwritten(error: &JournalError) -> String {
    misconf(error)
}

/// Why a task takes no entry.
pub(super) fn refused(error: &TasksError) -> String {
    match error {
        TasksError::DiskFull(why) | TasksError::ReadOnly(why) => misconf(why),
        TasksError::Unconfirmed(error) => misconf(error),
        error => format!("ERR {error}"),
    }
}

fn misconf(why: &dyn std::fmt::Display) -> String {
    format!("MISCONF Errors writing to the AOF file: {why}")
}

/// The answer to a HELP subcommand.
fn help_lines(reply: &mut Reply, lines: &[&str]) {
    reply.array(lines.len());
    lines.iter().for_each(|line| reply.simple(line));
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl From<AddError> for Refusal {
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

/// A container's subcommand that there is not.
fn unknown_subcommand(request: &Request) -> Refusal {
    let name = ids::until_nul(request.arg(1));
    let name = name.get(..128).unwrap_or(name);
    let container = request.arg(0).to_ascii_uppercase();
    Refusal::Bytes([&b"ERR unknown subcommand '"[..], name, b"'. Try ", &container, b" HELP."].concat())
}

/// A subcommand with options that it does not have.
fn wrong_subcommand(request: &Request) -> Refusal {
    let name = ids::until_nul(request.arg(1));
    let container = request.arg(0).to_ascii_uppercase();
    let text = &b"ERR unknown subcommand or wrong number of arguments for '"[..];
    Refusal::Bytes([text, name, b"'. Try ", &container, b" HELP."].concat())
}
