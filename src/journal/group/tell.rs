//! What there is to say of groups (Redis: XINFO GROUPS, XINFO CONSUMERS, XINFO STREAM FULL).

use super::{GroupError, GroupResult, PendingEntry, Transaction};
use crate::journal::JournalError;
use crate::model::EntryId;

/// A group's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// Its consumers.
    pub consumers: u64,
    /// Entries that wait for an ack.
    pub pending: u64,
    /// The last entry that was given to one of them.
    pub last_id: EntryId,
    /// Entries given so far, where that is known.
    pub entries_read: Option<u64>,
    /// Entries that are still to be given, where that is known.
    pub lag: Option<u64>,
}

/// A consumer's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Its name.
    pub name: Vec<u8>,
    /// Entries that wait for its ack.
    pub pending: u64,
    /// When it last asked for something, in milliseconds since 1970.
    pub seen_ms: u64,
    /// When it last got something.
    pub active_ms: Option<u64>,
}

impl Transaction<'_> {
    /// The groups of a key, in the order of their names; `None` where there is no key.
    pub fn groups(&mut self, name: &[u8]) -> Result<Option<Vec<GroupInfo>>, JournalError> {
        let Some((head, cx)) = self.head(name)? else { return Ok(None) };
        let meter = head.meter(&cx)?;
        let groups = head.groups(&cx)?.all.iter().map(|(name, group)| GroupInfo {
            name: name.to_vec(),
            consumers: group.consumers.len() as u64,
            pending: group.pending.len() as u64,
            last_id: group.record.last_id,
            entries_read: group.record.entries_read,
            lag: meter.lag(group.record.last_id, group.record.entries_read),
        });
        Ok(Some(groups.collect()))
    }

    /// The consumers of a group, in the order of their names.
    pub fn consumers(&mut self, name: &[u8], group: &[u8]) -> GroupResult<Vec<ConsumerInfo>> {
        self.with_group(name, group, |group| {
            let consumers = group.group.consumers.iter().map(|(name, consumer)| ConsumerInfo {
                name: name.to_vec(),
                pending: consumer.pending.len() as u64,
                seen_ms: consumer.record.seen_ms,
                active_ms: consumer.record.active_ms,
            });
            Ok(consumers.collect())
        })
    }

    /// The first so many entries that wait for a consumer's ack.
    pub fn consumer_pending(
        &mut self,
        name: &[u8],
        group: &[u8],
        consumer: &[u8],
        count: usize,
    ) -> GroupResult<Vec<PendingEntry>> {
        let now = self.now.time.as_millis();
        self.with_group(name, group, |group| {
            let ids = group.group.consumers.get(consumer).into_iter().flat_map(|consumer| &consumer.pending);
            let entries = ids.take(count).filter_map(|id| {
                let pending = group.group.pending.get(id)?;
                let delivered_ms = pending.delivered.as_millis();
                let idle_ms = now.saturating_sub(delivered_ms);
                Some(PendingEntry { id: *id, consumer: consumer.to_vec(), delivered_ms, idle_ms, count: pending.count })
            });
            Ok(entries.collect())
        })
    }

    /// Whether there is a key, and this group of it.
    pub fn has_group(&mut self, name: &[u8], group: &[u8]) -> Result<Result<(), GroupError>, JournalError> {
        self.with_group(name, group, |_| Ok(()))
    }
}
