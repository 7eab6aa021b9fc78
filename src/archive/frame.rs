//! The encoding of frames: header, metadata, data.
//!
//! ```text
//! header    skippable frame of fixed size: a FrameHeader in bincode, padded with zeros
//! metadata  skippable frame: version (u8), a FrameMetadata in bincode, lines of tasktail itself (u64, from version 2)
//! data      zstd frame
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use crate::model::{EntryId, LineOrigins, LogTotals};
use crate::store::codec;

/// zstd level: the fastest ordinary one, since lines compress well at any.
const LEVEL: i32 = 1;
/// Magic numbers of our skippable zstd frames.
pub(super) const HEADER_MAGIC: u32 = 0x184D_2A50;
pub(super) const INDEX_MAGIC: u32 = 0x184D_2A51;
const METADATA_MAGIC: u32 = 0x184D_2A52;
/// Bytes of a skippable frame's magic number and length.
pub(super) const SKIPPABLE_HEADER_LEN: usize = 8;
pub(super) const SKIPPABLE_HEADER_BYTES: u64 = SKIPPABLE_HEADER_LEN as u64;

/// Position and contents of one frame, as stored before it and in the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FrameHeader {
    /// Offset of the frame's header.
    pub(super) offset: u64,
    /// Bytes of header and metadata, with their magic numbers and lengths.
    pub(super) prefix_bytes: u32,
    /// Bytes of the data frame.
    pub(super) compressed_bytes: u32,
    /// Bytes of the decompressed NDJSON.
    pub(super) raw_bytes: u32,
    pub(super) first_line: u64,
    pub(super) lines: u32,
    pub(super) first_id: EntryId,
    pub(super) last_id: EntryId,
}

impl FrameHeader {
    /// Returns the number of the last line.
    pub(super) fn last_line(&self) -> u64 {
        self.first_line.saturating_add(u64::from(self.lines)).saturating_sub(1)
    }

    /// Reports whether this frame can follow `before`, or be the first: adjacent in the file, with higher
    /// line numbers. A header read from a file must not be used before this check.
    pub(super) fn follows(&self, before: Option<&FrameHeader>) -> bool {
        let (offset, line) = before.map_or((0, 0), |before| (before.end(), before.last_line()));
        let is_valid = self.lines > 0 && self.prefix_bytes >= HEADER_BYTES && self.raw_bytes <= RAW_BYTES_MAX;
        let is_ascending = self.first_line > line && self.first_line.checked_add(u64::from(self.lines)).is_some();
        is_valid && is_ascending && self.offset == offset
    }

    /// Returns the offset of the data frame.
    pub(super) fn data_offset(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.prefix_bytes))
    }

    /// Returns the offset of the next frame's header.
    pub(super) fn end(&self) -> u64 {
        self.data_offset().saturating_add(u64::from(self.compressed_bytes))
    }
}

/// Origins and totals of a frame's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FrameMetadata {
    pub(super) origins: LineOrigins,
    pub(super) totals: LogTotals,
}

/// Returns a skippable frame that contains `payload`.
pub(super) fn skippable(magic: u32, payload: &[u8]) -> io::Result<Vec<u8>> {
    let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
    Ok([&magic.to_le_bytes()[..], &len.to_le_bytes(), payload].concat())
}

/// Returns the data of a frame.
pub(super) fn compress(raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::bulk::Compressor::new(LEVEL)?;
    encoder.include_checksum(true)?;
    encoder.compress(raw)
}

/// Encodes a frame with its header and metadata, and completes `header`.
pub(super) fn encode_frame(
    header: &mut FrameHeader,
    metadata: &FrameMetadata,
    raw: &[u8],
    offset: u64,
) -> io::Result<Vec<u8>> {
    let data = compress(raw)?;
    header.offset = offset;
    header.raw_bytes = u32::try_from(raw.len()).map_err(io::Error::other)?;
    header.compressed_bytes = u32::try_from(data.len()).map_err(io::Error::other)?;
    let mut bytes = encode_prefix(header, Some(metadata))?;
    bytes.extend_from_slice(&data);
    Ok(bytes)
}

/// Encodes header and metadata of a frame, and stores their length in `header`.
pub(super) fn encode_prefix(header: &mut FrameHeader, metadata: Option<&FrameMetadata>) -> io::Result<Vec<u8>> {
    let metadata = metadata.map(encode_metadata).transpose()?.unwrap_or_default();
    // The header contains this length, so its own must not depend on it: it is fixed.
    header.prefix_bytes = HEADER_BYTES + u32::try_from(metadata.len()).map_err(io::Error::other)?;
    Ok([encode_header(header)?, metadata].concat())
}

fn encode_metadata(metadata: &FrameMetadata) -> io::Result<Vec<u8>> {
    let own_lines = metadata.totals.own_lines();
    let mut payload = vec![if own_lines.is_some() { METADATA_VERSION } else { 1 }];
    codec::append(&mut payload, metadata).map_err(io::Error::other)?;
    if let Some(own_lines) = own_lines {
        codec::append(&mut payload, &own_lines).map_err(io::Error::other)?;
    }
    skippable(METADATA_MAGIC, &payload)
}

/// Decodes metadata without its version.
fn decode_metadata(payload: &[u8], version: u8) -> bincode::Result<FrameMetadata> {
    if version == 1 {
        return codec::options().deserialize(payload);
    }
    let (mut metadata, own_lines) = codec::options().deserialize::<(FrameMetadata, u64)>(payload)?;
    metadata.totals.set_own_lines(Some(own_lines));
    Ok(metadata)
}

/// Version of the metadata's encoding: its first byte.
const METADATA_VERSION: u8 = 2;

/// Reads the metadata of a frame. Returns `None` for frames of an earlier version, which have none.
pub(super) fn read_metadata(file: &File, header: &FrameHeader) -> io::Result<Option<FrameMetadata>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let len = usize::try_from(header.prefix_bytes.saturating_sub(HEADER_BYTES)).map_err(io::Error::other)?;
    if len == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, header.offset.saturating_add(u64::from(HEADER_BYTES)))?;
    let metadata = match bytes.get(SKIPPABLE_HEADER_LEN..) {
        Some([version @ 1..=METADATA_VERSION, payload @ ..]) => decode_metadata(payload, *version),
        _ => return Err(invalid("its metadata has an unknown version".to_owned())),
    };
    let metadata = metadata.map_err(|e| invalid(format!("cannot decode its metadata: {e}")))?;
    // Encoding it again must yield the same bytes, so that any changed bit is detected.
    if encode_metadata(&metadata)? != bytes {
        return Err(invalid("its metadata is damaged".to_owned()));
    }
    Ok(Some(metadata))
}

/// Returns the totals of all lines of these frames.
pub(super) fn totals(file: &File, headers: &[FrameHeader]) -> LogTotals {
    let mut totals = LogTotals::default();
    for header in headers {
        match read_metadata(file, header) {
            Ok(Some(metadata)) => totals.merge(&metadata.totals),
            // Its lines can still be read; only their totals are unknown.
            Ok(None) | Err(_) => totals.add_unknown(u64::from(header.lines)),
        }
    }
    totals
}

/// Encodes a header.
pub(super) fn encode_header(header: &FrameHeader) -> io::Result<Vec<u8>> {
    let mut payload = Vec::with_capacity(HEADER_BYTES as usize);
    codec::append(&mut payload, header).map_err(io::Error::other)?;
    payload.resize(HEADER_BYTES as usize - 8, 0);
    skippable(HEADER_MAGIC, &payload)
}

/// Maximum bytes of NDJSON that a header may claim. A frame is closed after about 128 KiB, and the largest
/// line with every character escaped fits within this.
const RAW_BYTES_MAX: u32 = 128 << 20;

/// Bytes of a header: enough for the longest encoding of every number.
pub(super) const HEADER_BYTES: u32 = 96;

/// Returns the number of lines missing between these frames.
pub(super) fn missing_lines(headers: &[FrameHeader]) -> u64 {
    headers.windows(2).map(|pair| missing_between(pair.first(), pair.last())).sum()
}

/// Returns the number of lines missing between two frames; 0 if one of them does not exist.
pub(super) fn missing_between(before: Option<&FrameHeader>, after: Option<&FrameHeader>) -> u64 {
    before.zip(after).map_or(0, |(before, after)| after.first_line.saturating_sub(before.last_line() + 1))
}

/// Reads the header at this offset. Returns `None` if there is none, or if its frame is not complete in a
/// file of `size` bytes.
pub(super) fn read_header(file: &File, offset: u64, size: u64) -> io::Result<Option<FrameHeader>> {
    if offset.saturating_add(u64::from(HEADER_BYTES)) > size {
        return Ok(None);
    }
    let mut bytes = [0; HEADER_BYTES as usize];
    file.read_exact_at(&mut bytes, offset)?;
    if bytes[..4] != HEADER_MAGIC.to_le_bytes() {
        return Ok(None);
    }
    let mut reader = bincode::Deserializer::from_slice(&bytes[8..], codec::options());
    let header = FrameHeader::deserialize(&mut reader).ok();
    Ok(header.filter(|header| header.offset == offset && header.end() <= size))
}

/// The bits of a zstd frame's descriptor, its fifth byte, that do not change how a frame is read here, and their
/// value in each written frame: two that decoders ignore, and the one that announces the checksum, without which
/// the checksum is left unread.
const FIXED_BITS: u8 = 0b0001_1100;
const FIXED_BITS_VALUE: u8 = 0b0000_0100;

/// Reports whether a bit of a data frame's descriptor was changed that does not change how the frame is read here.
/// Other programs may reject the frame.
pub(super) fn has_changed_descriptor(file: &File, header: &FrameHeader) -> io::Result<bool> {
    let mut descriptor = [0; 1];
    file.read_exact_at(&mut descriptor, header.data_offset().saturating_add(4))?;
    Ok(descriptor[0] & FIXED_BITS != FIXED_BITS_VALUE)
}

/// Returns the data of a frame as it is in the file.
pub(super) fn read_data(file: &File, header: &FrameHeader) -> io::Result<Vec<u8>> {
    let mut compressed = vec![0; header.compressed_bytes as usize];
    file.read_exact_at(&mut compressed, header.data_offset())?;
    Ok(compressed)
}

/// Returns the NDJSON of a frame.
pub(super) fn decompress(file: &File, header: &FrameHeader) -> io::Result<Vec<u8>> {
    let compressed = read_data(file, header)?;
    // A damaged header may claim any size: beyond an ordinary frame, grow only with the actual contents.
    let mut raw = Vec::with_capacity(header.raw_bytes.min(1 << 20) as usize + 1);
    let mut decoder = zstd::stream::read::Decoder::with_buffer(&compressed[..])?.single_frame();
    decoder.by_ref().take(u64::from(header.raw_bytes) + 1).read_to_end(&mut raw)?;
    if raw.len() != header.raw_bytes as usize {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its length differs from its header"));
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Channel, Line, Origin, Timestamp};

    #[test]
    fn header_format_is_stable() {
        let header = FrameHeader {
            offset: 0,
            prefix_bytes: HEADER_BYTES,
            compressed_bytes: 300,
            raw_bytes: 131_072,
            first_line: 251,
            lines: 1_000,
            first_id: EntryId::new(1_778_336_581_000, 3),
            last_id: EntryId::new(u64::MAX, u64::MAX),
        };
        let current = codec::golden::check("v1", "archive_note", &encode_header(&header).unwrap());
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[current, vec![0; 300]].concat()).unwrap();
        assert_eq!(read_header(&file, 0, header.end()).unwrap(), Some(header));
        assert_eq!(
            read_header(&file, 0, header.end() - 1).unwrap(),
            None,
            "a header without all of its data is ignored"
        );
        assert_eq!(read_metadata(&file, &header).unwrap(), None, "frames of an earlier version have no metadata");
    }

    #[test]
    fn metadata_format_is_stable() {
        let line = |n: u64, text: &'static str| Line {
            n,
            id: EntryId::new(1_778_336_581_000, n),
            timestamp: Timestamp::from_millis(1_778_336_580_999),
            channel: Channel::Internal,
            line: text.into(),
            partial: false,
            lossy: false,
        };
        let mut metadata = FrameMetadata::default();
        let numbered = |seq, piece| Origin::Numbered { session: "01JZ", seq, piece };
        let lines = [
            (numbered(300, 0), "one"),
            (numbered(301, 0), "[15 messages skipped]"),
            (numbered(302, 0), "a piece"),
            (numbered(302, 1), "the rest"),
            (Origin::Unnumbered, "[3 messages lost in transit]"),
            (Origin::Unknown, "old"),
        ];
        let mut buffer = Vec::new();
        for (n, (origin, text)) in (251..).zip(lines) {
            metadata.origins.push(origin);
            metadata.totals.add(origin, &line(n, text), &mut buffer);
        }
        let mut before = metadata.clone();
        before.totals.set_own_lines(None);
        let old = codec::golden::check("v1", "archive_proof", &encode_metadata(&before).unwrap());
        let current = codec::golden::check("v2", "archive_proof", &encode_metadata(&metadata).unwrap());
        assert_eq!(metadata.totals.own_lines(), Some(6));
        let prefix_bytes = HEADER_BYTES + u32::try_from(current.len()).unwrap();
        let header = FrameHeader { prefix_bytes, lines: 6, ..FrameHeader::default() };
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&current, u64::from(HEADER_BYTES)).unwrap();
        assert_eq!(read_metadata(&file, &header).unwrap().as_ref(), Some(&metadata));
        let prefix_bytes = HEADER_BYTES + u32::try_from(old.len()).unwrap();
        let old_header = FrameHeader { prefix_bytes, ..header };
        file.write_all_at(&old, u64::from(HEADER_BYTES)).unwrap();
        assert_eq!(read_metadata(&file, &old_header).unwrap().as_ref(), Some(&before));
        file.write_all_at(&current, u64::from(HEADER_BYTES)).unwrap();
        // Any changed bit is detected.
        for bit in (0..current.len() * 8).step_by(5) {
            let mut flipped = current.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            file.write_all_at(&flipped, u64::from(HEADER_BYTES)).unwrap();
            let read = read_metadata(&file, &header);
            assert!(read.as_ref().map_or(true, |found| found.as_ref() != Some(&metadata)), "bit {bit}");
        }
    }
}
