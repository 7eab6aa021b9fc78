//! Entries as readers receive them.

use redis::Value;

use super::error::EngineError;
use super::state::SharedTask;
use super::value::{FieldBytes, into_fields, into_text, into_values, unexpected};
use crate::model::EntryId;

/// An entry of a shared task, with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedEntry {
    /// Its id.
    pub id: EntryId,
    /// Its line number.
    pub n: u64,
    /// Its origin, if a worker numbered it.
    pub origin: Option<SharedOrigin>,
    /// The line was split and continues in the next one.
    pub partial: bool,
    /// Bytes that are not UTF-8 were replaced.
    pub lossy: bool,
    /// Whether a server appended it, rather than another client of Redis.
    pub own: bool,
    /// The fields, without the one of tasktail.
    pub fields: FieldBytes,
}

/// The session and number of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedOrigin {
    /// Name of the session; empty if the task does not know it any more.
    pub session: String,
    /// Number in the session.
    pub seq: u64,
    /// 0 for a whole line or the first piece of a split one; further pieces count up.
    pub piece: u32,
}

/// An entry as the stream holds it.
#[derive(Debug)]
pub(super) struct StreamEntry {
    pub(super) id: EntryId,
    pub(super) fields: FieldBytes,
    pub(super) tag: Option<EntryTag>,
}

/// The parsed field `tt`.
#[derive(Debug)]
pub(super) struct EntryTag {
    pub(super) n: u64,
    /// Index of the session or its name, the number, the piece.
    origin: Option<(Result<u32, String>, u64, u32)>,
    partial: bool,
    lossy: bool,
}

/// Name of the field that holds a line's number and origin.
const TAG: &[u8] = b"tt";

impl EntryTag {
    /// Parses `N [INDEX.SEQ[.PIECE] | -] [FLAGS | -] [SESSION]`.
    fn parse(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.splitn(4, ' ');
        let n = words.next()?.parse().ok()?;
        let origin = words.next().filter(|origin| *origin != "-");
        let flags = words.next().unwrap_or("");
        let session = words.next();
        let origin = match origin {
            None => None,
            Some(origin) => {
                let mut parts = origin.splitn(3, '.');
                let index = parts.next()?;
                let seq = parts.next()?.parse().ok()?;
                let piece = parts.next().map_or(Some(0), |piece| piece.parse().ok())?;
                let session = if index == "*" { Err(session?.to_owned()) } else { Ok(index.parse().ok()?) };
                Some((session, seq, piece))
            }
        };
        Some(Self { n, origin, partial: flags.contains('p'), lossy: flags.contains('l') })
    }
}

impl StreamEntry {
    /// Returns the bytes of its fields.
    pub(super) fn bytes(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Reports whether the session of the entry is missing from the facts.
    pub(super) fn has_unknown_session(&self, state: &SharedTask) -> bool {
        let origin = self.tag.as_ref().and_then(|tag| tag.origin.as_ref());
        matches!(origin, Some((Ok(index), ..)) if !state.session_names.contains_key(index))
    }

    /// Returns the entry with its number, which is given for one of another client.
    pub(super) fn numbered(self, foreign_n: Option<u64>, state: &SharedTask) -> Option<SharedEntry> {
        let Self { id, fields, tag } = self;
        if let Some(n) = foreign_n {
            return Some(SharedEntry { id, n, origin: None, partial: false, lossy: false, own: false, fields });
        }
        let EntryTag { n, origin, partial, lossy } = tag?;
        let origin = origin.map(|(session, seq, piece)| {
            let known = |index| state.session_names.get(&index).cloned().unwrap_or_default();
            SharedOrigin { session: session.map_or_else(|name| name, known), seq, piece }
        });
        Some(SharedEntry { id, n, origin, partial, lossy, own: true, fields })
    }
}

/// Reads the entries of one stream from the answer to XREAD.
pub(super) fn read_entries(value: Value) -> Result<Vec<StreamEntry>, EngineError> {
    let entries = match value {
        Value::Nil => return Ok(Vec::new()),
        Value::Map(mut streams) => streams.pop().map(|(_, entries)| entries),
        Value::Array(mut streams) => match streams.pop() {
            Some(Value::Array(mut pair)) => pair.pop(),
            _ => None,
        },
        value => return Err(unexpected(&value)),
    };
    into_values(entries.unwrap_or_default())?.into_iter().map(read_entry).collect()
}

/// Reads one entry of XREAD or XRANGE.
fn read_entry(value: Value) -> Result<StreamEntry, EngineError> {
    let mut parts = into_values(value)?.into_iter();
    let id = parts.next().and_then(into_text).and_then(|id| id.parse().ok());
    let id = id.ok_or_else(|| EngineError::Protocol("an entry without an id".to_owned()))?;
    let mut fields = into_fields(parts.next().unwrap_or_default())?;
    let tag = match fields.iter().rposition(|(name, _)| name == TAG) {
        Some(at) => EntryTag::parse(&fields[at].1).inspect(|_| drop(fields.remove(at))),
        None => None,
    };
    Ok(StreamEntry { id, fields, tag })
}

/// Returns the text of a field of an entry.
pub(super) fn field_text(entry: &StreamEntry, name: &str) -> Option<String> {
    let value = entry.fields.iter().find(|(found, _)| found == name.as_bytes()).map(|(_, value)| value.clone());
    value.and_then(|bytes| into_text(Value::BulkString(bytes)))
}
