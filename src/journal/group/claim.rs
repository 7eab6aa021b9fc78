//! Entries from one consumer to another (Redis: XCLAIM, XAUTOCLAIM).

use super::{GroupError, GroupResult, Transaction, is_too_long};
use crate::model::{Entry, EntryId, Timestamp};

/// How entries are claimed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim {
    /// Only what waits for so long, in milliseconds.
    pub idle_ms_min: u64,
    /// When they count as given; now, if not said (Redis: IDLE, TIME).
    pub delivered: Option<Timestamp>,
    /// How often they count as given, if said (Redis: RETRYCOUNT).
    pub count: Option<u64>,
    /// Also entries that nobody was given (Redis: FORCE).
    pub force: bool,
    /// Only their ids are wanted: that is no delivery (Redis: JUSTID).
    pub only_ids: bool,
    /// The group is at least here (Redis: LASTID).
    pub last_id: Option<EntryId>,
}

/// How entries are looked for to be claimed.
#[derive(Clone, Copy, Debug, Default)]
pub struct AutoClaim {
    /// The first id looked at.
    pub start: EntryId,
    /// Entries at most.
    pub count: usize,
    /// Only what waits for so long, in milliseconds.
    pub idle_ms_min: u64,
    /// Only their ids are wanted: that is no delivery (Redis: JUSTID).
    pub only_ids: bool,
}

/// What XAUTOCLAIM found besides what it claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutoClaimed {
    /// Where the next call goes on; `0-0` if everything was looked at.
    pub next: EntryId,
    /// Entries that are deleted, and wait no more.
    pub deleted: Vec<EntryId>,
    /// How many were claimed.
    pub claimed: usize,
}

/// XAUTOCLAIM looks at so many entries for each that is wanted.
const ATTEMPTS_PER_ENTRY: usize = 10;

impl Transaction<'_> {
    /// Gives a consumer what others were given (Redis: XCLAIM); calls `each` with what it got, and
    /// answers how many.
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
        let begun = self.with_group(name, group, |group| {
            group.see(consumer, now);
            if let Some(last) = claim.last_id.filter(|last| *last > group.group.record.last_id) {
                group.group.record.last_id = last;
                group.write_group()?;
            }
            Ok(())
        })?;
        if let Err(error) = begun {
            return Ok(Err(error));
        }
        let mut claimed = 0;
        for id in ids {
            let waits = self.with_group(name, group, |group| {
                let pending = group.group.pending.get(id);
                Ok(pending.map(|it| now.as_millis().saturating_sub(it.delivered.as_millis())))
            })?;
            let Ok(waits) = waits else { continue };
            let wanted = waits.map_or(claim.force, |idle| idle >= claim.idle_ms_min);
            if !wanted && waits.is_none() {
                continue;
            }
            if !self.entry(name, *id, &mut |entry| {
                if wanted {
                    each(entry)
                }
            })? {
                self.with_group(name, group, |group| Ok(group.forget(*id)))?.ok();
            } else if wanted {
                self.take(name, group, consumer, *id, &claim)?.ok();
                claimed += 1;
            }
        }
        self.with_group(name, group, |group| {
            let consumer = group.see(consumer, now);
            group.write_consumer(&consumer)?;
            Ok(claimed)
        })
    }

    /// Gives a consumer what others have been holding for long (Redis: XAUTOCLAIM).
    pub fn auto_claim(
        &mut self,
        name: &[u8],
        group: &[u8],
        consumer: &[u8],
        wanted: AutoClaim,
        each: &mut dyn FnMut(&Entry<'_>),
    ) -> GroupResult<AutoClaimed> {
        if is_too_long(consumer) {
            return Ok(Err(GroupError::NameTooLong));
        }
        let now = self.now.time;
        let claim = Claim { only_ids: wanted.only_ids, ..Claim::default() };
        let attempts = wanted.count.saturating_mul(ATTEMPTS_PER_ENTRY);
        let looked = self.with_group(name, group, |group| {
            group.see(consumer, now);
            let behind = group.group.pending.range(wanted.start..);
            let idle = |at: Timestamp| now.as_millis().saturating_sub(at.as_millis());
            Ok(behind.take(attempts.saturating_add(1)).map(|(id, it)| (*id, idle(it.delivered))).collect::<Vec<_>>())
        })?;
        let looked = match looked {
            Ok(looked) => looked,
            Err(error) => return Ok(Err(error)),
        };
        let mut found = AutoClaimed::default();
        for (at, (id, idle_ms)) in looked.into_iter().enumerate() {
            if at >= attempts || found.claimed + found.deleted.len() >= wanted.count {
                found.next = id;
                break;
            }
            let is_due = idle_ms >= wanted.idle_ms_min;
            if !self.entry(name, id, &mut |entry| {
                if is_due {
                    each(entry)
                }
            })? {
                self.with_group(name, group, |group| Ok(group.forget(id)))?.ok();
                found.deleted.push(id);
            } else if is_due {
                self.take(name, group, consumer, id, &claim)?.ok();
                found.claimed += 1;
            }
        }
        self.with_group(name, group, |group| {
            let consumer = group.see(consumer, now);
            group.write_consumer(&consumer)?;
            Ok(found)
        })
    }

    fn take(&mut self, name: &[u8], group: &[u8], consumer: &[u8], id: EntryId, claim: &Claim) -> GroupResult<()> {
        let now = self.now.time;
        self.with_group(name, group, |group| {
            let consumer = group.see(consumer, now);
            let before = group.group.pending.get(&id).map_or(1, |pending| pending.count);
            // An entry that nobody had counts as given once.
            let count = claim.count.unwrap_or(if claim.only_ids { before } else { before + 1 });
            group.give(id, &consumer, claim.delivered.unwrap_or(now), count)?;
            group.activate(&consumer, now);
            Ok(())
        })
    }
}
