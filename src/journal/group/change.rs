//! Groups and consumers come and go (Redis: XGROUP), and acks (XACK).

use super::{Group, GroupError, GroupRecord, GroupResult, GroupRow, Transaction, consumer_key, group_key, is_too_long};
use crate::model::EntryId;

/// Where a group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupStart {
    /// Behind this id.
    After(EntryId),
    /// Behind the last entry (Redis: `$`).
    Last,
}

impl Transaction<'_> {
    /// Makes a group (Redis: XGROUP CREATE). With `make_key` the key is made too.
    pub fn create_group(
        &mut self,
        name: &[u8],
        group: &[u8],
        start: GroupStart,
        entries_read: Option<u64>,
        make_key: bool,
    ) -> GroupResult<()> {
        if is_too_long(group) {
            return Ok(Err(GroupError::NameTooLong));
        }
        if make_key {
            self.create(name)?;
        }
        let Some((head, cx)) = self.head(name)? else { return Ok(Err(GroupError::NoKey)) };
        let (number, last) = (head.stream.number, head.tip.last_id);
        let groups = head.groups(&cx)?;
        if groups.all.contains_key(group) {
            return Ok(Err(GroupError::Exists));
        }
        let record = GroupRecord { last_id: start.resolve(last), entries_read };
        groups.writes.push(GroupRow::Group(record).write(number, group)?);
        groups.all.insert(group.into(), Group { record, ..Group::default() });
        self.include(name);
        Ok(Ok(()))
    }

    /// Moves a group (Redis: XGROUP SETID).
    pub fn set_group(
        &mut self,
        name: &[u8],
        group: &[u8],
        start: GroupStart,
        entries_read: Option<u64>,
    ) -> GroupResult<()> {
        let Some((head, _)) = self.head(name)? else { return Ok(Err(GroupError::NoKey)) };
        let last = head.tip.last_id;
        self.with_group(name, group, |group| {
            group.group.record = GroupRecord { last_id: start.resolve(last), entries_read };
            group.write_group()
        })
    }

    /// Removes a group; answers whether it was there (Redis: XGROUP DESTROY). Those who wait for it are
    /// looked at.
    pub fn destroy_group(&mut self, name: &[u8], group: &[u8]) -> GroupResult<bool> {
        let Some((head, cx)) = self.head(name)? else { return Ok(Err(GroupError::NoKey)) };
        let number = head.stream.number;
        let groups = head.groups(&cx)?;
        let Some(found) = groups.all.remove(group) else { return Ok(Ok(false)) };
        groups.writes.push((group_key(number, group), None));
        groups.writes.extend(found.consumers.keys().map(|consumer| (consumer_key(number, group, consumer), None)));
        groups.writes.extend(found.pending.keys().map(|id| (super::pending_key(number, group, *id), None)));
        self.include(name);
        self.writer.waiting.changed(name);
        Ok(Ok(true))
    }

    /// Makes a consumer; answers whether it is new (Redis: XGROUP CREATECONSUMER).
    pub fn create_consumer(&mut self, name: &[u8], group: &[u8], consumer: &[u8]) -> GroupResult<bool> {
        if is_too_long(consumer) {
            return Ok(Err(GroupError::NameTooLong));
        }
        let now = self.now.time;
        self.with_group(name, group, |group| {
            if group.group.consumers.contains_key(consumer) {
                return Ok(false);
            }
            let consumer = group.see(consumer, now);
            group.write_consumer(&consumer)?;
            Ok(true)
        })
    }

    /// Removes a consumer; answers how many entries waited for its ack (Redis: XGROUP DELCONSUMER).
    pub fn delete_consumer(&mut self, name: &[u8], group: &[u8], consumer: &[u8]) -> GroupResult<u64> {
        self.with_group(name, group, |group| {
            let Some(gone) = group.group.consumers.remove(consumer) else { return Ok(0) };
            group.writes.push((consumer_key(group.number, group.name, consumer), None));
            for id in &gone.pending {
                group.forget(*id);
            }
            Ok(gone.pending.len() as u64)
        })
    }

    /// Acknowledges entries; answers how many waited for it (Redis: XACK).
    pub fn ack(&mut self, name: &[u8], group: &[u8], ids: &[EntryId]) -> GroupResult<u64> {
        self.with_group(name, group, |group| Ok(ids.iter().filter(|id| group.forget(**id)).count() as u64))
    }
}

impl GroupStart {
    fn resolve(self, last: EntryId) -> EntryId {
        match self {
            GroupStart::After(id) => id,
            GroupStart::Last => last,
        }
    }
}
