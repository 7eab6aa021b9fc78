//! The context that commands run in, and the keys that a caller can see there.

use std::sync::Arc;

use super::access::VisibleKeys;
use crate::auth::Caller;
use crate::tasks::Tasks;
use crate::tasks::keys::{Database, ForeignKeys, KeyReader, Snapshot, Transaction};

/// The context that a command runs in.
pub(in crate::server) enum ExecContext<'p, 'k> {
    /// A snapshot of the published state.
    Read(&'p Tasks, Snapshot<'p>),
    /// The current write transaction.
    Write(&'p mut Transaction<'k>),
}

impl<'p> ExecContext<'p, '_> {
    pub(in crate::server) fn read(tasks: &'p Tasks) -> Self {
        Self::Read(tasks, tasks.snapshot())
    }

    pub(in crate::server) fn reader(&mut self) -> &mut dyn KeyReader {
        match self {
            Self::Read(_, reader) => reader,
            Self::Write(keys) => *keys,
        }
    }

    /// Selects the database of the next command, and sets the keys of other types than streams.
    pub(in crate::server) fn select(&mut self, database: Database, foreign: Option<Arc<dyn ForeignKeys>>) {
        self.reader().select(database);
        match self {
            Self::Read(_, reader) => reader.set_foreign(foreign),
            Self::Write(keys) => keys.set_foreign(foreign),
        }
    }

    pub(in crate::server) fn refresh(&mut self) {
        match self {
            Self::Read(tasks, reader) => *reader = tasks.snapshot(),
            Self::Write(keys) => keys.update_time(),
        }
    }

    pub(in crate::server) fn serve_blocked(&mut self) {
        if let Self::Write(keys) = self {
            keys.serve_blocked();
        }
    }
}

/// Calls `read` with a view of the keys that the caller may see.
pub(in crate::server) fn with_visible_keys<T>(
    reader: &mut dyn KeyReader,
    caller: Option<&Caller>,
    read: impl FnOnce(&mut dyn KeyReader) -> T,
) -> T {
    match caller.filter(|caller| !caller.sees_all()) {
        Some(caller) => read(&mut VisibleKeys { reader, caller }),
        None => read(reader),
    }
}
