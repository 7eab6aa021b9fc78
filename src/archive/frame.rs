//! Frames and the notes before them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use super::LEVEL;
use crate::model::EntryId;
use crate::store::codec;

/// Skippable zstd frames of ours: before each data frame, and before the seek table.
pub(super) const NOTE_MAGIC: u32 = 0x184D_2A50;
pub(super) const INDEX_MAGIC: u32 = 0x184D_2A51;
/// Magic and length.
pub(super) const SKIPPABLE_HEADER_BYTES: u64 = 8;

/// Where one data frame is and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FrameRef {
    /// Where its note begins.
    pub(super) at: u64,
    /// Bytes of the note, its header included.
    pub(super) note_bytes: u32,
    /// Bytes of the data frame.
    pub(super) packed_bytes: u32,
    /// Bytes of the NDJSON inside.
    pub(super) raw_bytes: u32,
    pub(super) first_line: u64,
    pub(super) lines: u32,
    pub(super) first_id: EntryId,
    pub(super) last_id: EntryId,
}

impl FrameRef {
    pub(super) fn last_line(&self) -> u64 {
        self.first_line + u64::from(self.lines) - 1
    }

    /// Whether a frame can stand behind `before`, or at the beginning: right there in the file, with
    /// lines of higher numbers. A row out of a file is not believed before that.
    pub(super) fn follows(&self, before: Option<&FrameRef>) -> bool {
        let (at, line) = before.map_or((0, 0), |before| (before.end(), before.last_line()));
        let is_whole = self.lines > 0 && self.note_bytes == NOTE_BYTES && self.raw_bytes <= RAW_BYTES_MAX;
        let is_counted = self.first_line > line && self.first_line.checked_add(u64::from(self.lines)).is_some();
        is_whole && is_counted && self.at == at
    }

    /// Where the data frame begins.
    pub(super) fn data_at(&self) -> u64 {
        self.at + u64::from(self.note_bytes)
    }

    /// Where the next note begins.
    pub(super) fn end(&self) -> u64 {
        self.data_at() + u64::from(self.packed_bytes)
    }
}

/// A skippable frame around `payload`.
pub(super) fn skippable(magic: u32, payload: &[u8]) -> io::Result<Vec<u8>> {
    let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
    Ok([&magic.to_le_bytes()[..], &len.to_le_bytes(), payload].concat())
}

/// The bytes of note and data; `row` is completed on the way.
pub(super) fn encode(row: &mut FrameRef, raw: &[u8], at: u64) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::bulk::Compressor::new(LEVEL)?;
    encoder.include_checksum(true)?;
    let data = encoder.compress(raw)?;
    row.at = at;
    row.raw_bytes = u32::try_from(raw.len()).map_err(io::Error::other)?;
    row.packed_bytes = u32::try_from(data.len()).map_err(io::Error::other)?;
    // The note's length is in the note; a fixed width keeps the two apart.
    row.note_bytes = NOTE_BYTES;
    let mut bytes = note(row)?;
    bytes.extend_from_slice(&data);
    Ok(bytes)
}

pub(super) fn note(row: &FrameRef) -> io::Result<Vec<u8>> {
    let mut payload = Vec::with_capacity(NOTE_BYTES as usize);
    codec::append(&mut payload, row).map_err(io::Error::other)?;
    payload.resize(NOTE_BYTES as usize - 8, 0);
    skippable(NOTE_MAGIC, &payload)
}

/// Bytes of NDJSON in one frame at most, whatever a note says: a frame is closed at
/// [`super::FRAME_BYTES`], and the largest line, every character of it escaped, fits in here.
const RAW_BYTES_MAX: u32 = 128 << 20;

/// Bytes of a note: room for every number at its longest.
const NOTE_BYTES: u32 = 96;

/// All whole frames of a file, and where they end. Whatever is behind is a cut tail.
pub(super) fn walk(file: &File) -> io::Result<(Vec<FrameRef>, u64)> {
    let size = file.metadata()?.len();
    let mut rows = Vec::new();
    let mut at = 0;
    while let Some(row) = read_note(file, at, size)?.filter(|row| row.follows(rows.last())) {
        at = row.end();
        rows.push(row);
    }
    // Only the tail can be torn; zstd's own checksum tells.
    while let Some(last) = rows.last() {
        if unpack(file, last).is_ok() {
            break;
        }
        at = last.at;
        rows.pop();
    }
    Ok((rows, at))
}

fn read_note(file: &File, at: u64, size: u64) -> io::Result<Option<FrameRef>> {
    if at + u64::from(NOTE_BYTES) > size {
        return Ok(None);
    }
    let mut note = [0; NOTE_BYTES as usize];
    file.read_exact_at(&mut note, at)?;
    if note[..4] != NOTE_MAGIC.to_le_bytes() {
        return Ok(None);
    }
    let mut reader = bincode::Deserializer::from_slice(&note[8..], codec::options());
    let row = FrameRef::deserialize(&mut reader).ok();
    Ok(row.filter(|row| row.at == at && row.end() <= size))
}

/// The NDJSON of a frame.
pub(super) fn unpack(file: &File, row: &FrameRef) -> io::Result<Vec<u8>> {
    let mut packed = vec![0; row.packed_bytes as usize];
    file.read_exact_at(&mut packed, row.data_at())?;
    // Room for an ordinary frame; beyond it grows with what is really there, since a note may say anything.
    let mut raw = Vec::with_capacity(row.raw_bytes.min(1 << 20) as usize + 1);
    let mut decoder = zstd::stream::read::Decoder::with_buffer(&packed[..])?.single_frame();
    decoder.by_ref().take(u64::from(row.raw_bytes) + 1).read_to_end(&mut raw)?;
    if raw.len() != row.raw_bytes as usize {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame has not the length that its note says"));
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_note_stays() {
        let row = FrameRef {
            at: 0,
            note_bytes: NOTE_BYTES,
            packed_bytes: 300,
            raw_bytes: 131_072,
            first_line: 251,
            lines: 1_000,
            first_id: EntryId::new(1_778_336_581_000, 3),
            last_id: EntryId::new(u64::MAX, u64::MAX),
        };
        let kept = codec::golden::check("v1", "archive_note", &note(&row).unwrap());
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &[kept, vec![0; 300]].concat()).unwrap();
        assert_eq!(read_note(&file, 0, row.end()).unwrap(), Some(row));
        assert_eq!(read_note(&file, 0, row.end() - 1).unwrap(), None, "a note without all of its data is none");
    }
}
