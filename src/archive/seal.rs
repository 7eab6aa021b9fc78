//! The seal: index, seek table, SHA-256, and the final name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::frame::{self, FrameRef, INDEX_MAGIC, SKIPPABLE_HEADER_BYTES};
use super::{Archive, ArchiveError, Frames, Total, Writer, drop_middle};
use crate::model::Artifact;
use crate::store::codec;

/// zstd's seekable format: the table's skippable frame, and the magic number at its end.
const SEEK_TABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
const SEEK_FOOTER_BYTES: u64 = 9;
/// Bytes of the index's own length at its end.
const INDEX_FOOTER_BYTES: u64 = 4;

impl Archive {
    /// Completes the file, makes it durable and gives it its final name. What was pushed and not
    /// synced goes in. Sealing a sealed archive tells its facts again.
    pub fn seal(&self) -> Result<Artifact, ArchiveError> {
        self.sync()?;
        let mut writer = self.writer.lock();
        if !self.is_sealed() {
            let file = self.file_to_write(&mut writer)?;
            let rows = self.frames.read().rows.clone();
            let done = write_tail(&file, &rows, writer.len).and_then(|len| {
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

    pub(super) fn open_sealed(sealed: PathBuf, total: Arc<Total>) -> Result<Self, ArchiveError> {
        let file =
            File::open(&sealed).map_err(|source| ArchiveError::Io { path: sealed.clone(), doing: "opened", source })?;
        let read = read_index(&file).and_then(|rows| Ok((rows, file.metadata()?.len())));
        let (rows, len) = read.map_err(|e| ArchiveError::Damaged { path: sealed.clone(), what: e.to_string() })?;
        let missing = drop_middle::missing(&rows);
        let archive = Self {
            growing: sealed.with_extension("zst.open"),
            sealed,
            writer: parking_lot::Mutex::new(Writer { len, ..Writer::default() }),
            frames: parking_lot::RwLock::new(Frames { file: Some(Arc::new(file)), rows, sealed: true, missing }),
            cache: parking_lot::Mutex::default(),
            total,
        };
        Ok(archive)
    }
}

fn write_tail(file: &File, rows: &[FrameRef], at: u64) -> io::Result<u64> {
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
    row(u32::try_from(index.len()).map_err(io::Error::other)?, 0);
    table.extend_from_slice(&count.to_le_bytes());
    table.push(0);
    table.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    let tail = [index, frame::skippable(SEEK_TABLE_MAGIC, &table)?].concat();
    file.write_all_at(&tail, at)?;
    Ok(at + tail.len() as u64)
}

fn read_index(file: &File) -> io::Result<Vec<FrameRef>> {
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

fn hash(path: &std::path::Path) -> io::Result<String> {
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
    use crate::model::EntryId;

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
        let file = tempfile::tempfile().unwrap();
        let len = write_tail(&file, &[row, next], next.end()).unwrap();
        let mut tail = vec![0; usize::try_from(len - next.end()).unwrap()];
        file.read_exact_at(&mut tail, next.end()).unwrap();
        let kept = codec::golden::check("v1", "archive_tail", &tail);
        file.write_all_at(&kept, next.end()).unwrap();
        assert_eq!(read_index(&file).unwrap(), [row, next]);
    }
}
