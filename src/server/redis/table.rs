//! What a command is, and how one is found: by name, with the right number of arguments.
//!
//! Names, arities, flags and places of keys are as `COMMAND INFO` of valkey-server 9.1.2 gives them,
//! since clients route and retry by them.

use super::commands::{Outcome, Refusal};
use super::list::COMMANDS;
use super::session::Session;
use crate::tasks::keys::{KeyReader, Transaction};
use crate::wire::resp::{Reply, Request};

/// A command, or a subcommand.
pub(super) struct Command {
    /// As `COMMAND` calls it: `xadd`, `xinfo|stream`.
    pub(super) name: &'static str,
    /// Arguments with the name; negative: at least so many.
    pub(super) arity: i32,
    pub(super) flags: Flags,
    pub(super) keys: KeysAt,
    pub(super) group: Group,
    /// The version of Redis that had it first.
    pub(super) since: &'static str,
    /// What it does, for people.
    pub(super) summary: &'static str,
    pub(super) run: Run,
}

/// Where its keys are among the arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeysAt {
    /// It has none.
    None,
    /// From the first to the last (negative: from the end).
    Range(i32, i32),
    /// Half of what follows the word STREAMS, which comes at this place or later.
    Streams(i32),
}

/// Redis' families of commands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Connection,
    Generic,
    Scripting,
    Server,
    Stream,
    Transactions,
}

/// Bits of [`Command::flags`].
pub(super) type Flags = u16;
/// Changes keys.
pub(super) const WRITE: Flags = 1;
/// Looks at keys.
pub(super) const READONLY: Flags = 1 << 1;
/// Takes memory.
pub(super) const DENYOOM: Flags = 1 << 2;
/// For administrators.
pub(super) const ADMIN: Flags = 1 << 3;
/// Not for scripts.
pub(super) const NOSCRIPT: Flags = 1 << 4;
/// May wait.
pub(super) const BLOCKING: Flags = 1 << 5;
/// Also while a server loads.
pub(super) const LOADING: Flags = 1 << 6;
/// Also on a replica that lags.
pub(super) const STALE: Flags = 1 << 7;
/// Takes no longer with more data.
pub(super) const FAST: Flags = 1 << 8;
/// Before AUTH.
pub(super) const NO_AUTH: Flags = 1 << 9;
/// While a script hangs.
pub(super) const ALLOW_BUSY: Flags = 1 << 10;
/// Where its keys are depends on the arguments.
pub(super) const MOVABLEKEYS: Flags = 1 << 11;
/// Not within MULTI.
pub(super) const NO_MULTI: Flags = 1 << 12;
/// Not worth logging when slow.
pub(super) const SKIP_LOG: Flags = 1 << 13;
/// Ours, not told: looks at every key, or at any number of entries.
pub(super) const HEAVY: Flags = 1 << 14;

/// Their names, in the order `COMMAND` lists them.
pub(super) const FLAG_NAMES: [(Flags, &str); 14] = [
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

/// What became of a command.
pub(super) type Done = Result<(), Refusal>;

/// How a command runs: by what it needs.
pub(super) enum Run {
    /// The connection alone.
    Session(fn(&mut Session, &Request, &mut Reply) -> Done),
    /// The connection, and a look at keys.
    Report(fn(&mut Session, &mut dyn KeyReader, &Request, &mut Reply) -> Done),
    /// A look at keys.
    Look(fn(&mut dyn KeyReader, &Request, &mut Reply) -> Done),
    /// A look at keys, and to wait if there is nothing.
    LookOrWait(fn(&mut dyn KeyReader, &Request, &mut Reply, bool) -> Result<Outcome, Refusal>),
    /// Its place among the writes.
    Keys(fn(&mut Transaction<'_>, &Request, &mut Reply) -> Done),
    /// Its place among the writes, and to wait if there is nothing.
    KeysOrWait(fn(&mut Transaction<'_>, &Request, &mut Reply, bool) -> Result<Outcome, Refusal>),
    /// Adds to a key: a task may have to be made first, for the key that the second gives if the
    /// arguments are right and the key would be made.
    Add(fn(&mut Transaction<'_>, &Request, &mut Reply) -> Done, fn(&Request) -> Option<&[u8]>),
    /// The connection, and its place among the writes.
    Link(fn(&mut Session, &mut Transaction<'_>, &Request, &mut Reply) -> Done),
    /// The commands of a transaction.
    Exec,
    /// One of these is meant.
    Container(&'static [Command]),
}

/// Why a request is none of the commands.
pub(super) struct Misfit {
    pub(super) refusal: Refusal,
    /// The command it would have been.
    pub(super) command: Option<&'static Command>,
}

impl Command {
    pub(super) const fn new(name: &'static str, arity: i32, flags: Flags, group: Group, run: Run) -> Self {
        Self { name, arity, flags, keys: KeysAt::None, group, since: "1.0.0", summary: "", run }
    }

    pub(super) const fn keys(mut self, first: i32, last: i32) -> Self {
        self.keys = KeysAt::Range(first, last);
        self
    }

    pub(super) const fn streams(mut self, from: i32) -> Self {
        self.keys = KeysAt::Streams(from);
        self
    }

    pub(super) const fn about(mut self, since: &'static str, summary: &'static str) -> Self {
        self.since = since;
        self.summary = summary;
        self
    }

    pub(super) fn is(&self, flags: Flags) -> bool {
        self.flags & flags != 0
    }

    /// Its subcommands.
    pub(super) fn subcommands(&self) -> &'static [Command] {
        match self.run {
            Run::Container(subcommands) => subcommands,
            _ => &[],
        }
    }

    /// Where its first key stands.
    pub(super) fn first_key(&self) -> usize {
        match self.keys {
            KeysAt::Range(first, _) => usize::try_from(first).unwrap_or(1),
            _ => 1,
        }
    }

    /// Whether it takes so many arguments, its name among them.
    pub(super) fn takes(&self, arguments: usize) -> bool {
        let wanted = usize::try_from(self.arity.unsigned_abs()).unwrap_or(usize::MAX);
        if self.arity >= 0 { arguments == wanted } else { arguments >= wanted }
    }

    /// The last word of its name.
    fn word(&self) -> &'static str {
        self.name.rsplit_once('|').map_or(self.name, |(_, word)| word)
    }
}

/// The command a request asks for.
pub(super) fn resolve(request: &Request) -> Result<&'static Command, Misfit> {
    let Some(command) = find(COMMANDS, request.arg(0)) else {
        return Err(Misfit { refusal: unknown(request), command: None });
    };
    let found = match (&command.run, request.get(1)) {
        (Run::Container(subcommands), Some(word)) => match find(subcommands, word) {
            Some(subcommand) => subcommand,
            None => return Err(Misfit { refusal: unknown_subcommand(command, word), command: Some(command) }),
        },
        // COMMAND alone is a command; the other containers have an arity that refuses this.
        _ => command,
    };
    if found.takes(request.len()) {
        return Ok(found);
    }
    let text = format!("wrong number of arguments for '{}' command", found.name);
    let refusal = match found.run {
        Run::Exec => Refusal::Text(format!("EXECABORT Transaction discarded because of: {text}")),
        _ => Refusal::Text(format!("ERR {text}")),
    };
    Err(Misfit { refusal, command: Some(found) })
}

/// The command named in words of their own: `xinfo`, `stream`.
pub(super) fn named(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|byte| *byte == b'|') {
        Some(bar) => find(find(COMMANDS, &name[..bar])?.subcommands(), &name[bar + 1..]),
        None => find(COMMANDS, name),
    }
}

/// The command of this name in a list that is sorted by it, whatever the case.
fn find(commands: &'static [Command], name: &[u8]) -> Option<&'static Command> {
    let mut buffer = [0; NAME_BYTES_MAX];
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let lower = &*lower;
    let at = commands.binary_search_by(|command| command.word().as_bytes().cmp(lower)).ok()?;
    commands.get(at)
}

/// No command's name is longer.
const NAME_BYTES_MAX: usize = 24;

/// Bytes of what a client sent that an error quotes.
const QUOTED_BYTES_MAX: usize = 128;

/// What Redis would print of it: up to a NUL, and not too much.
fn quoted(text: &[u8], bytes_max: usize) -> &[u8] {
    let end = memchr::memchr(0, text).unwrap_or(text.len());
    &text[..end.min(bytes_max)]
}

fn unknown(request: &Request) -> Refusal {
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(quoted(request.arg(0), QUOTED_BYTES_MAX));
    text.extend_from_slice(b"', with args beginning with: ");
    let start = text.len();
    for arg in request.args().skip(1) {
        let said = text.len() - start;
        if said >= QUOTED_BYTES_MAX {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(quoted(arg, QUOTED_BYTES_MAX - said));
        text.extend_from_slice(b"' ");
    }
    Refusal::Bytes(text)
}

fn unknown_subcommand(command: &Command, word: &[u8]) -> Refusal {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(quoted(word, QUOTED_BYTES_MAX));
    text.extend_from_slice(format!("'. Try {} HELP.", command.name.to_uppercase()).as_bytes());
    Refusal::Bytes(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(args: &[&[u8]]) -> String {
        let mut reply = Reply::default();
        match resolve(&Request::from_args(args)) {
            Ok(command) => panic!("{} was found", command.name),
            Err(misfit) => misfit.refusal.write(&mut reply),
        }
        String::from_utf8_lossy(reply.bytes()).into_owned()
    }

    #[test]
    fn lists_are_sorted_and_their_names_fit() {
        for list in std::iter::once(COMMANDS).chain(COMMANDS.iter().map(Command::subcommands)) {
            assert!(list.is_sorted_by(|a, b| a.word() < b.word()));
            assert!(list.iter().all(|command| command.word().len() <= NAME_BYTES_MAX));
            assert!(list.iter().all(|command| command.name == command.name.to_lowercase()));
        }
        for command in COMMANDS {
            assert!(!command.summary.is_empty(), "{}", command.name);
            let whole = |sub: &Command| sub.name == format!("{}|{}", command.name, sub.word());
            assert!(command.subcommands().iter().all(whole), "{}", command.name);
        }
    }

    #[test]
    fn commands_are_found_whatever_the_case() {
        for (args, name) in [
            (&[&b"PING"[..]][..], "ping"),
            (&[b"pInG", b"x"], "ping"),
            (&[b"client", b"SetName", b"x"], "client|setname"),
            (&[b"COMMAND"], "command"),
        ] {
            assert_eq!(resolve(&Request::from_args(args)).ok().map(|command| command.name), Some(name));
        }
    }

    /// Asked of valkey-server 9.1.2.
    #[test]
    fn what_does_not_fit_is_refused_in_redis_words() {
        assert_eq!(refused(&[b"NOSUCH"]), "-ERR unknown command 'NOSUCH', with args beginning with: \r\n");
        assert_eq!(
            refused(&[b"it's", b"a\r\nb", b"\0x"]),
            "-ERR unknown command 'it's', with args beginning with: 'a  b' '' \r\n"
        );
        let (a, b) = ([b'a'; 100], [b'b'; 100]);
        let text = refused(&[b"N", &a, &b, b"c"]);
        assert_eq!(text.matches('b').count() - "beginning".matches('b').count(), 25, "{text}");
        assert!(!text.contains("'c'"), "{text}");
        assert_eq!(refused(&[b"CLIENT"]), "-ERR wrong number of arguments for 'client' command\r\n");
        assert_eq!(refused(&[b"client", b"a\0b"]), "-ERR unknown subcommand 'a'. Try CLIENT HELP.\r\n");
        assert_eq!(refused(&[b"CLIENT|ID"]), "-ERR unknown command 'CLIENT|ID', with args beginning with: \r\n");
        assert_eq!(refused(&[b"CLIENT", b"ID", b"x"]), "-ERR wrong number of arguments for 'client|id' command\r\n");
        assert_eq!(
            refused(&[b"EXEC", b"x"]),
            "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n"
        );
    }
}
