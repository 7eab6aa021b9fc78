//! Entries in replies.

use super::Refusal;
use crate::model::{Entry, EntryBody, EntryId};
use crate::tasks::keys::{IdRange, KeyReader};
use crate::wire::resp::Reply;

/// All ids.
pub(super) const ALL: IdRange = IdRange { start: EntryId::MIN, end: EntryId::MAX, count: usize::MAX, reverse: false };

/// An array of the entries in a range; answers how many. What would be too much to hold is refused.
pub(super) fn entries<L: KeyReader + ?Sized>(
    look: &mut L,
    key: &[u8],
    range: IdRange,
    reply: &mut Reply,
) -> Result<usize, Refusal> {
    let at = reply.len();
    let found = look.range(key, range, &mut |found| {
        if reply.is_full().is_none() {
            entry(found, reply);
        }
    })?;
    if let Some(max) = reply.is_full() {
        return Err(Refusal::TooLarge(max));
    }
    reply.array_at(at, found);
    Ok(found)
}

/// One entry: its id, and an array of its fields' names and values.
pub(super) fn entry(entry: &Entry<'_>, reply: &mut Reply) {
    reply.array(2);
    reply.id(entry.id);
    match &entry.body {
        EntryBody::Fields(fields) => {
            reply.array(fields.len() * 2);
            for (name, value) in fields {
                reply.bulk(name);
                reply.bulk(value);
            }
        }
        EntryBody::Line(line) => {
            reply.array(6);
            reply.bulk(b"line");
            reply.bulk(line.text.as_bytes());
            reply.bulk(b"timestamp");
            reply.bulk_display(line.timestamp);
            reply.bulk(b"stream");
            reply.bulk(line.channel.as_str().as_bytes());
        }
    }
}
