//! A log that is over its limit keeps its head and its tail: the middle goes.
//!
//! ```text
//! before   [ head ......... | middle ............ | tail ... ]   over the limit
//! after    [ head ......... | tail ... ]                         head: half of it, tail: a quarter
//! ```
//! The file is written anew beside the old one, synced and renamed over it, so a kill anywhere leaves
//! one or the other; readers that hold the old file read on in it. A quarter of the limit has to come
//! before it is done again: for each byte that is appended at most three are copied.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::frame::{self, FrameRef};
use super::{Archive, ArchiveError};
use crate::model::{EntryId, GapReason};

/// What a file that is being written anew is called, behind the archive's own name.
pub(super) const NEW_SUFFIX: &str = ".ndjson.zst.open.new";

/// Lines that are not in an archive, though lines before and behind them are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The first of them.
    pub from: u64,
    /// The last of them.
    pub to: u64,
    /// The id of the line before them.
    pub before: EntryId,
}

impl Archive {
    /// If the file has more than `bytes_max`, drops frames of its middle: the first half of the limit
    /// stays, and the newest quarter. The first and the last frame stay whatever their size. Answers
    /// how many lines went. What was pushed and not synced is synced before.
    pub fn truncate_middle(&self, bytes_max: u64) -> Result<u64, ArchiveError> {
        if self.bytes() <= bytes_max || self.is_sealed() {
            return Ok(0);
        }
        self.sync()?;
        let mut writer = self.writer.lock();
        let (old, rows) = {
            let frames = self.frames.read();
            let Some(file) = frames.file.clone() else { return Ok(0) };
            (file, frames.rows.clone())
        };
        let (head, tail) = split(&rows, bytes_max);
        if head >= tail {
            return Ok(0);
        }
        let gone = rows[head..tail].iter().map(|row| u64::from(row.lines)).sum();
        let path = self.growing.with_extension("open.new");
        let copied = copy(&old, rows[..head].iter().chain(&rows[tail..]), &path)
            .and_then(|copied| fs::rename(&path, &self.growing).map(|()| copied));
        let (file, rows) = match copied {
            Ok(copied) => copied,
            Err(source) => {
                if let Err(error) = fs::remove_file(&path) {
                    tracing::debug!(path = %path.display(), %error, "a half made archive could not be removed; the next start does it");
                }
                return Err(ArchiveError::Io { path, doing: "written", source });
            }
        };
        // The name stands for the new file from here on, whatever else fails.
        let len = rows.last().map_or(0, FrameRef::end);
        self.total.resized(writer.len, len);
        (writer.len, writer.unnamed) = (len, true);
        {
            let mut frames = self.frames.write();
            frames.missing = missing(&rows);
            frames.tally = frame::tally(&file, &rows);
            (frames.file, frames.rows) = (Some(Arc::new(file)), rows);
        }
        self.sync_dir(&mut writer)?;
        Ok(gone)
    }

    /// Lines between the first and the last that are not there.
    pub fn missing_lines(&self) -> u64 {
        self.frames.read().missing
    }

    /// All holes.
    pub fn holes(&self) -> Vec<Hole> {
        let frames = self.frames.read();
        let pairs = frames.rows.iter().zip(frames.rows.iter().skip(1));
        let holes = pairs.filter(|(before, behind)| missing_before(Some(before), Some(behind)) > 0);
        holes
            .map(|(before, behind)| Hole {
                from: before.last_line() + 1,
                to: behind.first_line - 1,
                before: before.last_id,
            })
            .collect()
    }

    /// The hole that this line is in, if it is in one.
    pub fn hole_at(&self, line: u64) -> Option<Hole> {
        let frames = self.frames.read();
        let at = frames.rows.partition_point(|row| row.last_line() < line);
        let (before, behind) = (frames.rows.get(at.checked_sub(1)?)?, frames.rows.get(at)?);
        let hole = Hole { from: before.last_line() + 1, to: behind.first_line - 1, before: before.last_id };
        (line <= hole.to).then_some(hole)
    }
}

/// Lines that lie between these frames.
pub(super) fn missing(rows: &[FrameRef]) -> u64 {
    rows.windows(2).map(|pair| missing_before(pair.first(), pair.last())).sum()
}

/// Lines that lie between two frames, if there are two.
pub(super) fn missing_before(before: Option<&FrameRef>, behind: Option<&FrameRef>) -> u64 {
    before.zip(behind).map_or(0, |(before, behind)| behind.first_line.saturating_sub(before.last_line() + 1))
}

/// Where the middle begins and ends.
fn split(rows: &[FrameRef], bytes_max: u64) -> (usize, usize) {
    let size = |row: &FrameRef| row.end() - row.at;
    let fits = |most: u64| {
        let mut bytes = 0;
        move |row: &&FrameRef| {
            bytes += size(row);
            bytes <= most
        }
    };
    // What lies behind an earlier hole is no head, or the log would fall into more and more parts.
    let whole = 1 + rows.windows(2).take_while(|pair| missing(pair) == 0).count();
    let head = rows.iter().take(whole).take_while(fits(bytes_max / 2)).count().max(1);
    let tail = rows.iter().rev().take_while(fits(bytes_max / 4)).count().max(1);
    (head, rows.len().saturating_sub(tail))
}

/// Writes these frames into a new file and makes it durable.
fn copy<'a>(old: &File, rows: impl Iterator<Item = &'a FrameRef>, path: &Path) -> io::Result<(File, Vec<FrameRef>)> {
    let new = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    let mut out = BufWriter::new(&new);
    let (mut at, mut copied, mut data) = (0, Vec::new(), Vec::new());
    for row in rows {
        let mut row_now = FrameRef { at, ..*row };
        data.resize(row.packed_bytes as usize, 0);
        old.read_exact_at(&mut data, row.data_at())?;
        let mut proof = frame::read_proof(old, row).unwrap_or_default();
        let hole = copied.last().map(|before: &FrameRef| (before.last_line() + 1, row.first_line - 1));
        if let (Some(proof), Some((from, to))) = (&mut proof, hole.filter(|(from, to)| from <= to)) {
            // The frame behind a hole says that there is one.
            proof.tally.set_hole(from, to, GapReason::Quota);
        }
        out.write_all(&frame::head(&mut row_now, proof.as_ref())?)?;
        out.write_all(&data)?;
        at = row_now.end();
        copied.push(row_now);
    }
    out.flush()?;
    drop(out);
    new.sync_all()?;
    Ok((new, copied))
}
