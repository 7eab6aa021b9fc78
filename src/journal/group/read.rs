//! Entries to consumers (Redis: XREADGROUP), and how far a group is.

use super::{GroupError, GroupRecord, GroupResult, Transaction, is_too_long};
use crate::journal::head::{Cx, Head};
use crate::journal::{IdRange, JournalError};
use crate::model::{Entry, EntryId};

impl Transaction<'_> {
    /// Whether a consumer may read (Redis: XREADGROUP looks before anything else); makes it if it is
    /// not there.
    pub fn join_group(&mut self, name: &[u8], group: &[u8], consumer: &[u8]) -> GroupResult<()> {
        if is_too_long(consumer) {
            return Ok(Err(GroupError::NameTooLong));
        }
        let now = self.now.time;
        self.with_group(name, group, |group| {
            let consumer = group.see(consumer, now);
            group.write_consumer(&consumer)
        })
    }

    /// Whether there is an entry that the group was not given.
    pub fn has_new(&mut self, name: &[u8], group: &[u8]) -> GroupResult<bool> {
        let Some((head, _)) = self.head(name)? else { return Ok(Err(GroupError::NoKey)) };
        let (last, len) = (head.tip.last_id, head.tip.shown_len);
        let found = self.with_group(name, group, |group| Ok(group.group.record.last_id))?;
        Ok(found.map(|at| len > 0 && at < last))
    }

    /// Gives a consumer entries that the group was not given before (Redis: `>`); answers how many.
    /// Without `ack` they are taken as acknowledged.
    pub fn read_new(
        &mut self,
        name: &[u8],
        group: &[u8],
        consumer: &[u8],
        count: usize,
        ack: bool,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> GroupResult<usize> {
        let now = self.now.time;
        let at = match self.with_group(name, group, |group| Ok(group.group.record.last_id))? {
            Ok(at) => at,
            Err(error) => return Ok(Err(error)),
        };
        let Some((head, cx)) = self.head(name)? else { return Ok(Err(GroupError::NoKey)) };
        let mut ids = Vec::new();
        if let Some(start) = at.next() {
            head.range(&cx, IdRange { start, end: EntryId::MAX, count, reverse: false }, &mut |entry| {
                ids.push(entry.id);
                each(entry);
            })?;
        }
        let meter = head.meter(&cx)?;
        self.with_group(name, group, |group| {
            let consumer = group.see(consumer, now);
            for id in &ids {
                let GroupRecord { last_id: at, entries_read } = group.group.record;
                let counted = entries_read.filter(|_| at >= meter.first_id && !meter.has_tombstones_behind(at));
                group.group.record.entries_read = match counted {
                    Some(read) => Some(read + 1),
                    None => meter.entries_to(*id),
                };
                group.group.record.last_id = *id;
                if ack {
                    group.give(*id, &consumer, now, 1)?;
                }
            }
            if !ids.is_empty() {
                group.write_group()?;
                // As in Valkey, for which NOACK is no delivery.
                if ack {
                    group.activate(&consumer, now);
                }
            }
            group.write_consumer(&consumer)?;
            Ok(ids.len())
        })
    }

    /// Gives a consumer again what waits for its ack, behind `after` (Redis: XREADGROUP with an id);
    /// `None` stands for an entry that is deleted. Answers how many.
    pub fn read_pending(
        &mut self,
        name: &[u8],
        group: &[u8],
        consumer: &[u8],
        after: EntryId,
        count: usize,
        each: &mut dyn FnMut(EntryId, Option<&Entry<'_>>),
    ) -> GroupResult<usize> {
        let now = self.now.time;
        let found = self.with_group(name, group, |group| {
            let pending = group.group.consumers.get(consumer).map(|consumer| &consumer.pending);
            let behind = pending.into_iter().flat_map(|ids| ids.iter().filter(|id| **id > after));
            Ok(behind.take(count).copied().collect::<Vec<_>>())
        })?;
        let ids = match found {
            Ok(ids) => ids,
            Err(error) => return Ok(Err(error)),
        };
        let mut there = Vec::new();
        for id in &ids {
            if self.entry(name, *id, &mut |entry| each(*id, Some(entry)))? {
                there.push(*id);
            } else {
                each(*id, None);
            }
        }
        self.with_group(name, group, |group| {
            let consumer = group.see(consumer, now);
            for id in there {
                let count = group.group.pending.get(&id).map_or(0, |pending| pending.count);
                group.give(id, &consumer, now, count + 1)?;
            }
            group.write_consumer(&consumer)?;
            Ok(ids.len())
        })
    }

    /// Calls `each` with an entry; answers whether it is there.
    pub(super) fn entry(
        &mut self,
        name: &[u8],
        id: EntryId,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> Result<bool, JournalError> {
        let Some((head, cx)) = self.head(name)? else { return Ok(false) };
        Ok(head.range(&cx, IdRange { start: id, end: id, count: 1, reverse: false }, each)? > 0)
    }
}

/// How many entries lie before an id, as far as Redis can tell without counting.
pub(super) struct Meter {
    entries_added: u64,
    len: u64,
    last_id: EntryId,
    first_id: EntryId,
    max_deleted_id: EntryId,
}

impl Head {
    pub(super) fn meter(&self, cx: &Cx<'_>) -> Result<Meter, JournalError> {
        let mut first_id = EntryId::MIN;
        let first = IdRange { start: EntryId::MIN, end: EntryId::MAX, count: 1, reverse: false };
        self.range(cx, first, &mut |entry| first_id = entry.id)?;
        Ok(Meter {
            entries_added: self.entries_added,
            len: self.tip.shown_len,
            last_id: self.tip.last_id,
            first_id,
            max_deleted_id: self.max_deleted_id,
        })
    }
}

impl Meter {
    /// Whether an entry at or behind this id may have been deleted.
    pub(super) fn has_tombstones_behind(&self, id: EntryId) -> bool {
        self.len > 0 && self.max_deleted_id > EntryId::MIN && self.max_deleted_id >= id
    }

    /// Entries ever added up to this id, where that is known.
    pub(super) fn entries_to(&self, id: EntryId) -> Option<u64> {
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

    /// Entries that a group at this id was not given (Redis: `lag`), where that is known. Below zero, in
    /// two's complement, where ENTRIESREAD said too much.
    pub(super) fn lag(&self, at: EntryId, entries_read: Option<u64>) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let counted = entries_read.filter(|_| !self.has_tombstones_behind(at));
        counted.or_else(|| self.entries_to(at)).map(|read| self.entries_added.wrapping_sub(read))
    }
}
