//! The resources that a batch needs, determined from the names and arguments of its commands.

use super::table::{CommandFn, CommandSpec, HEAVY};
use super::values::needs_values;
use crate::model::TaskId;
use crate::tasks::Tasks;
use crate::tasks::keys::{Database, KeyReader};
use crate::wire::resp::Request;

/// Most entries that a read may return without moving to a blocking thread.
const LIGHT_ENTRIES: i64 = 128;

/// The resources that a batch needs.
#[derive(Debug, Default)]
pub(super) struct BatchPlan {
    /// Set if it needs a write transaction.
    pub(super) writes: bool,
    /// Set if it may run for long and needs a blocking thread.
    pub(super) heavy: bool,
    /// Bytes it may write.
    pub(super) bytes: usize,
    /// Set on a server with values: commands on keys of any type need a write transaction.
    pub(super) has_values: bool,
    /// Keys of tasks that get entries.
    pub(super) append_keys: Vec<Box<[u8]>>,
}

impl BatchPlan {
    /// Adds the needs of a command.
    pub(super) fn add(&mut self, tasks: &Tasks, database: Database, command: &CommandSpec, request: &Request) {
        if self.has_values && needs_values(command) {
            self.writes = true;
            return;
        }
        match command.run {
            CommandFn::Add(_, key_to_create) => {
                self.writes = true;
                let key = request.arg(command.first_key());
                let is_task = TaskId::from_stream_key(&database.stored_name(key)).is_some();
                if is_task && !self.append_keys.iter().any(|known| **known == *key) {
                    let exists = || matches!(tasks.snapshot().metadata(key), Ok(Some(_)));
                    if key_to_create(request).is_some() || exists() {
                        self.append_keys.push(key.into());
                    }
                }
            }
            CommandFn::Write(_)
            | CommandFn::KeyWrite(_)
            | CommandFn::BlockingWrite(_)
            | CommandFn::SessionWrite(_)
            | CommandFn::Exec => self.writes = true,
            CommandFn::BlockingRead(_) => {
                self.writes |= option_index(request, b"BLOCK").is_some();
                self.heavy |= is_heavy(request);
            }
            _ => self.heavy |= command.is(HEAVY) && is_heavy(request),
        }
    }
}

/// Reports whether a potentially heavy command has no small bound.
fn is_heavy(request: &Request) -> bool {
    let count =
        option_index(request, b"COUNT").and_then(|at| std::str::from_utf8(request.arg(at + 1)).ok()?.parse().ok());
    count.is_none_or(|count: i64| !(0..=LIGHT_ENTRIES).contains(&count)) || request.arg(0).eq_ignore_ascii_case(b"SCAN")
}

/// Returns the index of an option among the arguments.
fn option_index(request: &Request, word: &[u8]) -> Option<usize> {
    let options = request.args().skip(1).take_while(|arg| !arg.eq_ignore_ascii_case(b"STREAMS"));
    options.into_iter().position(|arg| arg.eq_ignore_ascii_case(word)).map(|at| at + 1)
}
