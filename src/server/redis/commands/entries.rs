//! Writes entries to replies.

use super::{CommandError, CommandResult};
use crate::model::{Entry, EntryBody, EntryId};
use crate::tasks::keys::{IdRange, KeyReader};
use crate::wire::resp::Reply;

/// The range of all IDs.
pub(super) const ALL: IdRange = IdRange { start: EntryId::MIN, end: EntryId::MAX, count: usize::MAX, reverse: false };

/// Writes an array of the entries in a range and returns their number. Fails if the reply would
/// exceed its size limit.
pub(super) fn entries<L: KeyReader + ?Sized>(
    reader: &mut L,
    key: &[u8],
    range: IdRange,
    reply: &mut Reply,
) -> CommandResult<usize> {
    let at = reply.len();
    let found = reader.range(key, range, &mut |found| {
        if reply.is_full().is_none() {
            entry(found, reply);
        }
    })?;
    if let Some(max) = reply.is_full() {
        return Err(CommandError::TooLarge(max));
    }
    reply.array_at(at, found);
    Ok(found)
}

/// Writes one entry: its ID, and an array of field names and values.
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
