//! Transferring pending entries to another consumer (Redis: XCLAIM, XAUTOCLAIM).

use super::{GroupError, GroupResult, is_too_long};
use crate::journal::{JournalError, Transaction};
use crate::model::{Entry, EntryId, Timestamp};

/// Options of XCLAIM.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim {
    /// Least time since the delivery, in milliseconds.
    pub idle_ms_min: u64,
    /// Delivery time to record (Redis: IDLE, TIME); `None` for now.
    pub delivered: Option<Timestamp>,
    /// Delivery count to record (Redis: RETRYCOUNT).
    pub count: Option<u64>,
    /// Also claim entries that are not pending (Redis: FORCE).
    pub force: bool,
    /// Return only IDs, which does not count as a delivery (Redis: JUSTID).
    pub only_ids: bool,
    /// Least last-delivered ID of the group (Redis: LASTID).
    pub last_id: Option<EntryId>,
}

/// Options of XAUTOCLAIM.
#[derive(Clone, Copy, Debug, Default)]
pub struct AutoClaim {
    /// First ID to examine.
    pub start: EntryId,
    /// Maximum number of entries.
    pub count: usize,
    /// Least time since the delivery, in milliseconds.
    pub idle_ms_min: u64,
    /// Return only IDs, which does not count as a delivery (Redis: JUSTID).
    pub only_ids: bool,
}

/// The result of XAUTOCLAIM, apart from the claimed entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutoClaimed {
    /// Start of the next call; `0-0` if every entry was examined.
    pub next: EntryId,
    /// Deleted entries, which are no longer pending.
    pub deleted: Vec<EntryId>,
    /// Number of claimed entries.
    pub claimed: usize,
}

/// Number of entries that XAUTOCLAIM examines per requested entry.
const ATTEMPTS_PER_ENTRY: usize = 10;

impl Transaction<'_> {
    /// Assigns pending entries to a consumer (Redis: XCLAIM) and calls `each` with them. Returns their
    /// number.
    pub fn claim(
        &mut self,
        name: &[u8],
        group: &[u8],
        consumer: &[u8],
        ids: &[EntryId],
        claim: Claim,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> GroupResult<usize> {
        if is_too_long(consumer) {
            return Ok(Err(GroupError::NameTooLong));
        }
        let now = self.now.time;
        let prepared = self.with_group(name, group, |group| {
            group.touch_consumer(consumer, now);
            if let Some(last) = claim.last_id.filter(|last| *last > group.state.record.last_id) {
                group.state.record.last_id = last;
                group.write_group()?;
            }
            Ok(())
        })?;
        if let Err(error) = prepared {
            return Ok(Err(error));
        }
        let mut claimed = 0;
        for id in ids {
            let idle_ms = self.with_group(name, group, |group| {
                let pending = group.state.pending.get(id);
                Ok(pending.map(|pending| now.as_millis().saturating_sub(pending.delivered.as_millis())))
            })?;
            let Ok(idle_ms) = idle_ms else { continue };
            let wanted = idle_ms.map_or(claim.force, |idle_ms| idle_ms >= claim.idle_ms_min);
            if !wanted && idle_ms.is_none() {
                continue;
            }
            if !self.visit_if(name, *id, wanted, each)? {
                self.with_group(name, group, |group| Ok(group.remove_pending(*id)))?.ok();
            } else if wanted {
                self.claim_entry(name, group, consumer, *id, &claim)?.ok();
                claimed += 1;
            }
        }
        self.with_group(name, group, |group| {
            let consumer = group.touch_consumer(consumer, now);
            group.write_consumer(&consumer)?;
            Ok(claimed)
        })
    }

    /// Assigns entries that have been pending for a while to a consumer (Redis: XAUTOCLAIM), and calls
    /// `each` with them.
    pub fn auto_claim(
        &mut self,
        name: &[u8],
        group: &[u8],
        consumer: &[u8],
        options: AutoClaim,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> GroupResult<AutoClaimed> {
        if is_too_long(consumer) {
            return Ok(Err(GroupError::NameTooLong));
        }
        let now = self.now.time;
        let claim = Claim { only_ids: options.only_ids, ..Claim::default() };
        let attempts = options.count.saturating_mul(ATTEMPTS_PER_ENTRY);
        let candidates = self.with_group(name, group, |group| {
            group.touch_consumer(consumer, now);
            let from_start = group.state.pending.range(options.start..);
            let idle_ms = |at: Timestamp| now.as_millis().saturating_sub(at.as_millis());
            let candidates = from_start.map(|(id, pending)| (*id, idle_ms(pending.delivered)));
            Ok(candidates.take(attempts.saturating_add(1)).collect::<Vec<_>>())
        })?;
        let candidates = match candidates {
            Ok(candidates) => candidates,
            Err(error) => return Ok(Err(error)),
        };
        let mut result = AutoClaimed::default();
        for (at, (id, idle_ms)) in candidates.into_iter().enumerate() {
            if at >= attempts || result.claimed + result.deleted.len() >= options.count {
                result.next = id;
                break;
            }
            let wanted = idle_ms >= options.idle_ms_min;
            if !self.visit_if(name, id, wanted, each)? {
                self.with_group(name, group, |group| Ok(group.remove_pending(id)))?.ok();
                result.deleted.push(id);
            } else if wanted {
                self.claim_entry(name, group, consumer, id, &claim)?.ok();
                result.claimed += 1;
            }
        }
        self.with_group(name, group, |group| {
            let consumer = group.touch_consumer(consumer, now);
            group.write_consumer(&consumer)?;
            Ok(result)
        })
    }

    /// Reports whether an entry exists, and calls `each` with it if it is `wanted`.
    fn visit_if(
        &mut self,
        name: &[u8],
        id: EntryId,
        wanted: bool,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> Result<bool, JournalError> {
        self.visit_entry(name, id, &mut |entry| {
            if wanted {
                each(entry);
            }
        })
    }

    fn claim_entry(
        &mut self,
        name: &[u8],
        group: &[u8],
        consumer: &[u8],
        id: EntryId,
        claim: &Claim,
    ) -> GroupResult<()> {
        let now = self.now.time;
        self.with_group(name, group, |group| {
            let consumer = group.touch_consumer(consumer, now);
            let previous = group.state.pending.get(&id).map_or(1, |pending| pending.count);
            // An entry that was not pending counts as delivered once.
            let count = claim.count.unwrap_or(if claim.only_ids { previous } else { previous + 1 });
            group.assign(id, &consumer, claim.delivered.unwrap_or(now), count)?;
            group.set_active(&consumer, now);
            Ok(())
        })
    }
}
