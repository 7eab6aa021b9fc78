//! What the commands of a batch need before they run, as far as their names and arguments tell.

use super::table::{Command, HEAVY, Run};
use crate::model::TaskId;
use crate::tasks::Tasks;
use crate::tasks::keys::KeyReader;
use crate::wire::resp::Request;

/// Entries that a read may give at once without being taken to a thread of its own.
const LIGHT_ENTRIES: i64 = 128;

/// What the commands of a batch need.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// A place among the writes.
    pub(super) keys: bool,
    /// Much time.
    pub(super) heavy: bool,
    /// Bytes they may write.
    pub(super) bytes: usize,
    /// Keys of tasks that get entries.
    pub(super) adds: Vec<Box<[u8]>>,
}

impl Plan {
    /// What this command needs, too.
    pub(super) fn add(&mut self, tasks: &Tasks, command: &Command, request: &Request) {
        match command.run {
            Run::Add(_, makes) => {
                self.keys = true;
                let key = request.arg(command.first_key());
                let is_task = TaskId::from_stream_key(key).is_some();
                if is_task && !self.adds.iter().any(|known| **known == *key) {
                    let is_there = || matches!(tasks.snapshot().metadata(key), Ok(Some(_)));
                    if makes(request).is_some() || is_there() {
                        self.adds.push(key.into());
                    }
                }
            }
            Run::Keys(_) | Run::KeysOrWait(_) | Run::Link(_) | Run::Exec => self.keys = true,
            Run::LookOrWait(_) => {
                self.keys |= word(request, b"BLOCK").is_some();
                self.heavy |= is_heavy(request);
            }
            _ => self.heavy |= command.is(HEAVY) && is_heavy(request),
        }
    }
}

/// Whether a command that may be heavy is not bounded to little.
fn is_heavy(request: &Request) -> bool {
    let count = word(request, b"COUNT").and_then(|at| std::str::from_utf8(request.arg(at + 1)).ok()?.parse().ok());
    count.is_none_or(|count: i64| !(0..=LIGHT_ENTRIES).contains(&count)) || request.arg(0).eq_ignore_ascii_case(b"SCAN")
}

/// Where an option stands.
fn word(request: &Request, word: &[u8]) -> Option<usize> {
    let options = request.args().skip(1).take_while(|arg| !arg.eq_ignore_ascii_case(b"STREAMS"));
    options.into_iter().position(|arg| arg.eq_ignore_ascii_case(word)).map(|at| at + 1)
}
