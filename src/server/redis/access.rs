//! Permission checks, with Redis' rules and error texts: first for the command, then for its keys.
//! In a store without tokens every command is permitted.
//!
//! | command | required scope |
//! |---|---|
//! | allowed before AUTH | none |
//! | administrative | `admin` |
//! | FLUSHALL, FLUSHDB | `admin` for all tasks and runs |
//! | changes keys | `write` for each key |
//! | deletes a run's events | `admin` for the run: no other copy exists |
//! | any other | `read` for each key |

use super::commands::{CommandError, CommandResult, ReadArgs, keys_of};
use super::table::{ADMIN, CommandSpec, KeySpec, NO_AUTH, WRITE};
use crate::auth::{Caller, Decision, Resource, Scope};
use crate::model::{Entry, RunId, Timestamp};
use crate::tasks::keys::{Database, IdRange, JournalError, KeyDescription, KeyMetadata, KeyReader};
use crate::wire::resp::Request;

const NOT_AUTHENTICATED: CommandError = CommandError::Static("NOAUTH Authentication required.");
const HIDDEN_KEY: CommandError = CommandError::Static("NOPERM No permissions to access a key");

/// Checks that the client, authenticated as `caller` or not at all, may run this command.
pub(super) fn check(
    caller: Option<&Caller>,
    database: Database,
    command: &CommandSpec,
    request: &Request,
) -> CommandResult {
    if command.is(NO_AUTH) {
        return Ok(());
    }
    let caller = caller.ok_or(NOT_AUTHENTICATED)?;
    if caller.is_anonymous() {
        return Ok(());
    }
    let (scope, resource) = required_scope(command);
    if caller.may(scope, resource) != Decision::Allowed {
        return Err(forbidden(command));
    }
    // They count only visible keys and need no further permission.
    if matches!(command.name, "exists" | "touch") {
        return Ok(());
    }
    for_each_key(command, request, |name| {
        // A name of a task or run is one only in the first database, into which COPY may write.
        let key = &*database.stored_name(name);
        let is_run = RunId::from_stream_key(if command.name == "copy" { name } else { key }).is_some();
        let scope = if is_run && deletes_entries(command, request) { Scope::Admin } else { scope };
        match caller.may(scope, Resource::Key(key)) {
            Decision::Allowed => Ok(()),
            Decision::Hidden => Err(HIDDEN_KEY),
            Decision::Forbidden => Err(forbidden(command)),
        }
    })
}

fn forbidden(command: &CommandSpec) -> CommandError {
    CommandError::Text(format!("NOPERM User default has no permissions to run the '{}' command", command.name))
}

/// Returns the scope that a command requires regardless of its keys.
fn required_scope(command: &CommandSpec) -> (Scope, Resource<'static>) {
    match command.name {
        "flushall" | "flushdb" => (Scope::Admin, Resource::Store),
        _ if command.is(ADMIN) => (Scope::Admin, Resource::Any),
        _ if command.is(WRITE) => (Scope::Write, Resource::Any),
        _ => (Scope::Read, Resource::Any),
    }
}

/// Reports whether the command may delete entries of a key. A task's lines remain in its log.
fn deletes_entries(command: &CommandSpec, request: &Request) -> bool {
    match command.name {
        "del" | "unlink" | "xdel" | "xtrim" | "expire" | "expireat" | "pexpire" | "pexpireat" => true,
        // They replace a key of any type.
        "set" | "setex" | "psetex" | "mset" | "rename" | "copy" => true,
        "xadd" => {
            // Only options precede the ID.
            let words = request.args().skip(2).take(2);
            words.into_iter().any(|word| word.eq_ignore_ascii_case(b"MAXLEN") || word.eq_ignore_ascii_case(b"MINID"))
        }
        _ => false,
    }
}

/// Calls `each` with the keys that the command will find in its arguments.
fn for_each_key(
    command: &CommandSpec,
    request: &Request,
    mut each: impl FnMut(&[u8]) -> CommandResult,
) -> CommandResult {
    if let KeySpec::Streams(_) = command.keys {
        // Parsed by the command's own parser, since a group may be named STREAMS. The command itself
        // rejects invalid arguments.
        let Ok(args) = ReadArgs::parse(request, 0, command.name == "xreadgroup") else { return Ok(()) };
        return (args.keys..args.keys + args.streams).try_for_each(|at| each(request.arg(at)));
    }
    keys_of(command, request).into_iter().try_for_each(each)
}

/// A view of the keys that hides those the caller must not see.
pub(super) struct VisibleKeys<'a> {
    pub(super) reader: &'a mut dyn KeyReader,
    pub(super) caller: &'a Caller,
}

impl VisibleKeys<'_> {
    fn sees(&self, name: &[u8]) -> bool {
        self.caller.sees_key(&self.reader.database().stored_name(name))
    }
}

impl KeyReader for VisibleKeys<'_> {
    fn database(&self) -> Database {
        self.reader.database()
    }

    fn select(&mut self, database: Database) {
        self.reader.select(database);
    }

    fn now(&self) -> Timestamp {
        self.reader.now()
    }

    fn metadata(&mut self, name: &[u8]) -> Result<Option<KeyMetadata>, JournalError> {
        if self.sees(name) { self.reader.metadata(name) } else { Ok(None) }
    }

    fn describe(&mut self, name: &[u8]) -> Result<Option<KeyDescription>, JournalError> {
        if self.sees(name) { self.reader.describe(name) } else { Ok(None) }
    }

    fn range(&mut self, name: &[u8], range: IdRange, each: &mut dyn FnMut(&Entry<'_>)) -> Result<usize, JournalError> {
        if self.sees(name) { self.reader.range(name, range, each) } else { Ok(0) }
    }

    fn names(&mut self) -> Result<Vec<Vec<u8>>, JournalError> {
        let mut names = self.reader.names()?;
        names.retain(|name| self.sees(name));
        Ok(names)
    }
}
