//! Packed entries: the value of one block.
//!
//! ```text
//! 'B' 2  BlockHeader  { ms - first.ms, seq, EntryBody } x count        all bincode
//! ```
//!
//! A block speaks for itself: from the last one of a stream everything about its end is known, so
//! an append writes one value and nothing else.

use bincode::Options;
use bincode::de::read::SliceReader;
use serde::{Deserialize, Serialize};

use super::codec::{self, RecordKind};
use super::{StoreError, VALUE_BYTES_MAX};
use crate::model::{Entry, EntryBody, EntryId, Origin, OriginRange, iter_origins, push_origin, session_index};

/// Entries of one block at most.
pub const BLOCK_ENTRIES_MAX: u32 = 100;
/// Bytes at which a block is closed; room is left for its header.
pub const BLOCK_BYTES_TARGET: usize = VALUE_BYTES_MAX - 768;

/// The version that is written today.
const VERSION: u8 = 2;

/// What a block says before its entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockHeader {
    /// Line number of the first entry.
    pub first_line: u64,
    /// Entries inside.
    pub count: u32,
    /// Id of the last entry.
    pub last_id: EntryId,
    /// Length of the whole block, to know whether it goes on in further parts.
    pub bytes: u32,
    /// Bytes of all lines of the stream up to the end of this block, a newline each.
    pub total_bytes: u64,
    /// Lines dropped by workers up to the end of this block.
    pub total_skipped: u64,
    /// The last number taken from each session that wrote here.
    pub sessions: Vec<(String, u64)>,
    /// Which of these sessions the entries are of, and their numbers. Version 1 did not say.
    pub runs: Vec<OriginRange>,
}

/// Version 1: before lines were summed.
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
    /// Where each of its entries comes from, in order.
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
    /// A block that begins with this id and line number.
    pub fn new(first: EntryId, first_line: u64) -> Self {
        let header = BlockHeader { first_line, ..BlockHeader::default() };
        Self { first, header, entries: Vec::with_capacity(VALUE_BYTES_MAX) }
    }

    /// The id it begins with.
    pub fn first(&self) -> EntryId {
        self.first
    }

    /// Entries so far.
    pub fn count(&self) -> u32 {
        self.header.count
    }

    /// Whether an entry of so many bytes still belongs here.
    pub fn has_room(&self, body_bytes: usize) -> bool {
        self.header.count == 0
            || (self.header.count < BLOCK_ENTRIES_MAX
                && self.entries.len() + body_bytes + ID_BYTES_MAX <= BLOCK_BYTES_TARGET)
    }

    /// Adds an entry of no session; `body` is what [`encode_body`] made.
    pub fn push(&mut self, id: EntryId, body: &[u8]) -> Result<(), StoreError> {
        self.push_of(id, body, Origin::Unnumbered)
    }

    /// Adds an entry, and says where it comes from.
    pub fn push_with_origin(&mut self, id: EntryId, body: &[u8], origin: Origin<'_>) -> Result<(), StoreError> {
        codec::append(&mut self.entries, &(id.ms - self.first.ms, id.seq))?;
        self.entries.extend_from_slice(body);
        self.header.count += 1;
        self.header.last_id = id;
        let BlockHeader { sessions, runs, .. } = &mut self.header;
        push_origin(runs, origin, |session| {
            let at = sessions.iter().position(|(name, _)| name == session);
            let place = session_index(at, sessions.len())?;
            if at.is_none() {
                sessions.push((session.to_owned(), 0));
            }
            Some(place)
        });
        Ok(())
    }

    /// Calls `each` with the entries so far, in order, until it says `false`.
    pub fn visit<'a>(&'a self, each: impl FnMut(Entry<'a>) -> bool) -> Result<(), StoreError> {
        let mut reader = bincode::Deserializer::from_slice(&self.entries, codec::options());
        visit(&mut reader, self.first, &self.header, each)
    }

    /// The session of the entries added since the last call, up to this number.
    pub fn record_session(&mut self, session: &str, seq: u64) {
        match self.header.sessions.iter_mut().find(|(name, _)| name == session) {
            Some((_, last)) => *last = (*last).max(seq),
            None => self.header.sessions.push((session.to_owned(), seq)),
        }
    }

    /// The block's bytes, and what was written into its header.
    pub fn finish(mut self, total_bytes: u64, total_skipped: u64) -> Result<(BlockHeader, Vec<u8>), StoreError> {
        self.header.total_bytes = total_bytes;
        self.header.total_skipped = total_skipped;
        // The length of the header depends on the length it states; u32::MAX takes the most room
        // a length can, so a second encoding never grows.
        self.header.bytes = 0;
        let mut bytes = codec::encode_as(RecordKind::Block, VERSION, &self.header)?;
        for _ in 0..3 {
            let whole = u32::try_from(bytes.len() + self.entries.len()).map_err(|_| too_large())?;
            if whole == self.header.bytes {
                break;
            }
            self.header.bytes = whole;
            bytes = codec::encode_as(RecordKind::Block, VERSION, &self.header)?;
        }
        bytes.extend_from_slice(&self.entries);
        Ok((self.header, bytes))
    }
}

/// Bytes that an entry's id takes at most.
const ID_BYTES_MAX: usize = 18;

/// An entry's body as it stands in a block.
pub fn encode_body(bytes: &mut Vec<u8>, body: &EntryBody<'_>) -> Result<(), StoreError> {
    codec::append(bytes, body)
}

/// The inverse of [`encode_body`].
pub fn decode_body(bytes: &[u8]) -> Result<EntryBody<'_>, StoreError> {
    let mut reader = bincode::Deserializer::from_slice(bytes, codec::options());
    EntryBody::deserialize(&mut reader).map_err(damaged)
}

/// What a block says of itself.
pub fn decode_header(bytes: &[u8]) -> Result<BlockHeader, StoreError> {
    read_header(bytes).map(|(header, _)| header)
}

/// The header of a block of any version, and where its entries begin.
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

/// Calls `each` with the entries of a block, in order, until it says `false`.
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
    StoreError::Damaged { at: "a block to be written".into(), what: "it has over 4 GiB".into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Channel, LineText, Timestamp};
    use proptest::prelude::*;

    #[test]
    fn the_form_of_a_block_stays() {
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
            builder.push_of(*id, &bytes, if *id == first { origin } else { Origin::Unnumbered }).unwrap();
        }
        builder.record_session("01JZ", 12_000);
        let (header, bytes) = builder.finish(1 << 33, 7).unwrap();
        let kept = codec::golden::check("v2", "block", &bytes);
        assert_eq!(decode_header(&kept).unwrap(), header);
        let wanted: Vec<_> =
            ids.into_iter().zip(bodies).zip(251..).map(|((id, body), n)| Entry { id, n, body }).collect();
        // Version 1 did not say where its entries come from.
        let old = codec::golden::kept("v1", "block");
        let old_header = decode_header(&old).unwrap();
        assert_eq!(old_header, BlockHeader { runs: Vec::new(), bytes: old_header.bytes, ..header.clone() });
        assert!(old_header.origins().eq([Origin::Unknown; 3]));
        for block in [&kept, &old] {
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
        fn blocks_give_back_what_they_took(texts in prop::collection::vec(".{0,200}", 1..100), first_line in 1..u64::MAX / 2, gap in 0u64..5) {
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
        fn any_bytes_are_read_without_a_panic(mut bytes: Vec<u8>) {
            decode(EntryId::MIN, &bytes, |_| true).ok();
            for version in [1, VERSION] {
                bytes.splice(0..0, [b'B', version]);
                decode(EntryId::MAX, &bytes, |_| true).ok();
                decode_header(&bytes).map(|header| header.origins().take(1_000).count()).ok();
            }
        }
    }
}
