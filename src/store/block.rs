//! Packed entries: the encoding of one block.
//!
//! ```text
//! 'B' 2  BlockHeader  { ms - first.ms, seq, EntryBody } x count        all bincode
//! ```
//!
//! A block is self-contained: the last one of a stream holds the whole state of its tail, so an append
//! writes one value and nothing else.

use bincode::Options;
use bincode::de::read::SliceReader;
use serde::{Deserialize, Serialize};

use super::codec::{self, RecordKind};
use super::{StoreError, VALUE_BYTES_MAX};
use crate::model::{Entry, EntryBody, EntryId, Origin, OriginRange, iter_origins, push_origin, session_index};

/// Maximum number of entries in a block.
pub const BLOCK_ENTRIES_MAX: u32 = 100;
/// Bytes at which a block is closed; leaves space for its header.
pub const BLOCK_BYTES_TARGET: usize = VALUE_BYTES_MAX - 768;

/// The current version.
const VERSION: u8 = 2;

/// The header of a block, before its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHeader {
    /// Line number of the first entry.
    pub first_line: u64,
    /// Number of entries.
    pub count: u32,
    /// Id of the last entry.
    pub last_id: EntryId,
    /// Length of the whole block, which shows whether there are further parts.
    pub bytes: u32,
    /// Bytes of all lines of the stream up to the end of this block, including a newline each.
    pub total_bytes: u64,
    /// Lines dropped by workers up to the end of this block.
    pub total_skipped: u64,
    /// The last number accepted from each session that wrote to this block.
    pub sessions: Vec<(String, u64)>,
    /// The sessions and numbers of the entries. Empty in version 1.
    pub runs: Vec<OriginRange>,
}

/// Version 1, from before lines had checksums.
#[derive(Deserialize)]
struct BlockHeaderV1 {
    first_line: u64,
    count: u32,
    last_id: EntryId,
    bytes: u32,
    total_bytes: u64,
    total_skipped: u64,
    sessions: Vec<(String, u64)>,
}

impl From<BlockHeaderV1> for BlockHeader {
    fn from(old: BlockHeaderV1) -> Self {
        let BlockHeaderV1 { first_line, count, last_id, bytes, total_bytes, total_skipped, sessions } = old;
        Self { first_line, count, last_id, bytes, total_bytes, total_skipped, sessions, runs: Vec::new() }
    }
}

impl BlockHeader {
    /// Returns the origin of each entry, in order.
    pub fn origins(&self) -> impl Iterator<Item = Origin<'_>> {
        let count = usize::try_from(self.count).unwrap_or(usize::MAX);
        iter_origins(&self.sessions, &self.runs, |(name, _)| name).chain(std::iter::repeat(Origin::Unknown)).take(count)
    }
}

/// Packs entries, already encoded by [`encode_body`], into a block.
#[derive(Debug)]
pub struct BlockBuilder {
    first: EntryId,
    header: BlockHeader,
    entries: Vec<u8>,
}

impl BlockBuilder {
    /// Creates an empty block that starts with this id and line number.
    pub fn new(first: EntryId, first_line: u64) -> Self {
        let header = BlockHeader { first_line, ..BlockHeader::default() };
        Self { first, header, entries: Vec::with_capacity(VALUE_BYTES_MAX) }
    }

    /// Returns the first id.
    pub fn first(&self) -> EntryId {
        self.first
    }

    /// Returns the number of entries so far.
    pub fn count(&self) -> u32 {
        self.header.count
    }

    /// Reports whether an entry of `body_bytes` bytes still fits.
    pub fn has_room(&self, body_bytes: usize) -> bool {
        self.header.count == 0
            || (self.header.count < BLOCK_ENTRIES_MAX
                && self.entries.len() + body_bytes + ID_BYTES_MAX <= BLOCK_BYTES_TARGET)
    }

    /// Appends an entry of no session; `body` is the result of [`encode_body`].
    pub fn push(&mut self, id: EntryId, body: &[u8]) -> Result<(), StoreError> {
        self.push_with_origin(id, body, Origin::Unnumbered)
    }

    /// Appends an entry with its origin.
    pub fn push_with_origin(&mut self, id: EntryId, body: &[u8], origin: Origin<'_>) -> Result<(), StoreError> {
        codec::append(&mut self.entries, &(id.ms - self.first.ms, id.seq))?;
        self.entries.extend_from_slice(body);
        self.header.count += 1;
        self.header.last_id = id;
        let BlockHeader { sessions, runs, .. } = &mut self.header;
        push_origin(runs, origin, |session| {
            let at = sessions.iter().position(|(name, _)| name == session);
            let index = session_index(at, sessions.len())?;
            if at.is_none() {
                sessions.push((session.to_owned(), 0));
            }
            Some(index)
        });
        Ok(())
    }

    /// Calls `each` with the entries so far, in order, until it returns `false`.
    pub fn visit<'a>(&'a self, each: impl FnMut(Entry<'a>) -> bool) -> Result<(), StoreError> {
        let mut reader = bincode::Deserializer::from_slice(&self.entries, codec::options());
        visit(&mut reader, self.first, &self.header, each)
    }

    /// Records that this session's entries up to number `seq` are stored.
    pub fn record_session(&mut self, session: &str, seq: u64) {
        match self.header.sessions.iter_mut().find(|(name, _)| name == session) {
            Some((_, last)) => *last = (*last).max(seq),
            None => self.header.sessions.push((session.to_owned(), seq)),
        }
    }

    /// Finishes the block. Returns its header and its bytes.
    pub fn finish(mut self, total_bytes: u64, total_skipped: u64) -> Result<(BlockHeader, Vec<u8>), StoreError> {
        self.header.total_bytes = total_bytes;
        self.header.total_skipped = total_skipped;
        // The header contains the length of the block, and its own length depends on that number. It only
        // grows from one attempt to the next, and at most twice.
        self.header.bytes = 0;
        let mut bytes = codec::encode_as(RecordKind::Block, VERSION, &self.header)?;
        for _ in 0..3 {
            let length = u32::try_from(bytes.len() + self.entries.len()).map_err(|_| too_large())?;
            if length == self.header.bytes {
                break;
            }
            self.header.bytes = length;
            bytes = codec::encode_as(RecordKind::Block, VERSION, &self.header)?;
        }
        bytes.extend_from_slice(&self.entries);
        Ok((self.header, bytes))
    }
}

/// Maximum encoded bytes of an entry's id.
const ID_BYTES_MAX: usize = 18;

/// Appends an entry's body, encoded as in a block.
pub fn encode_body(bytes: &mut Vec<u8>, body: &EntryBody<'_>) -> Result<(), StoreError> {
    codec::append(bytes, body)
}

/// Decodes an entry's body: the inverse of [`encode_body`].
pub fn decode_body(bytes: &[u8]) -> Result<EntryBody<'_>, StoreError> {
    let mut reader = bincode::Deserializer::from_slice(bytes, codec::options());
    EntryBody::deserialize(&mut reader).map_err(damaged)
}

/// Decodes the header of a block.
pub fn decode_header(bytes: &[u8]) -> Result<BlockHeader, StoreError> {
    read_header(bytes).map(|(header, _)| header)
}

/// Returns the header of a block of any version, and a reader positioned at its entries.
fn read_header(
    bytes: &[u8],
) -> Result<(BlockHeader, bincode::Deserializer<SliceReader<'_>, impl Options>), StoreError> {
    let old = matches!(bytes, [_, 1, ..]);
    let body = codec::body_as(RecordKind::Block, if old { 1 } else { VERSION }, bytes)?;
    let mut reader = bincode::Deserializer::from_slice(body, codec::options());
    let header = if old {
        BlockHeaderV1::deserialize(&mut reader).map(BlockHeader::from)
    } else {
        BlockHeader::deserialize(&mut reader)
    };
    Ok((header.map_err(damaged)?, reader))
}

/// Calls `each` with the entries of a block, in order, until it returns `false`.
pub fn decode<'a>(first: EntryId, bytes: &'a [u8], each: impl FnMut(Entry<'a>) -> bool) -> Result<(), StoreError> {
    let (header, mut reader) = read_header(bytes)?;
    visit(&mut reader, first, &header, each)
}

fn visit<'a, O: Options>(
    reader: &mut bincode::Deserializer<SliceReader<'a>, O>,
    first: EntryId,
    header: &BlockHeader,
    mut each: impl FnMut(Entry<'a>) -> bool,
) -> Result<(), StoreError> {
    for index in 0..u64::from(header.count) {
        let (ms, seq) = <(u64, u64)>::deserialize(&mut *reader).map_err(damaged)?;
        let body = EntryBody::deserialize(&mut *reader).map_err(damaged)?;
        let id = EntryId::new(first.ms.saturating_add(ms), seq);
        if !each(Entry { id, n: header.first_line + index, body }) {
            break;
        }
    }
    Ok(())
}

fn damaged(error: bincode::Error) -> StoreError {
    StoreError::Damaged { at: "a block".into(), what: error.to_string() }
}

fn too_large() -> StoreError {
    StoreError::Damaged { at: "a block to be written".into(), what: "it exceeds 4 GiB".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Channel, LineText, Timestamp};
    use proptest::prelude::*;

    #[test]
    fn block_format_is_stable() {
        let first = EntryId::new(1_778_336_581_000, 3);
        let timestamp = Timestamp::from_millis(1_778_336_580_999);
        let bodies = [
            EntryBody::Line(LineText { timestamp, text: "plain".into(), ..LineText::default() }),
            EntryBody::Line(LineText {
                timestamp,
                channel: Channel::Internal,
                partial: true,
                lossy: true,
                text: "é\r".into(),
            }),
            EntryBody::Fields(vec![(b"field".into(), (&[0u8, 0xff]).into()), (b"".into(), b"".into())]),
        ];
        let ids = [first, EntryId::new(first.ms, 300), EntryId::new(first.ms + 70_000, 0)];
        let mut builder = BlockBuilder::new(first, 251);
        for (id, body) in ids.iter().zip(&bodies) {
            let mut bytes = Vec::new();
            encode_body(&mut bytes, body).unwrap();
            let origin = Origin::Numbered { session: "01JZ", seq: 12_000, piece: 0 };
            builder.push_with_origin(*id, &bytes, if *id == first { origin } else { Origin::Unnumbered }).unwrap();
        }
        builder.record_session("01JZ", 12_000);
        let (header, bytes) = builder.finish(1 << 33, 7).unwrap();
        let current = codec::golden::check("v2", "block", &bytes);
        assert_eq!(decode_header(&current).unwrap(), header);
        let wanted: Vec<_> =
            ids.into_iter().zip(bodies).zip(251..).map(|((id, body), n)| Entry { id, n, body }).collect();
        // Version 1 has no origins.
        let old = codec::golden::stored("v1", "block");
        let old_header = decode_header(&old).unwrap();
        assert_eq!(old_header, BlockHeader { runs: Vec::new(), bytes: old_header.bytes, ..header.clone() });
        assert!(old_header.origins().eq([Origin::Unknown; 3]));
        for block in [&current, &old] {
            let mut found = Vec::new();
            decode(first, block, |entry| {
                found.push(entry);
                true
            })
            .unwrap();
            assert_eq!(found, wanted);
        }
    }

    proptest! {
        #[test]
        fn blocks_round_trip(texts in prop::collection::vec(".{0,200}", 1..100), first_line in 1..u64::MAX / 2, gap in 0u64..5) {
            let mut id = EntryId::new(1_778_336_581_000, 3);
            let mut builder = BlockBuilder::new(id, first_line);
            let mut wanted = Vec::new();
            for (index, text) in texts.iter().enumerate() {
                let line = LineText { timestamp: Timestamp::from_millis(id.ms), channel: Channel::Stderr, partial: index % 2 == 0, lossy: false, text: text.into() };
                let body = EntryBody::Line(line);
                let mut bytes = Vec::new();
                encode_body(&mut bytes, &body).unwrap();
                if !builder.has_room(bytes.len()) { break; }
                builder.push(id, &bytes).unwrap();
                wanted.push((id, first_line + index as u64, text.clone()));
                id = if gap == 0 { id.next().unwrap() } else { EntryId::new(id.ms + gap, 0) };
            }
            builder.record_session("s", 9);
            let first = builder.first();
            let (header, bytes) = builder.finish(77, 5).unwrap();
            prop_assert_eq!(header.bytes as usize, bytes.len());
            prop_assert_eq!(&decode_header(&bytes).unwrap(), &header);
            let mut got = Vec::new();
            decode(first, &bytes, |entry| {
                let EntryBody::Line(line) = entry.body else { panic!() };
                got.push((entry.id, entry.n, line.text.into_owned()));
                true
            }).unwrap();
            prop_assert_eq!(got, wanted);
        }

        #[test]
        fn decoding_arbitrary_bytes_never_panics(mut bytes: Vec<u8>) {
            decode(EntryId::MIN, &bytes, |_| true).ok();
            for version in [1, VERSION] {
                bytes.splice(0..0, [b'B', version]);
                decode(EntryId::MAX, &bytes, |_| true).ok();
                decode_header(&bytes).map(|header| header.origins().take(1_000).count()).ok();
            }
        }
    }
}
