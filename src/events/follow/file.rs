//! One open file: its whole lines in order, and a check that its content has not been replaced.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use memchr::{memmem, memrchr};
use serde::{Deserialize, Serialize};

use super::{BATCH_BYTES, LINE_HELD_BYTES_MAX};

/// Bytes at the start of a file that are compared to recognize it.
const HEAD_BYTES: usize = 256;
/// Bytes just before the read position that are compared.
const TAIL_BYTES: usize = 1024;
/// Block size for the backward search for the start of an incomplete line.
const BACK_BYTES: usize = 64 * 1024;

/// A newline in UTF-16, little endian.
const UTF16_NEWLINE: &[u8] = b"\n\0";

/// The identity of a file regardless of its name. If a later file reuses the inode number, its
/// creation time differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Device number of the file system.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Creation time in nanoseconds since 1970, if the file system records it.
    pub born_ns: Option<u128>,
}

impl FileIdentity {
    pub(in crate::events) fn of(metadata: &Metadata) -> Self {
        let born_ns = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Self { device: metadata.dev(), inode: metadata.ino(), born_ns: born_ns.map(|born| born.as_nanos()) }
    }
}

/// The file that has a name at present.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedFile {
    pub(super) identity: FileIdentity,
    pub(super) bytes: u64,
}

impl NamedFile {
    pub(super) fn stat(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { identity: FileIdentity::of(&metadata), bytes: metadata.len() })
    }
}

/// The result of a read.
#[derive(Debug)]
pub(super) enum FileRead {
    /// Whole lines.
    Lines { bytes: Bytes, offset: u64 },
    /// The first part of a line that is too long to hold in memory.
    TooLong { part: Bytes, offset: u64 },
    /// No new whole line.
    Nothing,
    /// The file has fewer bytes than were read.
    Truncated,
    /// The bytes that were read are no longer in the file.
    Replaced,
}

/// An open file and a read position.
#[derive(Debug)]
pub(super) struct FileReader {
    file: File,
    identity: FileIdentity,
    /// Bytes returned.
    offset: u64,
    /// Bytes read after `offset`: an incomplete line.
    pending: Vec<u8>,
    /// `pending` continues a line that is returned in parts.
    in_parts: bool,
    /// The first bytes of the file, and the last ones before the read position, as they were read.
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl FileReader {
    /// Opens a regular file at its first byte.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Checked before the open: opening a pipe would block until it has a writer.
        if !std::fs::metadata(path)?.is_file() {
            let why = "not a regular file; pipe other sources into `tasktail append`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let file = File::open(path)?;
        let identity = FileIdentity::of(&file.metadata()?);
        let (pending, head, tail) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { file, identity, offset: 0, pending, in_parts: false, head, tail })
    }

    /// Moves to the end, or to the start of a last line without a newline.
    pub(super) fn skip_to_last_line(&mut self) -> io::Result<()> {
        let end = self.file.metadata()?.len();
        let least = end.saturating_sub(LINE_HELD_BYTES_MAX as u64);
        let (mut upper, mut begin) = (end, end);
        while upper > least {
            let lower = upper.saturating_sub(BACK_BYTES as u64).max(least);
            let block = self.bytes_at(lower, upper)?;
            if let Some(newline) = memrchr(b'\n', &block) {
                begin = lower + newline as u64 + 1;
                break;
            }
            // The line starts with the file. A line longer than the limit is skipped.
            begin = if lower == 0 { 0 } else { end };
            upper = lower;
        }
        self.offset = begin;
        self.head = self.bytes_at(0, begin.min(HEAD_BYTES as u64))?;
        self.tail = self.bytes_at(begin.saturating_sub(TAIL_BYTES as u64), begin)?;
        Ok(())
    }

    pub(super) fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// Returns the number of bytes returned.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the read position, including an incomplete line.
    pub(super) fn position(&self) -> u64 {
        self.offset + self.pending.len() as u64
    }

    pub(super) fn into_partial_line(self) -> Bytes {
        self.pending.into()
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// Returns the bytes from `lower` to `upper`, or fewer at the end of the file.
    pub(super) fn bytes_at(&self, lower: u64, upper: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(upper.saturating_sub(lower)).unwrap_or_default()];
        let mut filled = 0;
        while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
            match self.file.read_at(room, lower + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Returns the next whole lines.
    pub(super) fn read(&mut self) -> io::Result<FileRead> {
        loop {
            let (position, end) = (self.position(), self.file.metadata()?.len());
            if end < position {
                return Ok(FileRead::Truncated);
            }
            if end == position {
                return Ok(if self.is_unchanged()? { FileRead::Nothing } else { FileRead::Replaced });
            }
            let bytes = self.bytes_at(position, end.min(position + BATCH_BYTES as u64))?;
            // Checked after the read, so a rewrite before or during the read is detected.
            if !self.is_unchanged()? {
                let shorter = self.file.metadata()?.len() < position;
                return Ok(if shorter { FileRead::Truncated } else { FileRead::Replaced });
            }
            if bytes.is_empty() {
                return Ok(FileRead::Nothing);
            }
            if let Some(read) = self.push_bytes(&bytes) {
                return Ok(read);
            }
        }
    }

    /// Adds bytes that were read, and returns lines that are now complete.
    fn push_bytes(&mut self, bytes: &[u8]) -> Option<FileRead> {
        self.record(bytes);
        let known = self.pending.len();
        self.pending.extend_from_slice(bytes);
        let whole = if self.is_utf16() {
            let from = known.saturating_sub(1);
            memmem::rfind(self.pending.get(from..).unwrap_or_default(), UTF16_NEWLINE).map(|newline| from + newline + 2)
        } else {
            memrchr(b'\n', bytes).map(|newline| known + newline + 1)
        };
        let offset = self.offset;
        if let Some(whole) = whole {
            self.in_parts = false;
            return Some(FileRead::Lines { bytes: self.split_off(whole), offset });
        }
        if self.pending.len() < LINE_HELD_BYTES_MAX {
            return None;
        }
        let part = self.split_off(self.pending.len());
        let continues = std::mem::replace(&mut self.in_parts, true);
        Some(if continues { FileRead::Lines { bytes: part, offset } } else { FileRead::TooLong { part, offset } })
    }

    /// Reports whether this is UTF-16, little endian, whose newline is two bytes.
    fn is_utf16(&self) -> bool {
        self.head.starts_with(b"\xff\xfe")
    }

    fn split_off(&mut self, bytes: usize) -> Bytes {
        let rest = self.pending.split_off(bytes);
        self.offset += bytes as u64;
        std::mem::replace(&mut self.pending, rest).into()
    }

    fn record(&mut self, bytes: &[u8]) {
        let room = HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        let last = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        let over = (self.tail.len() + last.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..over);
        self.tail.extend_from_slice(last);
    }

    /// Reports whether the bytes that were read are still in the file.
    pub(super) fn is_unchanged(&self) -> io::Result<bool> {
        self.is_in(self)
    }

    fn is_in(&self, other: &FileReader) -> io::Result<bool> {
        let position = self.position();
        let tail = other.bytes_at(position.saturating_sub(self.tail.len() as u64), position)?;
        Ok(tail == self.tail && other.bytes_at(0, self.head.len() as u64)? == self.head)
    }

    /// Reports whether `other`, of `bytes` bytes, was copied from this file while it contained what
    /// was read, or before.
    pub(super) fn was_copied_to(&self, other: &FileReader, bytes: u64) -> bool {
        if bytes >= self.position() {
            return self.is_in(other).unwrap_or(false);
        }
        other.bytes_at(0, bytes.min(HEAD_BYTES as u64)).is_ok_and(|head| self.head.starts_with(&head))
    }

    /// Returns a reader at the same position of a copy.
    pub(super) fn resume_in(&self, copy: FileReader) -> Self {
        let (pending, head, tail) = (self.pending.clone(), self.head.clone(), self.tail.clone());
        Self { offset: self.offset, in_parts: self.in_parts, pending, head, tail, ..copy }
    }

    /// Moves to the first byte. Returns the incomplete line, as [`FileReader::end_line`].
    pub(super) fn restart(&mut self) -> Option<(Bytes, u64)> {
        let torn = self.end_line();
        self.offset = 0;
        self.head.clear();
        self.tail.clear();
        torn
    }

    /// Ends the incomplete line: returns it with a newline added, and its offset.
    pub(super) fn end_line(&mut self) -> Option<(Bytes, u64)> {
        let mut torn = std::mem::take(&mut self.pending);
        let offset = self.offset;
        self.offset += torn.len() as u64;
        let ends_a_line = std::mem::take(&mut self.in_parts) || !torn.is_empty();
        ends_a_line.then(|| {
            let newline = if self.is_utf16() { UTF16_NEWLINE } else { b"\n" };
            torn.extend_from_slice(newline);
            (Bytes::from(torn), offset)
        })
    }
}

/// Maps "not found" errors to `None`.
pub(super) fn ignore_not_found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}
