//! Where commands run, and what of the keys there is whose to see.

use super::access::Seen;
use crate::auth::Caller;
use crate::tasks::Tasks;
use crate::tasks::keys::{KeyReader, Snapshot, Transaction};

/// Where commands run.
pub(in crate::server) enum Place<'p, 'k> {
    /// On what everyone can see.
    Published(&'p Tasks, Snapshot<'p>),
    /// Among the writes.
    Keys(&'p mut Transaction<'k>),
}

impl<'p> Place<'p, '_> {
    pub(in crate::server) fn published(tasks: &'p Tasks) -> Self {
        Self::Published(tasks, tasks.snapshot())
    }

    pub(in crate::server) fn look(&mut self) -> &mut dyn KeyReader {
        match self {
            Self::Published(_, look) => look,
            Self::Keys(keys) => *keys,
        }
    }

    pub(in crate::server) fn tick(&mut self) {
        match self {
            Self::Published(tasks, look) => *look = tasks.snapshot(),
            Self::Keys(keys) => keys.update_time(),
        }
    }

    pub(in crate::server) fn settle(&mut self) {
        if let Self::Keys(keys) = self {
            keys.serve_blocked();
        }
    }
}

/// Looks at what is the caller's to see.
pub(in crate::server) fn see<T>(
    look: &mut dyn KeyReader,
    caller: Option<&Caller>,
    with: impl FnOnce(&mut dyn KeyReader) -> T,
) -> T {
    match caller.filter(|caller| !caller.sees_all()) {
        Some(caller) => with(&mut Seen { look, caller }),
        None => with(look),
    }
}
