//! Where a key goes on (Redis: XSETID).

use super::IdRange;
use super::JournalError;
use super::head::{Cx, Head};
use crate::model::EntryId;

/// What XSETID sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetIdArgs {
    /// The last id.
    pub last_id: EntryId,
    /// Entries ever added, if said.
    pub entries_added: Option<u64>,
    /// The greatest deleted id, if said.
    pub max_deleted_id: Option<EntryId>,
}

/// Why it was not set: Redis' own reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetIdError {
    /// An entry is above it.
    #[error("The ID specified in XSETID is smaller than the target stream top item")]
    BelowTop,
    /// A deleted entry was above it.
    #[error("The ID specified in XSETID is smaller than current max_deleted_entry_id")]
    BelowDeleted,
    /// More entries are there.
    #[error("The entries_added specified in XSETID is smaller than the target stream length")]
    BelowLength,
    /// The ids of a task's log do not go back: its archive has them.
    #[error("the ids of a task's log do not go back, not even where XSETID says so")]
    Kept,
}

impl Head {
    pub(super) fn set_id(&mut self, cx: &Cx<'_>, tip: SetIdArgs) -> Result<Result<(), SetIdError>, JournalError> {
        if tip.last_id < self.max_deleted_id {
            return Ok(Err(SetIdError::BelowDeleted));
        }
        let mut top = None;
        let last = IdRange { start: EntryId::MIN, end: EntryId::MAX, count: 1, reverse: true };
        self.range(cx, last, &mut |entry| top = Some(entry.id))?;
        if top.is_some_and(|top| tip.last_id < top) {
            return Ok(Err(SetIdError::BelowTop));
        }
        if tip.entries_added.is_some_and(|added| added < self.tip.shown_len) {
            return Ok(Err(SetIdError::BelowLength));
        }
        if tip.last_id < self.tip.last_id {
            if self.stream.kept {
                return Ok(Err(SetIdError::Kept));
            }
            self.cut_behind(cx, tip.last_id)?;
        }
        self.tip.last_id = tip.last_id;
        self.entries_added = tip.entries_added.unwrap_or(self.entries_added);
        self.max_deleted_id = tip.max_deleted_id.unwrap_or(self.max_deleted_id);
        self.record_due = true;
        Ok(Ok(()))
    }
}
