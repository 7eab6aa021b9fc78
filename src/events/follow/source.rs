//! One open file: its whole lines in order, and whether it is still the one that was read.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use memchr::memrchr;

use super::{BATCH_BYTES, LINE_HELD_BYTES_MAX};

/// Bytes from a file's begin that are compared to know it again.
const HEAD_BYTES: usize = 256;
/// Bytes just before the place of reading that are compared.
const TAIL_BYTES: usize = 1024;
/// Read at once on the way back to the begin of a half line.
const BACK_BYTES: usize = 64 * 1024;

/// Which file it is, whatever its name: another one that is made later with the same number was
/// born later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// The file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970; none where the file system does not say.
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
pub(super) struct Named {
    pub(super) identity: FileIdentity,
    pub(super) bytes: u64,
}

impl Named {
    pub(super) fn look(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self { identity: FileIdentity::of(&metadata), bytes: metadata.len() })
    }
}

/// What a read gave.
#[derive(Debug)]
pub(super) enum Read {
    /// Whole lines.
    Lines { bytes: Bytes, offset: u64 },
    /// The first part of a line that is too long to be held.
    TooLong { part: Bytes, offset: u64 },
    /// Nothing that is whole.
    Nothing,
    /// The file has fewer bytes than were read.
    Shorter,
    /// The bytes that were read are no longer those of the file.
    Other,
}

/// An open file, read up to a place.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    identity: FileIdentity,
    /// Bytes that were given.
    offset: u64,
    /// What was read behind them: a line whose newline has not come.
    pending: Vec<u8>,
    /// Whether `pending` goes on with a line that is given in parts.
    in_parts: bool,
    /// The first bytes of the file, and the last ones before the place of reading, as they were read.
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Source {
    /// At the file's begin.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Asked before it is opened: opening a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            let why = "it is not a regular file; pipe other sources into `tasktail append`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let file = File::open(path)?;
        let identity = FileIdentity::of(&file.metadata()?);
        let (pending, head, tail) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { file, identity, offset: 0, pending, in_parts: false, head, tail })
    }

    /// Goes to the end, or to the begin of the last line if that has no newline yet.
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
            // A line from the file's begin on; one that is longer than is ever held is cut here.
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

    /// Bytes that were given.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that were read, those of a half line with them.
    pub(super) fn position(&self) -> u64 {
        self.offset + self.pending.len() as u64
    }

    pub(super) fn into_unfinished(self) -> Bytes {
        self.pending.into()
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    /// The bytes from `lower` to `upper`, fewer if the file ends before.
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

    /// The next whole lines.
    pub(super) fn read(&mut self) -> io::Result<Read> {
        loop {
            let (place, end) = (self.position(), self.file.metadata()?.len());
            if end < place {
                return Ok(Read::Shorter);
            }
            if end == place {
                return Ok(if self.is_same()? { Read::Nothing } else { Read::Other });
            }
            let bytes = self.bytes_at(place, end.min(place + BATCH_BYTES as u64))?;
            // After the read: had the file been rewritten before or during it, it is seen here.
            if !self.is_same()? {
                let shorter = self.file.metadata()?.len() < place;
                return Ok(if shorter { Read::Shorter } else { Read::Other });
            }
            if bytes.is_empty() {
                return Ok(Read::Nothing);
            }
            if let Some(read) = self.take(&bytes) {
                return Ok(read);
            }
        }
    }

    /// Takes bytes that were read; gives what has become whole.
    fn take(&mut self, bytes: &[u8]) -> Option<Read> {
        self.remember(bytes);
        let whole = memrchr(b'\n', bytes).map(|newline| self.pending.len() + newline + 1);
        self.pending.extend_from_slice(bytes);
        let offset = self.offset;
        if let Some(whole) = whole {
            self.in_parts = false;
            return Some(Read::Lines { bytes: self.give(whole), offset });
        }
        if self.pending.len() < LINE_HELD_BYTES_MAX {
            return None;
        }
        let part = self.give(self.pending.len());
        let goes_on = std::mem::replace(&mut self.in_parts, true);
        Some(if goes_on { Read::Lines { bytes: part, offset } } else { Read::TooLong { part, offset } })
    }

    fn give(&mut self, bytes: usize) -> Bytes {
        let rest = self.pending.split_off(bytes);
        self.offset += bytes as u64;
        std::mem::replace(&mut self.pending, rest).into()
    }

    fn remember(&mut self, bytes: &[u8]) {
        let room = HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        let last = bytes.get(bytes.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        let over = (self.tail.len() + last.len()).saturating_sub(TAIL_BYTES);
        self.tail.drain(..over);
        self.tail.extend_from_slice(last);
    }

    /// Whether the bytes that were read still stand in the file.
    fn is_same(&self) -> io::Result<bool> {
        self.stands_in(self)
    }

    fn stands_in(&self, other: &Source) -> io::Result<bool> {
        let place = self.position();
        let tail = other.bytes_at(place.saturating_sub(self.tail.len() as u64), place)?;
        Ok(tail == self.tail && other.bytes_at(0, self.head.len() as u64)? == self.head)
    }

    /// Whether `other`, of so many bytes, was copied from this file when what was read stood in it,
    /// or before.
    pub(super) fn was_copied_to(&self, other: &Source, bytes: u64) -> bool {
        if bytes >= self.position() {
            return self.stands_in(other).unwrap_or(false);
        }
        other.bytes_at(0, bytes.min(HEAD_BYTES as u64)).is_ok_and(|head| self.head.starts_with(&head))
    }

    /// The place of reading in a copy of the file.
    pub(super) fn resumed_in(&self, copy: Source) -> Self {
        let (pending, head, tail) = (self.pending.clone(), self.head.clone(), self.tail.clone());
        Self { offset: self.offset, in_parts: self.in_parts, pending, head, tail, ..copy }
    }

    /// Goes back to the begin. Gives the half line that was at hand, as [`Source::end_line`].
    pub(super) fn restart(&mut self) -> Option<(Bytes, u64)> {
        let torn = self.end_line();
        self.offset = 0;
        self.head.clear();
        self.tail.clear();
        torn
    }

    /// The half line at hand has come to its end: gives it, with a newline, and its place.
    pub(super) fn end_line(&mut self) -> Option<(Bytes, u64)> {
        let mut torn = std::mem::take(&mut self.pending);
        let offset = self.offset;
        self.offset += torn.len() as u64;
        let ends_a_line = std::mem::take(&mut self.in_parts) || !torn.is_empty();
        ends_a_line.then(|| {
            torn.push(b'\n');
            (Bytes::from(torn), offset)
        })
    }
}

/// `None` for what is not there (yet, or any more).
pub(super) fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}
