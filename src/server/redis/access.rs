//! Whether a client may run a command, decided as Redis' access rules decide it: first the command, then
//! its keys, each in Redis' words. In a store without tokens everyone may run everything.
//!
//! | command | takes |
//! |---|---|
//! | those that run before AUTH | nothing |
//! | of administrators | `admin` |
//! | FLUSHALL, FLUSHDB | `admin`, for all tasks and runs |
//! | that change keys | `write` for each of the keys |
//! | that take events of a run away | `admin` for the run: they are nowhere else |
//! | all others | `read` for each of the keys |

use super::commands::{ReadArgs, Refusal, keys_of};
use super::table::{ADMIN, Command, KeysAt, NO_AUTH, WRITE};
use crate::auth::{Caller, Decision, Resource, Scope};
use crate::model::{Entry, RunId, Timestamp};
use crate::tasks::keys::{IdRange, JournalError, KeyMetadata, KeyReader};
use crate::wire::resp::Request;

const NO_AUTH_YET: Refusal = Refusal::Static("NOAUTH Authentication required.");
const HIDDEN_KEY: Refusal = Refusal::Static("NOPERM No permissions to access a key");

/// Whether a client that has signed in as `caller`, or not at all, may run this.
pub(super) fn check(caller: Option<&Caller>, command: &Command, request: &Request) -> Result<(), Refusal> {
    if command.is(NO_AUTH) {
        return Ok(());
    }
    let caller = caller.ok_or(NO_AUTH_YET)?;
    if caller.is_anonymous() {
        return Ok(());
    }
    let (scope, object) = needs(command);
    if caller.may(scope, object) != Decision::Allowed {
        return Err(forbidden(command));
    }
    // They count what is there: what is hidden is not.
    if matches!(command.name, "exists" | "touch") {
        return Ok(());
    }
    for_each_key(command, request, |key| {
        let scope =
            if takes_away(command, request) && RunId::from_stream_key(key).is_some() { Scope::Admin } else { scope };
        match caller.may(scope, Resource::Key(key)) {
            Decision::Allowed => Ok(()),
            Decision::Hidden => Err(HIDDEN_KEY),
            Decision::Forbidden => Err(forbidden(command)),
        }
    })
}

fn forbidden(command: &Command) -> Refusal {
    Refusal::Text(format!("NOPERM User default has no permissions to run the '{}' command", command.name))
}

/// What a command takes whatever its keys are.
fn needs(command: &Command) -> (Scope, Resource<'static>) {
    match command.name {
        "flushall" | "flushdb" => (Scope::Admin, Resource::Store),
        _ if command.is(ADMIN) => (Scope::Admin, Resource::Any),
        _ if command.is(WRITE) => (Scope::Write, Resource::Any),
        _ => (Scope::Read, Resource::Any),
    }
}

/// Whether entries of a key may be gone after it. Lines of a task are in its log all the same.
fn takes_away(command: &Command, request: &Request) -> bool {
    match command.name {
        "del" | "unlink" | "xdel" | "xtrim" | "expire" | "expireat" | "pexpire" | "pexpireat" => true,
        "xadd" => {
            // Before the id there are only options.
            let words = request.args().skip(2).take(2);
            words.into_iter().any(|word| word.eq_ignore_ascii_case(b"MAXLEN") || word.eq_ignore_ascii_case(b"MINID"))
        }
        _ => false,
    }
}

/// Calls `each` with the keys that the command itself will find among its arguments.
fn for_each_key(
    command: &Command,
    request: &Request,
    mut each: impl FnMut(&[u8]) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    if let KeysAt::Streams(_) = command.keys {
        // Read as the command reads it: a group may be called STREAMS. What cannot be read is refused there.
        let Ok(args) = ReadArgs::parse(request, 0, command.name == "xreadgroup") else { return Ok(()) };
        return (args.keys..args.keys + args.streams).try_for_each(|at| each(request.arg(at)));
    }
    keys_of(command, request).into_iter().try_for_each(each)
}

/// The keys that a caller may see; the others are not there.
pub(super) struct Seen<'a> {
    pub(super) look: &'a mut dyn KeyReader,
    pub(super) caller: &'a Caller,
}

impl KeyReader for Seen<'_> {
    fn now(&self) -> Timestamp {
        self.look.now()
    }

    fn metadata(&mut self, name: &[u8]) -> Result<Option<KeyMetadata>, JournalError> {
        if self.caller.sees_key(name) { self.look.metadata(name) } else { Ok(None) }
    }

    fn range(&mut self, name: &[u8], range: IdRange, each: &mut dyn FnMut(&Entry<'_>)) -> Result<usize, JournalError> {
        if self.caller.sees_key(name) { self.look.range(name, range, each) } else { Ok(0) }
    }

    fn names(&mut self) -> Result<Vec<Vec<u8>>, JournalError> {
        let mut names = self.look.names()?;
        names.retain(|name| self.caller.sees_key(name));
        Ok(names)
    }
}
