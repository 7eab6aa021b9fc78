//! Where commands run, and what of the keys there is whose to see.

use super::access::Seen;
use crate::auth::Caller;
use crate::tasks::Tasks;
use crate::tasks::keys::{Keys, Look, Published};

/// Where commands run.
pub(in crate::server) enum Place<'p, 'k> {
    /// On what everyone can see.
    Published(&'p Tasks, Published<'p>),
    /// Among the writes.
    Keys(&'p mut Keys<'k>),
}

impl<'p> Place<'p, '_> {
    pub(in crate::server) fn published(tasks: &'p Tasks) -> Self {
        Self::Published(tasks, tasks.published())
    }

    pub(in crate::server) fn look(&mut self) -> &mut dyn Look {
        match self {
            Self::Published(_, look) => look,
            Self::Keys(keys) => *keys,
        }
    }

    pub(in crate::server) fn tick(&mut self) {
        match self {
            Self::Published(tasks, look) => *look = tasks.published(),
            Self::Keys(keys) => keys.tick(),
        }
    }

    pub(in crate::server) fn settle(&mut self) {
        if let Self::Keys(keys) = self {
            keys.settle();
        }
    }
}

/// Looks at what is the caller's to see.
pub(in crate::server) fn see<T>(
    look: &mut dyn Look,
    caller: Option<&Caller>,
    with: impl FnOnce(&mut dyn Look) -> T,
) -> T {
    match caller.filter(|caller| !caller.sees_all()) {
        Some(caller) => with(&mut Seen { look, caller }),
        None => with(look),
    }
}
