//! Setting the last ID of a key (Redis: XSETID).

use super::stream_state::{StreamState, WriteContext};
use super::{IdRange, JournalError};
use crate::model::EntryId;

/// Arguments of XSETID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetIdArgs {
    /// New last ID.
    pub last_id: EntryId,
    /// New number of entries ever added, if given.
    pub entries_added: Option<u64>,
    /// New greatest deleted ID, if given.
    pub max_deleted_id: Option<EntryId>,
}

/// An error of XSETID, with the text that Redis uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetIdError {
    /// An entry has a greater ID.
    #[error("The ID specified in XSETID is smaller than the target stream top item")]
    BelowTop,
    /// A deleted entry had a greater ID.
    #[error("The ID specified in XSETID is smaller than current max_deleted_entry_id")]
    BelowDeleted,
    /// The key has more entries.
    #[error("The entries_added specified in XSETID is smaller than the target stream length")]
    BelowLength,
    /// The stream is archived: the IDs in the archive must not be assigned again.
    #[error("XSETID cannot decrease the last ID of a task's log")]
    Archived,
}

impl StreamState {
    /// Sets the last ID, unless an entry contradicts it.
    pub(super) fn set_id(
        &mut self,
        cx: &WriteContext<'_>,
        args: SetIdArgs,
    ) -> Result<Result<(), SetIdError>, JournalError> {
        if args.last_id < self.max_deleted_id {
            return Ok(Err(SetIdError::BelowDeleted));
        }
        let mut top = None;
        let last = IdRange { start: EntryId::MIN, end: EntryId::MAX, count: 1, reverse: true };
        self.range(cx, last, &mut |entry| top = Some(entry.id))?;
        if top.is_some_and(|top| args.last_id < top) {
            return Ok(Err(SetIdError::BelowTop));
        }
        if args.entries_added.is_some_and(|added| added < self.tip.shown_len) {
            return Ok(Err(SetIdError::BelowLength));
        }
        if args.last_id < self.tip.last_id {
            if self.stream.archived {
                return Ok(Err(SetIdError::Archived));
            }
            self.truncate_after(cx, args.last_id)?;
        }
        self.tip.last_id = args.last_id;
        self.entries_added = args.entries_added.unwrap_or(self.entries_added);
        self.max_deleted_id = args.max_deleted_id.unwrap_or(self.max_deleted_id);
        self.record_dirty = true;
        Ok(Ok(()))
    }
}
