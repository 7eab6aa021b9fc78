//! A segment: a part of the log, in a file or in memory.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::record::MAGIC;

/// Extension of a named segment.
const EXTENSION: &str = "log";

/// The place in which segments are created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SegmentSource {
    /// Files without a name in this folder; the system removes them with the process.
    Anonymous(PathBuf),
    /// Files in a session's folder.
    Named(PathBuf),
    /// No file can be created.
    Memory,
}

/// A part of the log. Positions are those in the whole log.
#[derive(Debug)]
pub(super) struct Segment {
    /// Position of its first byte.
    pub(super) start: u64,
    data: SegmentData,
}

#[derive(Debug)]
enum SegmentData {
    File {
        file: File,
        /// Bytes before the first record.
        magic_bytes: u64,
        path: Option<PathBuf>,
    },
    Memory(Mutex<Vec<u8>>),
}

impl SegmentSource {
    /// Creates an empty segment at this position.
    pub(super) fn create(&self, start: u64) -> io::Result<Segment> {
        let data = match self {
            SegmentSource::Anonymous(folder) => {
                SegmentData::File { file: tempfile::tempfile_in(folder)?, magic_bytes: 0, path: None }
            }
            SegmentSource::Named(folder) => {
                let path = segment_path(folder, start);
                let file = OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path)?;
                if let Err(error) = file.write_all_at(MAGIC, 0) {
                    // An empty file is no segment; it would be in the way of the next attempt.
                    std::fs::remove_file(&path).ok();
                    return Err(error);
                }
                SegmentData::File { file, magic_bytes: MAGIC.len() as u64, path: Some(path) }
            }
            SegmentSource::Memory => SegmentData::Memory(Mutex::default()),
        };
        Ok(Segment { start, data })
    }
}

impl Segment {
    /// Creates an empty segment in memory.
    pub(super) fn in_memory(start: u64) -> Self {
        Self { start, data: SegmentData::Memory(Mutex::default()) }
    }

    /// Opens a named segment that an earlier process wrote. Returns it with the size of its file without the
    /// magic bytes; `None` if it is of another format.
    pub(super) fn open(path: &Path, start: u64) -> io::Result<Option<(Self, u64)>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut magic = [0; MAGIC.len()];
        let length = file.metadata()?.len();
        let valid = length >= MAGIC.len() as u64 && file.read_exact_at(&mut magic, 0).is_ok() && magic == *MAGIC;
        let data = SegmentData::File { file, magic_bytes: MAGIC.len() as u64, path: Some(path.to_owned()) };
        Ok(valid.then(|| (Self { start, data }, length - MAGIC.len() as u64)))
    }

    /// Reports whether it is in memory only.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self.data, SegmentData::Memory(_))
    }

    /// Writes `parts` at the position `at`, which is its end. After an error none of them counts.
    pub(super) fn append(&self, at: u64, parts: [&[u8]; 2]) -> io::Result<()> {
        match &self.data {
            SegmentData::File { file, magic_bytes, .. } => {
                let from = at - self.start + magic_bytes;
                let result = write_all(file, from, parts);
                if result.is_err() {
                    // If this fails too, a truncated record follows, which a reader ignores.
                    file.set_len(from).ok();
                }
                result
            }
            SegmentData::Memory(bytes) => {
                let mut bytes = bytes.lock();
                parts.iter().for_each(|part| bytes.extend_from_slice(part));
                Ok(())
            }
        }
    }

    /// Appends up to `length` bytes from the position `at` on to `buffer`. Returns their number.
    pub(super) fn read(&self, at: u64, length: usize, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let from = at - self.start;
        match &self.data {
            SegmentData::File { file, magic_bytes, .. } => {
                let before = buffer.len();
                buffer.resize(before + length, 0);
                let read = read_at(file, from + magic_bytes, buffer.get_mut(before..).unwrap_or_default());
                buffer.truncate(before + read.as_ref().map_or(0, |read| *read));
                read
            }
            SegmentData::Memory(bytes) => {
                let bytes = bytes.lock();
                let rest = usize::try_from(from).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
                let part = rest.get(..length.min(rest.len())).unwrap_or_default();
                buffer.extend_from_slice(part);
                Ok(part.len())
            }
        }
    }

    /// Removes everything from the position `at` on.
    pub(super) fn truncate(&self, at: u64) -> io::Result<()> {
        match &self.data {
            SegmentData::File { file, magic_bytes, .. } => file.set_len(at - self.start + magic_bytes),
            SegmentData::Memory(_) => Ok(()),
        }
    }

    /// Syncs it to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match &self.data {
            SegmentData::File { file, .. } => file.sync_data(),
            SegmentData::Memory(_) => Ok(()),
        }
    }

    /// Removes its name.
    pub(super) fn remove(&self) {
        if let SegmentData::File { path: Some(path), .. } = &self.data
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!(%error, path = %path.display(), "cannot remove a segment of the spool");
        }
    }
}

/// Returns the path of the segment that starts at this position.
pub(super) fn segment_path(folder: &Path, start: u64) -> PathBuf {
    folder.join(format!("{start:020}.{EXTENSION}"))
}

/// Returns the position in a segment's file name; `None` for another file.
pub(super) fn segment_start(name: &str) -> Option<u64> {
    name.strip_suffix(EXTENSION)?.strip_suffix('.')?.parse().ok()
}

fn write_all(file: &File, at: u64, [head, body]: [&[u8]; 2]) -> io::Result<()> {
    let written = loop {
        match rustix::io::pwritev(file, &[IoSlice::new(head), IoSlice::new(body)], at) {
            Ok(written) => break written,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    if written == head.len() + body.len() {
        return Ok(());
    }
    let rest_of_head = head.get(written..).unwrap_or_default();
    file.write_all_at(rest_of_head, at + written as u64)?;
    let body_written = written.saturating_sub(head.len());
    file.write_all_at(body.get(body_written..).unwrap_or_default(), at + (head.len() + body_written) as u64)
}

fn read_at(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
