//! The segment files of a store: their names, their headers, and reading blocks from them.
//!
//! ```text
//! segment.NUMBER   header, frames (see `frame`)
//! header  "tasktail"  version (u8)  kind (u8)  0 0  salt (u32)  number (u64)  first frame (u64)  CRC-32 (u32)
//! ```
//!
//! A segment of kind `L` is a part of the log of commits. One of kind `C` has copies of blocks, whose new positions are
//! in the log. A segment is written once, from its start to its end, and then *sealed*: it never changes again, and is
//! removed when no block in it is live. Numbers increase, and are not reused while a row may refer to one.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use ulid::Ulid;

use super::StoreError;
use super::folder::{FILE_MODE, sync_folder};
use super::position::BlockPosition;

/// Start of a segment's file name. Its number follows.
const NAME: &str = "segment.";
const MAGIC: &[u8; 8] = b"tasktail";
const VERSION: u8 = 1;
/// Length of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: usize = 36;
/// Maximum number of sealed segments that are kept open.
const OPEN_FILES_MAX: usize = 64;

/// The purpose of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentKind {
    /// Part of the log of commits.
    Log,
    /// Copies of live blocks of other segments.
    Copies,
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) kind: SegmentKind,
    /// Random number with which the CRC of every frame starts.
    pub(super) salt: u32,
    pub(super) number: u64,
    /// Number of the first frame.
    pub(super) first_frame: u64,
}

impl SegmentHeader {
    fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = VERSION;
        bytes[9] = match self.kind {
            SegmentKind::Log => b'L',
            SegmentKind::Copies => b'C',
        };
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_frame.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..32]);
        bytes[32..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Option<Self> {
        let word = |at: usize| bytes[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        let long = |at: usize| bytes[at..].first_chunk().map_or(0, |long| u64::from_le_bytes(*long));
        let kind = match bytes[9] {
            b'L' => SegmentKind::Log,
            b'C' => SegmentKind::Copies,
            _ => return None,
        };
        let is_valid = bytes.starts_with(MAGIC) && bytes[8] == VERSION && word(32) == crc32fast::hash(&bytes[..32]);
        is_valid.then(|| Self { kind, salt: word(12), number: long(16), first_frame: long(24) })
    }
}

/// A segment that is being written.
#[derive(Debug)]
pub(super) struct NewSegment {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<File>,
}

/// A segment as of now.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentState {
    pub(super) number: u64,
    /// Bytes of the file; of a segment that is being written, those that were used at least.
    pub(super) bytes: u64,
    /// The frame that sled must have before the segment can be removed; `None` while it is being written.
    pub(super) last_frame: Option<u64>,
}

#[derive(Debug)]
struct SegmentEntry {
    state: SegmentState,
    file: Option<Arc<File>>,
}

/// All segments of a store. Shared by readers, the log and compaction.
#[derive(Debug)]
pub(super) struct Segments {
    folder: PathBuf,
    /// Locked briefly, and while a file is opened.
    entries: Mutex<BTreeMap<u64, SegmentEntry>>,
    /// Number of the next segment.
    next: Mutex<u64>,
}

impl Segments {
    /// Lists the segments in a folder. Returns those of the log with their headers, in order. A file without a whole
    /// header is the rest of a kill while it was created, and is removed.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Vec<SegmentHeader>)> {
        let (mut entries, mut headers) = (BTreeMap::new(), Vec::new());
        let mut next = 1;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(number) = name.to_str().and_then(segment_number) else { continue };
            next = next.max(number + 1);
            let file = File::open(entry.path())?;
            let bytes = file.metadata()?.len();
            if bytes <= SEGMENT_HEADER_BYTES as u64 {
                fs::remove_file(entry.path())?;
                continue;
            }
            let mut header = [0; SEGMENT_HEADER_BYTES];
            file.read_exact_at(&mut header, 0)?;
            let header = SegmentHeader::decode(&header).filter(|header| header.number == number);
            if header.is_none() {
                tracing::error!(segment = %entry.path().display(), "the header of a segment is damaged; its commits cannot be replayed");
            }
            headers.extend(header.filter(|header| header.kind == SegmentKind::Log));
            // Without a header it is kept for ever: blocks can still be read from it.
            let last_frame = Some(if header.is_some() { 0 } else { u64::MAX });
            let state = SegmentState { number, bytes, last_frame };
            entries.insert(number, SegmentEntry { state, file: None });
        }
        headers.sort_by_key(|header| header.number);
        Ok((Self { folder: folder.to_owned(), entries: Mutex::new(entries), next: Mutex::new(next) }, headers))
    }

    /// Creates a segment, with a durable name and header.
    pub(super) fn create(&self, kind: SegmentKind, first_frame: u64) -> io::Result<NewSegment> {
        let mut next = self.next.lock();
        let number = *next;
        let salt = u32::try_from(Ulid::generate().random() & u128::from(u32::MAX)).unwrap_or(0);
        let header = SegmentHeader { kind, salt, number, first_frame };
        let path = self.path(number);
        let made = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(FILE_MODE).open(&path);
        let made = made.and_then(|file| {
            file.write_all_at(&header.encode(), 0)?;
            file.sync_all()?;
            sync_folder(&self.folder)?;
            Ok(Arc::new(file))
        });
        // Even after a failure: a later segment must not be taken for what is left of this one.
        *next += 1;
        let file = made.inspect_err(|_| {
            fs::remove_file(&path).ok();
        })?;
        let state = SegmentState { number, bytes: SEGMENT_HEADER_BYTES as u64, last_frame: None };
        self.entries.lock().insert(number, SegmentEntry { state, file: Some(file.clone()) });
        Ok(NewSegment { header, file })
    }

    /// Reads a block. Returns `None` if its segment was removed since the position was found: the block was removed, or
    /// has another position now.
    pub(super) fn read(&self, at: &BlockPosition) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.file(at.segment).map_err(|error| StoreError::Sled(error.into()))? else {
            return Ok(None);
        };
        let mut contents = vec![0; at.bytes as usize];
        file.read_exact_at(&mut contents, at.offset).map_err(|error| self.unreadable(at, &error.to_string()))?;
        match crc32fast::hash(&contents) == at.crc {
            true => Ok(Some(contents)),
            false => Err(self.unreadable(at, "its checksum is wrong")),
        }
    }

    fn unreadable(&self, at: &BlockPosition, what: &str) -> StoreError {
        let at = format!("offset {} of {}", at.offset, self.path(at.segment).display());
        StoreError::Damaged { at, what: what.to_owned() }
    }

    /// Returns the file of a segment, opening it if necessary; `None` if there is none.
    pub(super) fn file(&self, number: u64) -> io::Result<Option<Arc<File>>> {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(&number) else { return Ok(None) };
        if let Some(file) = &entry.file {
            return Ok(Some(file.clone()));
        }
        let file = Arc::new(File::open(self.path(number))?);
        entry.file = Some(file.clone());
        let is_closable = |entry: &&mut SegmentEntry| entry.file.is_some() && entry.state.last_frame.is_some();
        if entries.values().filter(|entry| entry.file.is_some()).count() > OPEN_FILES_MAX
            && let Some(other) = entries.values_mut().find(|entry| is_closable(entry) && entry.state.number != number)
        {
            other.file = None;
        }
        Ok(Some(file))
    }

    /// Returns the file of a segment and the salt of its frames; `None` if there is none.
    pub(super) fn file_and_salt(&self, number: u64) -> io::Result<Option<(Arc<File>, u32)>> {
        let Some(file) = self.file(number)? else { return Ok(None) };
        let mut header = [0; SEGMENT_HEADER_BYTES];
        file.read_exact_at(&mut header, 0)?;
        Ok(SegmentHeader::decode(&header).map(|header| (file, header.salt)))
    }

    /// Records the bytes used of a segment that is being written.
    pub(super) fn set_bytes(&self, number: u64, bytes: u64) {
        if let Some(entry) = self.entries.lock().get_mut(&number) {
            entry.state.bytes = bytes;
        }
    }

    /// Records that a segment of `bytes` bytes will not change. It can be removed once sled has the frame `last_frame`.
    pub(super) fn set_sealed(&self, number: u64, bytes: u64, last_frame: u64) {
        if let Some(entry) = self.entries.lock().get_mut(&number) {
            (entry.state.bytes, entry.state.last_frame) = (bytes, Some(last_frame));
        }
    }

    /// Returns all segments, in order.
    pub(super) fn states(&self) -> Vec<SegmentState> {
        self.entries.lock().values().map(|entry| entry.state).collect()
    }

    /// Removes a segment, in which no row of sled has a block.
    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        self.entries.lock().remove(&number);
        fs::remove_file(self.path(number))
    }

    /// Links the sealed segments with frames up to `applied` into a folder, or copies those that cannot be linked.
    pub(super) fn link_sealed(&self, folder: &Path, applied: u64) -> io::Result<()> {
        // One without a header may be needed too.
        let is_needed =
            |state: &SegmentState| state.last_frame.is_some_and(|frame| frame <= applied || frame == u64::MAX);
        for state in self.states().into_iter().filter(is_needed) {
            let (from, to) = (self.path(state.number), folder.join(segment_name(state.number)));
            if fs::hard_link(&from, &to).is_err() {
                fs::copy(&from, &to)?;
            }
        }
        Ok(())
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.folder.join(segment_name(number))
    }
}

fn segment_name(number: u64) -> String {
    format!("{NAME}{number:010}")
}

/// Returns the number of the segment with this file name.
fn segment_number(name: &str) -> Option<u64> {
    name.strip_prefix(NAME)?.parse().ok()
}
