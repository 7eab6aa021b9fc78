//! Positions of IDs in a key, from its totals (Redis: `entries-read` and `lag`).

use super::stream_state::{StreamState, WriteContext};
use super::{IdRange, JournalError};
use crate::model::EntryId;

/// Totals of a key, from which the position of an ID is estimated the way Redis does, without counting
/// entries.
pub(super) struct EntryCounts {
    entries_added: u64,
    len: u64,
    last_id: EntryId,
    pub(super) first_id: EntryId,
    max_deleted_id: EntryId,
}

impl StreamState {
    /// Returns the totals of the key.
    pub(super) fn entry_counts(&self, cx: &WriteContext<'_>) -> Result<EntryCounts, JournalError> {
        let mut first_id = EntryId::MIN;
        let first = IdRange { start: EntryId::MIN, end: EntryId::MAX, count: 1, reverse: false };
        self.range(cx, first, &mut |entry| first_id = entry.id)?;
        Ok(EntryCounts {
            entries_added: self.entries_added,
            len: self.tip.shown_len,
            last_id: self.tip.last_id,
            first_id,
            max_deleted_id: self.max_deleted_id,
        })
    }
}

impl EntryCounts {
    /// Reports whether an entry at or after this ID may have been deleted.
    pub(super) fn has_tombstone_after(&self, id: EntryId) -> bool {
        self.len > 0 && self.max_deleted_id > EntryId::MIN && self.max_deleted_id >= id
    }

    /// Returns the number of entries ever added up to this ID, if known.
    pub(super) fn entries_up_to(&self, id: EntryId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= self.last_id {
            return Some(self.entries_added);
        }
        if id > EntryId::MIN && id < self.max_deleted_id {
            return None;
        }
        if id == self.last_id {
            return Some(self.entries_added);
        }
        if id > self.last_id {
            return None;
        }
        let whole = self.max_deleted_id == EntryId::MIN || self.max_deleted_id < self.first_id;
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if whole => Some(self.entries_added - self.len),
            std::cmp::Ordering::Equal if whole => Some(self.entries_added - self.len + 1),
            _ => None,
        }
    }

    /// Returns the number of undelivered entries of a group at this ID (Redis: `lag`), if known. It is
    /// negative, in two's complement, if ENTRIESREAD was too large.
    pub(super) fn lag(&self, at: EntryId, entries_read: Option<u64>) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let counted = entries_read.filter(|_| !self.has_tombstone_after(at));
        counted.or_else(|| self.entries_up_to(at)).map(|read| self.entries_added.wrapping_sub(read))
    }
}
