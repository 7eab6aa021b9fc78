//! Sealing: verdict, index and seek table are appended, and the file receives its final name.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sha2::{Digest, Sha256};

use super::frame::{self, FrameHeader, INDEX_MAGIC, SKIPPABLE_HEADER_BYTES};
use super::{Archive, ArchiveError, ArchiveFolder, FrameWriter, Frames};
use crate::model::{Artifact, Integrity};
use crate::store::codec;

/// zstd's seekable format: magic numbers of the table's skippable frame, and at its end.
const SEEK_TABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
const SEEK_FOOTER_BYTES: u64 = 9;
/// Magic number of a verdict's skippable frame, and its maximum length.
const VERDICT_MAGIC: u32 = 0x184D_2A53;
const VERDICT_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of the index's length, stored at its end.
const INDEX_FOOTER_BYTES: u64 = 4;

impl Archive {
    /// Appends the lines pushed so far, the verdict, index and seek table, makes all of it durable with one sync of the
    /// file, and renames it. `verdict` compares the log with what its worker reported. Returns the file's size and
    /// SHA-256, also for an archive that is already sealed.
    ///
    /// # Errors
    /// The lines pushed since the last sync are discarded: push them again.
    pub fn seal(&self, verdict: Option<&Integrity>) -> Result<Artifact, ArchiveError> {
        let mut writer = self.writer.lock();
        if !self.is_sealed() {
            self.seal_file(&mut writer, verdict)?;
        }
        let sha256 = hash(&self.sealed).map_err(|e| self.error("read", e))?;
        Ok(Artifact { bytes: writer.len, sha256 })
    }

    fn seal_file(&self, writer: &mut FrameWriter, verdict: Option<&Integrity>) -> Result<(), ArchiveError> {
        let renamed = self.write_frame(writer).and_then(|()| {
            let file = self.file_for_write(writer)?;
            let headers = [&self.frames.read().headers[..], &writer.unpublished].concat();
            // An attempt that failed after the rename has written the tail there before.
            let at = headers.last().map_or(0, FrameHeader::end);
            let done = write_tail(&file, &headers, verdict, at).and_then(|len| {
                file.sync_all()?;
                self.rename()?;
                Ok(len)
            });
            done.map_err(|source| self.error("seal", source))
        });
        let len = match renamed {
            Ok(len) => len,
            Err(error) => {
                // Once renamed, the file must stay complete.
                if !self.sealed.is_file() {
                    self.truncate_unsynced(writer);
                }
                return Err(error);
            }
        };
        // The lines are durable, but not the name: the journal must keep them until `sync_name` succeeds.
        self.publish(writer);
        writer.name_unsynced = true;
        self.sync_name(writer)?;
        self.folder.usage.resized(writer.len, len);
        writer.len = len;
        self.frames.write().sealed = true;
        Ok(())
    }

    /// Renames the file to its final name, unless an earlier attempt already did.
    fn rename(&self) -> io::Result<()> {
        match fs::rename(&self.growing, &self.sealed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.sealed.is_file() => Ok(()),
            done => done,
        }
    }

    /// Replaces the growing file by the sealed one, which another process has written.
    pub fn become_sealed(&self) -> Result<(), ArchiveError> {
        let sealed = Self::open_sealed(self.sealed.clone(), self.folder.clone())?;
        let mut writer = self.writer.lock();
        let before = std::mem::replace(&mut *writer, sealed.writer.into_inner()).len;
        *self.frames.write() = sealed.frames.into_inner();
        self.drop_cache();
        match fs::remove_file(&self.growing) {
            Ok(()) => self.folder.usage.resized(before, 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.error("remove", error)),
        }
        Ok(())
    }

    /// Forgets all lines. The growing file must be removed.
    pub fn clear(&self) {
        *self.writer.lock() = FrameWriter::default();
        *self.frames.write() = Frames::default();
        self.drop_cache();
    }

    /// Opens a sealed archive.
    pub(super) fn open_sealed(sealed: PathBuf, folder: Arc<ArchiveFolder>) -> Result<Self, ArchiveError> {
        let file =
            File::open(&sealed).map_err(|source| ArchiveError::Io { path: sealed.clone(), doing: "open", source })?;
        let read = read_index(&file).and_then(|headers| Ok((headers, file.metadata()?.len())));
        let (headers, len) = read.map_err(|e| ArchiveError::Damaged { path: sealed.clone(), what: e.to_string() })?;
        let missing = frame::missing_lines(&headers);
        let archive = Self {
            growing: sealed.with_extension("zst.open"),
            sealed,
            writer: parking_lot::Mutex::new(FrameWriter::new(len)),
            frames: parking_lot::RwLock::new(Frames {
                file: Some(Arc::new(file)),
                headers,
                sealed: true,
                missing,
                ..Frames::default()
            }),
            cache: parking_lot::Mutex::default(),
            error_logged: AtomicBool::default(),
            folder,
        };
        Ok(archive)
    }

    /// Returns the verdict of a sealed archive; `None` if an earlier version sealed it.
    pub fn verdict(&self) -> Option<Integrity> {
        let frames = self.frames.read();
        let file = frames.file.as_ref().filter(|_| frames.sealed)?;
        read_verdict(file, frames.headers.last().map_or(0, FrameHeader::end)).ok().flatten()
    }
}

/// Reads the verdict, if there is one at this offset.
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

fn write_tail(file: &File, headers: &[FrameHeader], verdict: Option<&Integrity>, at: u64) -> io::Result<u64> {
    let tail = encode_tail(headers, verdict)?;
    file.write_all_at(&tail, at)?;
    Ok(at + tail.len() as u64)
}

/// Encodes what the seal appends after the last frame.
pub(super) fn encode_tail(headers: &[FrameHeader], verdict: Option<&Integrity>) -> io::Result<Vec<u8>> {
    let verdict = match verdict {
        Some(verdict) => frame::skippable(VERDICT_MAGIC, &serde_json::to_vec(verdict)?)?,
        None => Vec::new(),
    };
    let mut index = Vec::new();
    codec::append(&mut index, headers).map_err(io::Error::other)?;
    let len = u32::try_from(index.len()).map_err(io::Error::other)?;
    index.extend_from_slice(&len.to_le_bytes());
    let index = frame::skippable(INDEX_MAGIC, &index)?;

    let mut table = Vec::new();
    let mut count = 0u32;
    let mut push_row = |compressed: u32, raw: u32| {
        table.extend_from_slice(&compressed.to_le_bytes());
        table.extend_from_slice(&raw.to_le_bytes());
        count += 1;
    };
    for header in headers {
        push_row(header.prefix_bytes, 0);
        push_row(header.compressed_bytes, header.raw_bytes);
    }
    for tail in [&verdict, &index] {
        if !tail.is_empty() {
            push_row(u32::try_from(tail.len()).map_err(io::Error::other)?, 0);
        }
    }
    table.extend_from_slice(&count.to_le_bytes());
    table.push(0);
    table.extend_from_slice(&SEEKABLE_MAGIC.to_le_bytes());
    Ok([verdict, index, frame::skippable(SEEK_TABLE_MAGIC, &table)?].concat())
}

/// Reads the index of a sealed archive.
pub(super) fn read_index(file: &File) -> io::Result<Vec<FrameHeader>> {
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
    let headers: Vec<FrameHeader> =
        serde::Deserialize::deserialize(&mut reader).map_err(|e| invalid(&format!("cannot decode its index: {e}")))?;
    let before = std::iter::once(None).chain(headers.iter().map(Some));
    if !headers.iter().zip(before).all(|(header, before)| header.follows(before) && header.end() <= size) {
        return Err(invalid("its index lists missing frames"));
    }
    Ok(headers)
}

/// Returns the SHA-256 of a file, in hexadecimal.
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
    fn seal_format_is_stable() {
        let header = FrameHeader {
            offset: 0,
            prefix_bytes: 96,
            compressed_bytes: 300,
            raw_bytes: 131_072,
            first_line: 1,
            lines: 1_000,
            first_id: EntryId::new(1_778_336_581_000, 3),
            last_id: EntryId::new(1_778_336_581_999, 0),
        };
        let next = FrameHeader { offset: header.end(), first_line: 1_001, lines: 7, ..header };
        let verdict = Integrity {
            state: IntegrityState::Incomplete,
            lines: 1_006,
            hash: Some("xxh3-128-sum:0".into()),
            reported_lines: Some(1_006),
            reported_hash: None,
            missing_lines: 15,
            missing: vec![MissingLines { from: 7, to: 7, reason: GapReason::Skipped, count: 15 }],
        };
        // The first version wrote no verdict.
        for (version, verdict) in [("v1", None), ("v2", Some(verdict))] {
            let file = tempfile::tempfile().unwrap();
            let len = write_tail(&file, &[header, next], verdict.as_ref(), next.end()).unwrap();
            let mut tail = vec![0; usize::try_from(len - next.end()).unwrap()];
            file.read_exact_at(&mut tail, next.end()).unwrap();
            let stored = codec::golden::check(version, "archive_tail", &tail);
            file.write_all_at(&stored, next.end()).unwrap();
            assert_eq!(read_index(&file).unwrap(), [header, next]);
            assert_eq!(read_verdict(&file, next.end()).unwrap(), verdict);
        }
    }
}
