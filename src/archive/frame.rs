//! Frames, and the notes and proofs before them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use super::{LEVEL, verify};
use crate::model::{EntryId, LineOrigins, LogTotals};
use crate::store::codec;

/// Skippable zstd frames of ours: before each data frame, and before the seek table.
pub(super) const NOTE_MAGIC: u32 = 0x184D_2A50;
pub(super) const INDEX_MAGIC: u32 = 0x184D_2A51;
const PROOF_MAGIC: u32 = 0x184D_2A52;
/// Magic and length.
pub(super) const SKIPPABLE_HEADER_LEN: usize = 8;
pub(super) const SKIPPABLE_HEADER_BYTES: u64 = SKIPPABLE_HEADER_LEN as u64;

/// Where one data frame is and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FrameRef {
    /// Where its note begins.
    pub(super) at: u64,
    /// Bytes of the note and, if there is one, of the proof, their headers included.
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
        self.first_line.saturating_add(u64::from(self.lines)).saturating_sub(1)
    }

    /// Whether a frame can stand behind `before`, or at the beginning: right there in the file, with
    /// lines of higher numbers. A row out of a file is not believed before that.
    pub(super) fn follows(&self, before: Option<&FrameRef>) -> bool {
        let (at, line) = before.map_or((0, 0), |before| (before.end(), before.last_line()));
        let is_whole = self.lines > 0 && self.note_bytes >= NOTE_BYTES && self.raw_bytes <= RAW_BYTES_MAX;
        let is_counted = self.first_line > line && self.first_line.checked_add(u64::from(self.lines)).is_some();
        is_whole && is_counted && self.at == at
    }

    /// Where the data frame begins.
    pub(super) fn data_at(&self) -> u64 {
        self.at.saturating_add(u64::from(self.note_bytes))
    }

    /// Where the next note begins.
    pub(super) fn end(&self) -> u64 {
        self.data_at().saturating_add(u64::from(self.packed_bytes))
    }
}

/// Where the lines of a frame come from, and what they add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FrameMetadata {
    pub(super) origins: LineOrigins,
    pub(super) tally: LogTotals,
}

/// A skippable frame around `payload`.
pub(super) fn skippable(magic: u32, payload: &[u8]) -> io::Result<Vec<u8>> {
    let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
    Ok([&magic.to_le_bytes()[..], &len.to_le_bytes(), payload].concat())
}

/// The bytes of note, proof and data; `row` is completed on the way.
pub(super) fn encode(row: &mut FrameRef, proof: &FrameMetadata, raw: &[u8], at: u64) -> io::Result<Vec<u8>> {
    let mut encoder = zstd::bulk::Compressor::new(LEVEL)?;
    encoder.include_checksum(true)?;
    let data = encoder.compress(raw)?;
    row.at = at;
    row.raw_bytes = u32::try_from(raw.len()).map_err(io::Error::other)?;
    row.packed_bytes = u32::try_from(data.len()).map_err(io::Error::other)?;
    let mut bytes = head(row, Some(proof))?;
    bytes.extend_from_slice(&data);
    Ok(bytes)
}

/// Note and proof of a frame, whose length goes into `row`.
pub(super) fn head(row: &mut FrameRef, proof: Option<&FrameMetadata>) -> io::Result<Vec<u8>> {
    let proof = proof.map(encode_proof).transpose()?.unwrap_or_default();
    // The note's length is in the note; a fixed width keeps the two apart.
    row.note_bytes = NOTE_BYTES + u32::try_from(proof.len()).map_err(io::Error::other)?;
    Ok([note(row)?, proof].concat())
}

fn encode_proof(proof: &FrameMetadata) -> io::Result<Vec<u8>> {
    let mut payload = vec![PROOF_VERSION];
    codec::append(&mut payload, proof).map_err(io::Error::other)?;
    skippable(PROOF_MAGIC, &payload)
}

/// The form that a proof is written in: its first byte.
const PROOF_VERSION: u8 = 1;

/// The proof of a frame; `None` if it has none, as frames of an earlier version have not.
pub(super) fn read_proof(file: &File, row: &FrameRef) -> io::Result<Option<FrameMetadata>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let len = usize::try_from(row.note_bytes.saturating_sub(NOTE_BYTES)).map_err(io::Error::other)?;
    if len == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, row.at.saturating_add(u64::from(NOTE_BYTES)))?;
    let proof = match bytes.get(SKIPPABLE_HEADER_LEN..) {
        Some([PROOF_VERSION, payload @ ..]) => codec::options().deserialize::<FrameMetadata>(payload),
        _ => return Err(invalid("a proof is of a form that is not known".to_owned())),
    };
    let proof = proof.map_err(|e| invalid(format!("a proof cannot be read: {e}")))?;
    // What it says is all there is: every bit of it counts.
    if encode_proof(&proof)? != bytes {
        return Err(invalid("a proof is not as it was written".to_owned()));
    }
    Ok(Some(proof))
}

/// What the lines of these frames add up to.
pub(super) fn tally(file: &File, rows: &[FrameRef]) -> LogTotals {
    let mut tally = LogTotals::default();
    for row in rows {
        match read_proof(file, row) {
            Ok(Some(proof)) => tally.merge(&proof.tally),
            // Its lines can be read all the same; nothing is known of their sum.
            Ok(None) | Err(_) => tally.add_unknown(u64::from(row.lines)),
        }
    }
    tally
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
pub(super) const NOTE_BYTES: u32 = 96;

/// All whole frames of a file, and where they end. Whatever is behind is a cut tail, or what a power cut
/// has torn: frames that were written between two syncs reach the disk in any order and in parts. Their
/// lines are still in the journal, so each that ends at `unsure_from` or behind it must be whole. Without
/// that a last frame that cannot be read is left out: what is damaged before it may be the only copy.
pub(super) fn walk(file: &File, unsure_from: Option<u64>) -> io::Result<(Vec<FrameRef>, u64)> {
    let size = file.metadata()?.len();
    let mut rows = Vec::new();
    let mut at = 0;
    while let Some(row) = read_note(file, at, size)?.filter(|row| row.follows(rows.last())) {
        at = row.end();
        rows.push(row);
    }
    let sure = unsure_from.map_or(rows.len(), |line| rows.partition_point(|row| row.last_line() < line));
    let torn = (sure..rows.len()).find(|&n| !verify::is_whole(file, n.checked_sub(1).map(|n| &rows[n]), rows[n]));
    rows.truncate(torn.unwrap_or(rows.len()));
    while rows.pop_if(|last| unpack(file, last).is_err()).is_some() {}
    let end = rows.last().map_or(0, FrameRef::end);
    Ok((rows, end))
}

pub(super) fn read_note(file: &File, at: u64, size: u64) -> io::Result<Option<FrameRef>> {
    if at.saturating_add(u64::from(NOTE_BYTES)) > size {
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
    use crate::model::{Channel, Line, Origin, Timestamp};

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
        assert_eq!(read_proof(&file, &row).unwrap(), None, "frames of an earlier version have none");
    }

    #[test]
    fn the_form_of_a_proof_stays() {
        let line = |n: u64, text: &'static str| Line {
            n,
            id: EntryId::new(1_778_336_581_000, n),
            timestamp: Timestamp::from_millis(1_778_336_580_999),
            channel: Channel::Internal,
            line: text.into(),
            partial: false,
            lossy: false,
        };
        let mut proof = FrameMetadata::default();
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
            proof.origins.push(origin);
            proof.tally.add(origin, &line(n, text), &mut buffer);
        }
        let kept = codec::golden::check("v1", "archive_proof", &encode_proof(&proof).unwrap());
        let note_bytes = NOTE_BYTES + u32::try_from(kept.len()).unwrap();
        let row = FrameRef { note_bytes, lines: 6, ..FrameRef::default() };
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&kept, u64::from(NOTE_BYTES)).unwrap();
        assert_eq!(read_proof(&file, &row).unwrap().as_ref(), Some(&proof));
        // Every bit of it counts.
        for bit in (0..kept.len() * 8).step_by(5) {
            let mut flipped = kept.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            file.write_all_at(&flipped, u64::from(NOTE_BYTES)).unwrap();
            let read = read_proof(&file, &row);
            assert!(read.as_ref().map_or(true, |found| found.as_ref() != Some(&proof)), "bit {bit}");
        }
    }
}
