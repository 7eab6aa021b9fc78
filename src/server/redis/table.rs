//! Command definitions, and finding a command by name and number of arguments.
//!
//! Names, arities, flags and key positions equal those that `COMMAND INFO` of valkey-server 9.1.2
//! reports, since clients use them for routing and retries.

use super::commands::keys::KeyWriter;
use super::commands::{CommandError, CommandOutcome, CommandResult};
use super::list::COMMANDS;
use super::session::RedisSession;
use super::values::{self, ValueContext};
use crate::tasks::keys::{KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// A command or subcommand.
pub(super) struct CommandSpec {
    /// Full name as in `COMMAND`: `xadd`, `xinfo|stream`.
    pub(super) name: &'static str,
    /// Number of arguments including the name; negative: the minimum.
    pub(super) arity: i32,
    pub(super) flags: CommandFlags,
    pub(super) keys: KeySpec,
    pub(super) group: CommandGroup,
    /// First version of Redis that had the command.
    pub(super) since: &'static str,
    /// Short description for COMMAND DOCS.
    pub(super) summary: &'static str,
    pub(super) run: CommandFn,
}

/// The positions of a command's keys among its arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeySpec {
    /// No keys.
    None,
    /// From the first to the last position (negative: counted from the end).
    Range(i32, i32),
    /// All arguments after the name, alternating with values.
    Pairs,
    /// The first half of the arguments after the word STREAMS, searched from this position.
    Streams(i32),
}

/// Redis' groups of commands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandGroup {
    Connection,
    Generic,
    Hash,
    List,
    Scripting,
    Server,
    Stream,
    String,
    Transactions,
}

/// Bits of [`CommandSpec::flags`].
pub(super) type CommandFlags = u16;
/// Changes keys.
pub(super) const WRITE: CommandFlags = 1;
/// Reads keys.
pub(super) const READONLY: CommandFlags = 1 << 1;
/// May use more memory.
pub(super) const DENYOOM: CommandFlags = 1 << 2;
/// For administrators only.
pub(super) const ADMIN: CommandFlags = 1 << 3;
/// Not allowed in scripts.
pub(super) const NOSCRIPT: CommandFlags = 1 << 4;
/// May block.
pub(super) const BLOCKING: CommandFlags = 1 << 5;
/// Allowed while a server loads its data.
pub(super) const LOADING: CommandFlags = 1 << 6;
/// Allowed on a replica with stale data.
pub(super) const STALE: CommandFlags = 1 << 7;
/// Runs in constant or logarithmic time.
pub(super) const FAST: CommandFlags = 1 << 8;
/// Allowed before AUTH.
pub(super) const NO_AUTH: CommandFlags = 1 << 9;
/// Allowed while a script is busy.
pub(super) const ALLOW_BUSY: CommandFlags = 1 << 10;
/// Key positions depend on the arguments.
pub(super) const MOVABLEKEYS: CommandFlags = 1 << 11;
/// Not allowed inside MULTI.
pub(super) const NO_MULTI: CommandFlags = 1 << 12;
/// Not recorded in the slow log.
pub(super) const SKIP_LOG: CommandFlags = 1 << 13;
/// Internal, not reported: reads all keys, or any number of entries.
pub(super) const HEAVY: CommandFlags = 1 << 14;

/// Names of the flags, in the order that `COMMAND` lists them.
pub(super) const FLAG_NAMES: [(CommandFlags, &str); 14] = [
    (WRITE, "write"),
    (READONLY, "readonly"),
    (DENYOOM, "denyoom"),
    (ADMIN, "admin"),
    (NOSCRIPT, "noscript"),
    (BLOCKING, "blocking"),
    (LOADING, "loading"),
    (STALE, "stale"),
    (SKIP_LOG, "skip_commandlog"),
    (FAST, "fast"),
    (NO_AUTH, "no_auth"),
    (ALLOW_BUSY, "allow_busy"),
    (MOVABLEKEYS, "movablekeys"),
    (NO_MULTI, "no_multi"),
];

/// The implementation of a command, by the access it needs.
pub(super) enum CommandFn {
    /// Uses only the session.
    Session(fn(&mut RedisSession, &Request, &mut Reply) -> CommandResult),
    /// Uses the session and reads keys.
    SessionRead(fn(&mut RedisSession, &mut dyn KeyReader, &Request, &mut Reply) -> CommandResult),
    /// Reads keys.
    Read(fn(&mut dyn KeyReader, &Request, &mut Reply) -> CommandResult),
    /// Reads keys, or blocks if there is nothing to read.
    BlockingRead(fn(&mut dyn KeyReader, &Request, &mut Reply, bool) -> CommandResult<CommandOutcome>),
    /// Runs in a write transaction.
    Write(fn(&mut Transaction<'_>, &Request, &mut Reply) -> CommandResult),
    /// Runs in a write transaction, or blocks if there is nothing to read.
    BlockingWrite(fn(&mut Transaction<'_>, &Request, &mut Reply, bool) -> CommandResult<CommandOutcome>),
    /// Appends an entry or creates a key. The second function returns the key to create if it is
    /// missing, if any, so that its task can be created first.
    Add(fn(&mut Transaction<'_>, &Request, &mut Reply) -> CommandResult, fn(&Request) -> Option<&[u8]>),
    /// Changes keys of any type, in a write transaction.
    KeyWrite(fn(&mut dyn KeyWriter, &Request, &mut Reply) -> CommandResult),
    /// Uses the values of a temporary server, in a write transaction.
    Value(ValueFn),
    /// Uses the values of a temporary server, or blocks if there is nothing to take.
    BlockingValue(BlockingValueFn),
    /// Uses the session, in a write transaction.
    SessionWrite(fn(&mut RedisSession, &mut Transaction<'_>, &Request, &mut Reply) -> CommandResult),
    /// Runs the queued commands of a transaction.
    Exec,
    /// Only has subcommands.
    Container(&'static [CommandSpec]),
}

/// A command on the values of a temporary server.
pub(super) type ValueFn = fn(&mut ValueContext<'_, '_>, &Request, &mut Reply) -> CommandResult;
/// Like [`ValueFn`], for a command that may block.
pub(super) type BlockingValueFn =
    fn(&mut ValueContext<'_, '_>, &Request, &mut Reply, bool) -> CommandResult<CommandOutcome>;

/// An error for a request that resolves to no command.
pub(super) struct ResolveError {
    pub(super) error: CommandError,
    /// The command that the request was meant for, if known.
    pub(super) command: Option<&'static CommandSpec>,
}

impl CommandSpec {
    pub(super) const fn new(
        name: &'static str,
        arity: i32,
        flags: CommandFlags,
        group: CommandGroup,
        run: CommandFn,
    ) -> Self {
        Self { name, arity, flags, keys: KeySpec::None, group, since: "1.0.0", summary: "", run }
    }

    pub(super) const fn keys(mut self, first: i32, last: i32) -> Self {
        self.keys = KeySpec::Range(first, last);
        self
    }

    pub(super) const fn key_pairs(mut self) -> Self {
        self.keys = KeySpec::Pairs;
        self
    }

    pub(super) const fn streams(mut self, from: i32) -> Self {
        self.keys = KeySpec::Streams(from);
        self
    }

    pub(super) const fn about(mut self, since: &'static str, summary: &'static str) -> Self {
        self.since = since;
        self.summary = summary;
        self
    }

    pub(super) fn is(&self, flags: CommandFlags) -> bool {
        self.flags & flags != 0
    }

    /// Returns the subcommands.
    pub(super) fn subcommands(&self) -> &'static [CommandSpec] {
        match self.run {
            CommandFn::Container(subcommands) => subcommands,
            _ => &[],
        }
    }

    /// Returns the position of the first key.
    pub(super) fn first_key(&self) -> usize {
        match self.keys {
            KeySpec::Range(first, _) => usize::try_from(first).unwrap_or(1),
            _ => 1,
        }
    }

    /// Reports whether the command accepts this number of arguments, including its name.
    pub(super) fn accepts_arity(&self, arguments: usize) -> bool {
        let expected = usize::try_from(self.arity.unsigned_abs()).unwrap_or(usize::MAX);
        if self.arity >= 0 { arguments == expected } else { arguments >= expected }
    }

    /// Returns the name without that of the container.
    fn short_name(&self) -> &'static str {
        self.name.rsplit_once('|').map_or(self.name, |(_, word)| word)
    }
}

/// The commands that a server has: lists without common names, each sorted by name.
#[derive(Clone, Copy)]
pub(super) struct CommandTable(&'static [&'static [CommandSpec]]);

impl CommandTable {
    /// The commands of a durable server.
    pub(super) const STREAMS: Self = Self(&[COMMANDS]);
    /// The commands of a temporary server.
    pub(super) const WITH_VALUES: Self =
        Self(&[COMMANDS, values::STRINGS, values::HASHES, values::LISTS, values::KEYS]);

    /// Returns all commands, without subcommands.
    pub(super) fn iter(self) -> impl Iterator<Item = &'static CommandSpec> {
        self.0.iter().flat_map(|list| list.iter())
    }

    fn find(self, name: &[u8]) -> Option<&'static CommandSpec> {
        self.0.iter().find_map(|list| find(list, name))
    }

    /// Finds a command by its full name: `xadd`, `xinfo|stream`.
    pub(super) fn find_by_name(self, name: &[u8]) -> Option<&'static CommandSpec> {
        match name.iter().position(|byte| *byte == b'|') {
            Some(bar) => find(self.find(&name[..bar])?.subcommands(), &name[bar + 1..]),
            None => self.find(name),
        }
    }

    /// Returns the command of a request.
    pub(super) fn resolve(self, request: &Request) -> Result<&'static CommandSpec, ResolveError> {
        let Some(command) = self.find(request.arg(0)) else {
            return Err(ResolveError { error: unknown(request), command: None });
        };
        let found = match (&command.run, request.get(1)) {
            (CommandFn::Container(subcommands), Some(word)) => match find(subcommands, word) {
                Some(subcommand) => subcommand,
                None => return Err(ResolveError { error: unknown_subcommand(command, word), command: Some(command) }),
            },
            // COMMAND alone is a command; the arity of other containers rejects this.
            _ => command,
        };
        if found.accepts_arity(request.len()) {
            return Ok(found);
        }
        let text = format!("wrong number of arguments for '{}' command", found.name);
        let error = match found.run {
            CommandFn::Exec => CommandError::Text(format!("EXECABORT Transaction discarded because of: {text}")),
            _ => CommandError::Text(format!("ERR {text}")),
        };
        Err(ResolveError { error, command: Some(found) })
    }
}

/// Finds a command in a sorted list, ignoring case.
fn find(commands: &'static [CommandSpec], name: &[u8]) -> Option<&'static CommandSpec> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let lower = &*lower;
    let at = commands.binary_search_by(|command| command.short_name().as_bytes().cmp(lower)).ok()?;
    commands.get(at)
}

/// Length of the longest name.
const NAME_BYTES_MAX: usize = 24;

/// Bytes of client input that an error quotes.
const QUOTED_BYTES_MAX: usize = 128;

/// Returns the text that Redis would quote: up to a NUL, and at most `bytes_max` bytes.
fn quote(text: &[u8], bytes_max: usize) -> &[u8] {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    &text[..end.min(bytes_max)]
}

fn unknown(request: &Request) -> CommandError {
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(quote(request.arg(0), QUOTED_BYTES_MAX));
    text.extend_from_slice(b"', with args beginning with: ");
    let start = text.len();
    for arg in request.args().skip(1) {
        let quoted = text.len() - start;
        if quoted >= QUOTED_BYTES_MAX {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(quote(arg, QUOTED_BYTES_MAX - quoted));
        text.extend_from_slice(b"' ");
    }
    CommandError::Bytes(text)
}

fn unknown_subcommand(command: &CommandSpec, word: &[u8]) -> CommandError {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(quote(word, QUOTED_BYTES_MAX));
    text.extend_from_slice(format!("'. Try {} HELP.", command.name.to_uppercase()).as_bytes());
    CommandError::Bytes(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(args: &[&[u8]]) -> String {
        let mut reply = Reply::default();
        match CommandTable::STREAMS.resolve(&Request::from_args(args)) {
            Ok(command) => panic!("{} was found", command.name),
            Err(unresolved) => unresolved.error.write(&mut reply),
        }
        String::from_utf8_lossy(reply.bytes()).into_owned()
    }

    #[test]
    fn command_lists_are_sorted_and_named_consistently() {
        let all = CommandTable::WITH_VALUES;
        for list in all.0.iter().copied().chain(COMMANDS.iter().map(CommandSpec::subcommands)) {
            assert!(list.is_sorted_by(|a, b| a.short_name() < b.short_name()));
            assert!(list.iter().all(|command| command.short_name().len() <= NAME_BYTES_MAX));
            assert!(list.iter().all(|command| command.name == command.name.to_lowercase()));
        }
        let names: std::collections::HashSet<_> = all.iter().map(|command| command.name).collect();
        assert_eq!(names.len(), all.iter().count(), "no name is in two lists");
        for command in all.iter() {
            assert!(!command.summary.is_empty(), "{}", command.name);
            let whole = |sub: &CommandSpec| sub.name == format!("{}|{}", command.name, sub.short_name());
            assert!(command.subcommands().iter().all(whole), "{}", command.name);
        }
    }

    #[test]
    fn command_names_are_case_insensitive() {
        for (args, name) in [
            (&[&b"PING"[..]][..], "ping"),
            (&[b"pInG", b"x"], "ping"),
            (&[b"client", b"SetName", b"x"], "client|setname"),
            (&[b"COMMAND"], "command"),
        ] {
            let found = CommandTable::STREAMS.resolve(&Request::from_args(args));
            assert_eq!(found.ok().map(|command| command.name), Some(name));
        }
    }

    /// Expected replies recorded from valkey-server 9.1.2.
    #[test]
    fn invalid_requests_get_redis_errors() {
        assert_eq!(error_of(&[b"NOSUCH"]), "-ERR unknown command 'NOSUCH', with args beginning with: \r\n");
        assert_eq!(
            error_of(&[b"it's", b"a\r\nb", b"\0x"]),
            "-ERR unknown command 'it's', with args beginning with: 'a  b' '' \r\n"
        );
        let (a, b) = ([b'a'; 100], [b'b'; 100]);
        let text = error_of(&[b"N", &a, &b, b"c"]);
        assert_eq!(text.matches('b').count() - "beginning".matches('b').count(), 25, "{text}");
        assert!(!text.contains("'c'"), "{text}");
        assert_eq!(error_of(&[b"CLIENT"]), "-ERR wrong number of arguments for 'client' command\r\n");
        assert_eq!(error_of(&[b"client", b"a\0b"]), "-ERR unknown subcommand 'a'. Try CLIENT HELP.\r\n");
        assert_eq!(error_of(&[b"CLIENT|ID"]), "-ERR unknown command 'CLIENT|ID', with args beginning with: \r\n");
        assert_eq!(error_of(&[b"CLIENT", b"ID", b"x"]), "-ERR wrong number of arguments for 'client|id' command\r\n");
        assert_eq!(
            error_of(&[b"EXEC", b"x"]),
            "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n"
        );
    }
}
