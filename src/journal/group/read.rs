//! Delivering entries to consumers (Redis: XREADGROUP), and the progress of a group.

use super::{GroupError, GroupResult, is_too_long};
use crate::journal::{IdRange, JournalError, Transaction};
use crate::model::{Entry, EntryId};
use crate::store::groups::GroupRecord;

impl Transaction<'_> {
    /// Creates a consumer if it does not exist. Returns an error if it cannot read from the group, which
    /// XREADGROUP checks first.
    pub fn join_group(&mut self, name: &[u8], group: &[u8], consumer: &[u8]) -> GroupResult<()> {
        if is_too_long(consumer) {
            return Ok(Err(GroupError::NameTooLong));
        }
        let now = self.now.time;
        self.with_group(name, group, |group| {
            let consumer = group.touch_consumer(consumer, now);
            group.write_consumer(&consumer)
        })
    }

    /// Reports whether the group has undelivered entries.
    pub fn has_new(&mut self, name: &[u8], group: &[u8]) -> GroupResult<bool> {
        let Some((state, _)) = self.state(name)? else { return Ok(Err(GroupError::NoKey)) };
        let (last, len) = (state.tip.last_id, state.tip.shown_len);
        let position = self.with_group(name, group, |group| Ok(group.state.record.last_id))?;
        Ok(position.map(|at| len > 0 && at < last))
    }

    /// Delivers undelivered entries to a consumer (Redis: `>`). Returns their number. Without `ack` they
    /// count as acknowledged.
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
        let at = match self.with_group(name, group, |group| Ok(group.state.record.last_id))? {
            Ok(at) => at,
            Err(error) => return Ok(Err(error)),
        };
        let Some((state, cx)) = self.state(name)? else { return Ok(Err(GroupError::NoKey)) };
        let mut ids = Vec::new();
        if let Some(start) = at.next() {
            state.range(&cx, IdRange { start, end: EntryId::MAX, count, reverse: false }, &mut |entry| {
                ids.push(entry.id);
                each(entry);
            })?;
        }
        let counts = state.entry_counts(&cx)?;
        self.with_group(name, group, |group| {
            let consumer = group.touch_consumer(consumer, now);
            for id in &ids {
                let GroupRecord { last_id: at, entries_read } = group.state.record;
                let counted = entries_read.filter(|_| at >= counts.first_id && !counts.has_tombstone_after(at));
                group.state.record.entries_read = match counted {
                    Some(read) => Some(read + 1),
                    None => counts.entries_up_to(*id),
                };
                group.state.record.last_id = *id;
                if ack {
                    group.assign(*id, &consumer, now, 1)?;
                }
            }
            if !ids.is_empty() {
                group.write_group()?;
                // As in Valkey, NOACK does not count as a delivery.
                if ack {
                    group.set_active(&consumer, now);
                }
            }
            group.write_consumer(&consumer)?;
            Ok(ids.len())
        })
    }

    /// Delivers the pending entries of a consumer after `after` again (Redis: XREADGROUP with an ID), and
    /// calls `each` with `None` for a deleted entry. Returns their number.
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
        let pending = self.with_group(name, group, |group| {
            let pending = group.state.consumers.get(consumer).map(|consumer| &consumer.pending);
            let following = pending.into_iter().flat_map(|ids| ids.iter().filter(|id| **id > after));
            Ok(following.take(count).copied().collect::<Vec<_>>())
        })?;
        let ids = match pending {
            Ok(ids) => ids,
            Err(error) => return Ok(Err(error)),
        };
        let mut existing = Vec::new();
        for id in &ids {
            if self.visit_entry(name, *id, &mut |entry| each(*id, Some(entry)))? {
                existing.push(*id);
            } else {
                each(*id, None);
            }
        }
        self.with_group(name, group, |group| {
            let consumer = group.touch_consumer(consumer, now);
            for id in existing {
                let count = group.state.pending.get(&id).map_or(0, |pending| pending.count);
                group.assign(id, &consumer, now, count + 1)?;
            }
            group.write_consumer(&consumer)?;
            Ok(ids.len())
        })
    }

    /// Calls `each` with an entry and reports whether it exists.
    pub(super) fn visit_entry(
        &mut self,
        name: &[u8],
        id: EntryId,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> Result<bool, JournalError> {
        let Some((state, cx)) = self.state(name)? else { return Ok(false) };
        Ok(state.range(&cx, IdRange { start: id, end: id, count: 1, reverse: false }, each)? > 0)
    }
}
