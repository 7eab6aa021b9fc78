//! Truncating a log over its limit: head and tail are retained, the middle is removed.
//!
//! ```text
//! before   [ head ......... | middle ............ | tail ... ]   over the limit
//! after    [ head ......... | tail ... ]                         head: half of it, tail: a quarter
//! ```
//! A new file is written beside the old one, synced and renamed over it, so a kill at any moment leaves
//! one or the other. Readers that have the old file open continue to read it. The log must grow by a
//! quarter of the limit before the next truncation, so at most three bytes are copied per byte appended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use super::frame::{self, FrameHeader};
use super::{Archive, ArchiveError};
use crate::model::{EntryId, GapReason};
use crate::store::FILE_MODE;

/// Suffix of the name of a file that is being rewritten.
pub(super) const NEW_SUFFIX: &str = ".ndjson.zst.open.new";

/// A range of lines missing between two frames of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The first missing line.
    pub from: u64,
    /// The last missing line.
    pub to: u64,
    /// Id of the line before the range.
    pub before: EntryId,
}

impl Hole {
    fn between(before: &FrameHeader, after: &FrameHeader) -> Self {
        Self { from: before.last_line() + 1, to: after.first_line - 1, before: before.last_id }
    }
}

impl Archive {
    /// Removes frames from the middle of a file larger than `bytes_max`, after syncing pushed lines.
    /// Retains the oldest half of the limit and the newest quarter, and always the first and the last
    /// frame. Returns the number of lines removed.
    pub fn truncate_middle(&self, bytes_max: u64) -> Result<u64, ArchiveError> {
        if self.bytes() <= bytes_max || self.is_sealed() {
            return Ok(0);
        }
        self.sync()?;
        let mut writer = self.writer.lock();
        let (old, headers) = {
            let frames = self.frames.read();
            let Some(file) = frames.file.clone() else { return Ok(0) };
            (file, frames.headers.clone())
        };
        let (head, tail) = split(&headers, bytes_max);
        if head >= tail {
            return Ok(0);
        }
        let removed = headers[head..tail].iter().map(|header| u64::from(header.lines)).sum();
        let path = self.growing.with_extension("open.new");
        let copied = copy(&old, headers[..head].iter().chain(&headers[tail..]), &path)
            .and_then(|copied| fs::rename(&path, &self.growing).map(|()| copied));
        let (file, headers) = match copied {
            Ok(copied) => copied,
            Err(source) => {
                if let Err(error) = fs::remove_file(&path) {
                    tracing::debug!(path = %path.display(), %error, "failed to remove a partial archive; the next start retries");
                }
                return Err(ArchiveError::Io { path, doing: "write", source });
            }
        };
        // The path refers to the new file from here on, even if something below fails.
        let len = headers.last().map_or(0, FrameHeader::end);
        self.folder.usage.resized(writer.len, len);
        (writer.len, writer.name_unsynced) = (len, true);
        {
            let mut frames = self.frames.write();
            frames.missing = frame::missing_lines(&headers);
            frames.totals = frame::totals(&file, &headers);
            (frames.file, frames.headers) = (Some(Arc::new(file)), headers);
        }
        self.sync_name(&mut writer)?;
        Ok(removed)
    }

    /// Returns the number of lines missing between the first and the last.
    pub fn missing_lines(&self) -> u64 {
        self.frames.read().missing
    }

    /// Returns all ranges of missing lines.
    pub fn holes(&self) -> Vec<Hole> {
        let frames = self.frames.read();
        let pairs = frames.headers.iter().zip(frames.headers.iter().skip(1));
        let holes = pairs.filter(|(before, after)| frame::missing_between(Some(before), Some(after)) > 0);
        holes.map(|(before, after)| Hole::between(before, after)).collect()
    }

    /// Returns the range of missing lines that contains `line`, if any.
    pub fn hole_at(&self, line: u64) -> Option<Hole> {
        let frames = self.frames.read();
        let at = frames.headers.partition_point(|header| header.last_line() < line);
        let hole = Hole::between(frames.headers.get(at.checked_sub(1)?)?, frames.headers.get(at)?);
        (line <= hole.to).then_some(hole)
    }
}

/// Returns the indexes of the first frame to remove and of the first frame after those.
fn split(headers: &[FrameHeader], bytes_max: u64) -> (usize, usize) {
    let size = |header: &FrameHeader| header.end() - header.offset;
    let fits = |bytes_max: u64| {
        let mut bytes = 0;
        move |header: &&FrameHeader| {
            bytes += size(header);
            bytes <= bytes_max
        }
    };
    // The head ends at an earlier hole, or the log would break into more and more pieces.
    let contiguous = 1 + headers.windows(2).take_while(|pair| frame::missing_lines(pair) == 0).count();
    let head = headers.iter().take(contiguous).take_while(fits(bytes_max / 2)).count().max(1);
    let tail = headers.iter().rev().take_while(fits(bytes_max / 4)).count().max(1);
    (head, headers.len().saturating_sub(tail))
}

/// Copies these frames to a new file and makes it durable. Returns the file and its headers.
fn copy<'a>(
    old: &File,
    headers: impl Iterator<Item = &'a FrameHeader>,
    path: &Path,
) -> io::Result<(File, Vec<FrameHeader>)> {
    let new = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    let mut out = BufWriter::new(&new);
    let (mut offset, mut copied, mut data) = (0, Vec::new(), Vec::new());
    for header in headers {
        let mut new_header = FrameHeader { offset, ..*header };
        data.resize(header.compressed_bytes as usize, 0);
        old.read_exact_at(&mut data, header.data_offset())?;
        let mut metadata = frame::read_metadata(old, header).unwrap_or_default();
        let hole = copied.last().map(|before: &FrameHeader| (before.last_line() + 1, header.first_line - 1));
        if let (Some(metadata), Some((from, to))) = (&mut metadata, hole.filter(|(from, to)| from <= to)) {
            // The frame after a hole records it.
            metadata.totals.set_hole(from, to, GapReason::Quota);
        }
        out.write_all(&frame::encode_prefix(&mut new_header, metadata.as_ref())?)?;
        out.write_all(&data)?;
        offset = new_header.end();
        copied.push(new_header);
    }
    out.flush()?;
    drop(out);
    new.sync_all()?;
    Ok((new, copied))
}
