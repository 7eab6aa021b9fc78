//! Details of groups and consumers (Redis: XINFO GROUPS, XINFO CONSUMERS, XINFO STREAM FULL).

use super::{GroupError, GroupResult, PendingEntry};
use crate::journal::{JournalError, Transaction};
use crate::model::EntryId;

/// Details of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Name of the group.
    pub name: Vec<u8>,
    /// Number of consumers.
    pub consumers: u64,
    /// Number of pending entries.
    pub pending: u64,
    /// ID of the last entry delivered to one of its consumers.
    pub last_id: EntryId,
    /// Number of entries delivered so far, if known.
    pub entries_read: Option<u64>,
    /// Number of entries still to be delivered, if known.
    pub lag: Option<u64>,
}

/// Details of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Name of the consumer.
    pub name: Vec<u8>,
    /// Number of its pending entries.
    pub pending: u64,
    /// Time of its last request, in milliseconds since 1970.
    pub seen_ms: u64,
    /// Time when it last received an entry.
    pub active_ms: Option<u64>,
}

impl Transaction<'_> {
    /// Returns the groups of a key, sorted by name, or `None` if the key does not exist.
    pub fn groups(&mut self, name: &[u8]) -> Result<Option<Vec<GroupInfo>>, JournalError> {
        let Some((state, cx)) = self.state(name)? else { return Ok(None) };
        let counts = state.entry_counts(&cx)?;
        let groups = state.groups(&cx)?.all.iter().map(|(name, group)| GroupInfo {
            name: name.to_vec(),
            consumers: group.consumers.len() as u64,
            pending: group.pending.len() as u64,
            last_id: group.record.last_id,
            entries_read: group.record.entries_read,
            lag: counts.lag(group.record.last_id, group.record.entries_read),
        });
        Ok(Some(groups.collect()))
    }

    /// Returns the consumers of a group, sorted by name.
    pub fn consumers(&mut self, name: &[u8], group: &[u8]) -> GroupResult<Vec<ConsumerInfo>> {
        self.with_group(name, group, |group| {
            let consumers = group.state.consumers.iter().map(|(name, consumer)| ConsumerInfo {
                name: name.to_vec(),
                pending: consumer.pending.len() as u64,
                seen_ms: consumer.record.seen_ms,
                active_ms: consumer.record.active_ms,
            });
            Ok(consumers.collect())
        })
    }

    /// Returns the first `count` pending entries of a consumer.
    pub fn consumer_pending(
        &mut self,
        name: &[u8],
        group: &[u8],
        consumer: &[u8],
        count: usize,
    ) -> GroupResult<Vec<PendingEntry>> {
        let now = self.now.time.as_millis();
        self.with_group(name, group, |group| {
            let ids = group.state.consumers.get(consumer).into_iter().flat_map(|consumer| &consumer.pending);
            let entries = ids.take(count).filter_map(|id| {
                let pending = group.state.pending.get(id)?;
                let delivered_ms = pending.delivered.as_millis();
                let idle_ms = now.saturating_sub(delivered_ms);
                Some(PendingEntry { id: *id, consumer: consumer.to_vec(), delivered_ms, idle_ms, count: pending.count })
            });
            Ok(entries.collect())
        })
    }

    /// Returns an error if the key or this group of it does not exist.
    pub fn check_group(&mut self, name: &[u8], group: &[u8]) -> Result<Result<(), GroupError>, JournalError> {
        self.with_group(name, group, |_| Ok(()))
    }
}
