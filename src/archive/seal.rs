//! The seal: index, seek table, SHA-256, and the final name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::frame::{self, FrameRef, INDEX_MAGIC, SKIPPABLE_HEADER_BYTES};
use super::{Archive, ArchiveError, DiskUsage, FrameWriter, Frames, truncate};
use crate::model::{Artifact, Integrity};
use crate::store::codec;

/// zstd's seekable format: the table's skippable frame, and the magic number at its end.
const SEEK_TABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
const SEEK_FOOTER_BYTES: u64 = 9;
/// The skippable frame of a verdict, and what one has at most.
const VERDICT_MAGIC: u32 = 0x184D_2A53;
const VERDICT_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of the index's own length at its end.
const INDEX_FOOTER_BYTES: u64 = 4;

impl Archive {
    /// Completes the file, makes it durable and gives it its final name. What was pushed and not
    /// synced goes in, and what came of comparing it with what the worker said. Sealing a sealed
    /// archive tells its facts again.
    pub fn seal(&self, verdict: Option<&Integrity>) -> Result<Artifact, ArchiveError> {
        self.sync()?;
        let mut writer = self.writer.lock();
        if !self.is_sealed() {
            let file = self.file_to_write(&mut writer)?;
            let rows = self.frames.read().rows.clone();
            let done = write_tail(&file, &rows, verdict, writer.len).and_then(|len| {
                file.sync_all()?;
                self.rename()?;
                self.sync_folder()?;
                Ok(len)
            });
            match done {
                Ok(len) => {
                    self.total.resized(writer.len, len);
                    writer.len = len;
                }
                Err(source) => {
                    // Under its final name it must stay whole.
                    if self.growing.exists() {
                        self.cut_back(&mut writer);
                    }
                    return Err(self.error("sealed", source));
                }
            }
            self.frames.write().sealed = true;
        }
        let sha256 = hash(&self.sealed).map_err(|e| self.error("read", e))?;
        Ok(Artifact { bytes: writer.len, sha256 })
    }

    /// Gives it its final name, unless an earlier attempt came so far.
    fn rename(&self) -> io::Result<()> {
        match fs::rename(&self.growing, &self.sealed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.sealed.is_file() => Ok(()),
            done => done,
        }
    }

    pub(super) fn open_sealed(sealed: PathBuf, total: Arc<DiskUsage>) -> Result<Self, ArchiveError> {
        let file =
            File::open(&sealed).map_err(|source| ArchiveError::Io { path: sealed.clone(), doing: "opened", source })?;
        let read = read_index(&file).and_then(|rows| Ok((rows, file.metadata()?.len())));
        let (rows, len) = read.map_err(|e| ArchiveError::Damaged { path: sealed.clone(), what: e.to_string() })?;
        let missing = truncate::missing(&rows);
        let archive = Self {
            growing: sealed.with_extension("zst.open"),
            sealed,
            writer: parking_lot::Mutex::new(FrameWriter { len, ..FrameWriter::default() }),
            frames: parking_lot::RwLock::new(Frames {
                file: Some(Arc::new(file)),
                rows,
                sealed: true,
                missing,
                ..Frames::default()
            }),
            cache: parking_lot::Mutex::default(),
            error_logged: Default::default(),
            total,
        };
        Ok(archive)
    }

    /// What came of comparing a sealed archive with what its worker said; `None` in one that was sealed
    /// by an earlier version.
    pub fn verdict(&self) -> Option<Integrity> {
        let frames = self.frames.read();
        let file = frames.file.as_ref().filter(|_| frames.sealed)?;
        read_verdict(file, frames.rows.last().map_or(0, FrameRef::end)).ok().flatten()
    }
}

/// The verdict, if there is one at this place.
pub(super) fn read_verdict(file: &File, at: u64) -> io::Result<Option<Integrity>> {
    let mut head = [0; frame::SKIPPABLE_HEADER_LEN];
    file.read_exact_at(&mut head, at)?;
    let [magic, len] = [&head[..4], &head[4..]].map(|word| word.try_into().map_or(0, u32::from_le_bytes));
    if magic != VERDICT_MAGIC {
        return Ok(None);
    }
    if u64::from(len) > VERDICT_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its verdict is too long"));
    }
    let mut json = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut json, at.saturating_add(SKIPPABLE_HEADER_BYTES))?;
    Ok(Some(serde_json::from_slice(&json)?))
}

fn write_tail(file: &File, rows: &[FrameRef], verdict: Option<&Integrity>, at: u64) -> io::Result<u64> {
    let tail = encode_tail(rows, verdict)?;
    file.write_all_at(&tail, at)?;
    Ok(at + tail.len() as u64)
}

/// What comes behind the last frame with the seal.
pub(super) fn encode_tail(rows: &[FrameRef], verdict: Option<&Integrity>) -> io::Result<Vec<u8>> {
    let verdict = match verdict {
        Some(verdict) => frame::skippable(VERDICT_MAGIC, &serde_json::to_vec(verdict)?)?,
        None => Vec::new(),
    };
    let mut index = Vec::new();
    codec::append(&mut index, rows).map_err(io::Error::other)?;
    let len = u32::try_from(index.len()).map_err(io::Error::other)?;
    index.extend_from_slice(&len.to_le_bytes());
    let index = frame::skippable(INDEX_MAGIC, &index)?;

    let mut table = Vec::new();
    let mut count = 0u32;
    let mut row = |packed: u32, raw: u32| {
        table.extend_from_slice(&packed.to_le_bytes());
        table.extend_from_slice(&raw.to_le_bytes());
        count += 1;
    };
    for frame in rows {
        row(frame.note_bytes, 0);
        row(frame.packed_bytes, frame.raw_bytes);
    }
    for tail in [&verdict, &index] {
        if !tail.is_empty() {
            row(u32::try_from(tail.len()).map_err(io::Error::other)?, 0);
        }
    }
    table.extend_from_slice(&count.to_le_bytes());
    table.push(0);
    table.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    Ok([verdict, index, frame::skippable(SEEK_TABLE_MAGIC, &table)?].concat())
}

pub(super) fn read_index(file: &File) -> io::Result<Vec<FrameRef>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let size = file.metadata()?.len();
    let word = |at: u64| {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, at).map(|()| u32::from_le_bytes(bytes))
    };
    let footer = size.checked_sub(SEEK_FOOTER_BYTES).ok_or_else(|| invalid("it is too short"))?;
    if word(footer + 5)? != SEEKABLE_MAGIC {
        return Err(invalid("it has no seek table at its end"));
    }
    let table = SKIPPABLE_HEADER_BYTES + u64::from(word(footer)?) * 8 + SEEK_FOOTER_BYTES;
    let end = size
        .checked_sub(table + INDEX_FOOTER_BYTES)
        .ok_or_else(|| invalid("its seek table is longer than the file"))?;
    let len = u64::from(word(end)?);
    let at = end.checked_sub(len).ok_or_else(|| invalid("its index is longer than the file"))?;
    let mut index = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_exact_at(&mut index, at)?;
    let mut reader = bincode::Deserializer::from_slice(&index, codec::options());
    let rows: Vec<FrameRef> =
        serde::Deserialize::deserialize(&mut reader).map_err(|e| invalid(&format!("its index cannot be read: {e}")))?;
    let before = std::iter::once(None).chain(rows.iter().map(Some));
    if !rows.iter().zip(before).all(|(row, before)| row.follows(before) && row.end() <= size) {
        return Err(invalid("its index names frames that are not there"));
    }
    Ok(rows)
}

pub(super) fn hash(path: &std::path::Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntryId, GapReason, IntegrityState, MissingLines};

    #[test]
    fn the_form_of_a_sealed_archives_end_stays() {
        let row = FrameRef {
            at: 0,
            note_bytes: 96,
            packed_bytes: 300,
            raw_bytes: 131_072,
            first_line: 1,
            lines: 1_000,
            first_id: EntryId::new(1_778_336_581_000, 3),
            last_id: EntryId::new(1_778_336_581_999, 0),
        };
        let next = FrameRef { at: row.end(), first_line: 1_001, lines: 7, ..row };
        let verdict = Integrity {
            state: IntegrityState::Incomplete,
            lines: 1_006,
            hash: Some("xxh3-128-sum:0".into()),
            reported_lines: Some(1_006),
            reported_hash: None,
            missing_lines: 15,
            missing: vec![MissingLines { from: 7, to: 7, reason: GapReason::Skipped, count: 15 }],
        };
        // An archive that was sealed by the first version has no verdict.
        for (version, verdict) in [("v1", None), ("v2", Some(verdict))] {
            let file = tempfile::tempfile().unwrap();
            let len = write_tail(&file, &[row, next], verdict.as_ref(), next.end()).unwrap();
            let mut tail = vec![0; usize::try_from(len - next.end()).unwrap()];
            file.read_exact_at(&mut tail, next.end()).unwrap();
            let kept = codec::golden::check(version, "archive_tail", &tail);
            file.write_all_at(&kept, next.end()).unwrap();
            assert_eq!(read_index(&file).unwrap(), [row, next]);
            assert_eq!(read_verdict(&file, next.end()).unwrap(), verdict);
        }
    }
}
